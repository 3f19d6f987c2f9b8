"""Prints as JSON what Triton's client gets of the service over gRPC; run in the client's own environment.

`python triton_grpc.py HOST:PORT VERSION PIXELS.npy FILE…`; PIXELS are `[n, r, r, 3]`, of the n files.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

MODEL = "mobilenet"
OUTPUT = "probabilities"


def tensor(name: str, values: Any, datatype: str) -> triton.InferInput:
    """Return an input of a request."""
    return triton.InferInput(name, list(values.shape), datatype).set_data_from_numpy(values)


def message(call: Callable[..., Any], *arguments: Any, **rest: Any) -> list[str]:
    """Return the code and the message of the error that a call raises, as its user sees them."""
    try:
        call(*arguments, **rest)
    except InferenceServerException as exc:
        return [exc.status(), exc.message()]
    raise AssertionError(f"{call} raised nothing")


def described(found: Any) -> dict[str, Any]:
    """Return the description of a model in the members of HTTP's JSON."""
    tensors = {
        kind: [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in getattr(found, kind)]
        for kind in ("inputs", "outputs")
    }
    return {"name": found.name, "versions": list(found.versions), "platform": found.platform, **tensors}


def main(address: str, version: str, pixels_path: str, *paths: str) -> None:
    """Ask for everything, and print it."""
    client = triton.InferenceServerClient(address)
    contents = [Path(path).read_bytes() for path in paths]
    files = tensor("image", np.array(contents, np.object_), "BYTES")
    broken = tensor("image", np.array([content[:60] for content in contents], np.object_), "BYTES")

    def infer(image: triton.InferInput, *outputs: triton.InferRequestedOutput, **rest: Any) -> Any:
        return client.infer(MODEL, [image], outputs=outputs or None, **rest).as_numpy(OUTPUT).tolist()

    def wanted(**how: Any) -> triton.InferRequestedOutput:
        return triton.InferRequestedOutput(OUTPUT, **how)

    server = client.get_server_metadata()
    found = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(MODEL) and client.is_model_ready(MODEL, version),
        "server": {"name": server.name, "version": server.version, "extensions": list(server.extensions)},
        "model": described(client.get_model_metadata(MODEL, version)),
        "probabilities": {
            "files": infer(files),
            "files of a version": infer(files, model_version=version),
            "pixels": infer(tensor("pixels", np.load(pixels_path), "UINT8")),
        },
        "last version": infer(files, model_version=client.get_model_metadata(MODEL).versions[-1]),
        "classes": [[[text.decode() for text in row] for row in infer(files, wanted(class_count=2))]],
        "id": client.infer(MODEL, [files], request_id="mine").get_response().id,
        "errors": [
            message(client.get_model_metadata, "resnet"),
            message(client.is_model_ready, "resnet"),
            message(infer, files, model_version="1"),
            message(infer, files, wanted(class_count=10_000)),
            message(infer, broken),
            message(infer, files, compression_algorithm="gzip"),
        ],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
