"""Prints as JSON what Triton's client gets of the service; run in the client's own environment.

`python triton_http.py HOST:PORT VERSION PIXELS.npy FILE…`; PIXELS are `[n, r, r, 3]`, of the n files.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

MODEL = "mobilenet"
OUTPUT = "probabilities"


def tensor(name: str, values: Any, datatype: str, binary: bool = True) -> triton.InferInput:
    """Return an input of a request."""
    return triton.InferInput(name, list(values.shape), datatype).set_data_from_numpy(values, binary_data=binary)


def message(call: Callable[..., Any], *arguments: Any, **rest: Any) -> list[str]:
    """Return the status and the message of the error that a call raises, as its user sees them."""
    try:
        call(*arguments, **rest)
    except InferenceServerException as exc:
        return [exc.status(), exc.message()]
    raise AssertionError(f"{call} raised nothing")


def main(address: str, version: str, pixels_path: str, *paths: str) -> None:
    """Ask for everything, and print it."""
    client = triton.InferenceServerClient(address)
    files = tensor("image", np.array([Path(path).read_bytes() for path in paths], np.object_), "BYTES")
    pixels = np.load(pixels_path)
    broken = tensor("image", np.array([Path(path).read_bytes()[:60] for path in paths], np.object_), "BYTES")

    def infer(image: triton.InferInput, *outputs: triton.InferRequestedOutput, **rest: Any) -> Any:
        return client.infer(MODEL, [image], outputs=outputs or None, **rest).as_numpy(OUTPUT).tolist()

    def wanted(**how: Any) -> triton.InferRequestedOutput:
        return triton.InferRequestedOutput(OUTPUT, **how)

    found = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(MODEL) and client.is_model_ready(MODEL, version),
        "another_ready": client.is_model_ready("resnet"),
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata(MODEL, version),
        "probabilities": {
            "files": infer(files),
            "files of a version": infer(files, model_version=version),
            "answered in JSON": infer(files, wanted(binary_data=False)),
            "pixels": infer(tensor("pixels", pixels, "UINT8")),
            "pixels in JSON": infer(tensor("pixels", pixels, "UINT8", binary=False), wanted(binary_data=False)),
        },
        "last version": infer(files, model_version=client.get_model_metadata(MODEL)["versions"][-1]),
        "classes": [
            [[text.decode() for text in row] for row in infer(files, wanted(class_count=2))],
            infer(files, wanted(class_count=2, binary_data=False)),
        ],
        "id": client.infer(MODEL, [files], request_id="mine").get_response()["id"],
        "errors": [
            message(client.get_model_metadata, "resnet"),
            message(infer, files, model_version="1"),
            message(infer, files, wanted(class_count=10_000)),
            message(infer, broken),
            message(infer, files, request_compression_algorithm="gzip"),
        ],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
