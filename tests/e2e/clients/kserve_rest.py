"""Prints as JSON what KServe's client gets of the service; run in the client's own environment.

`python kserve_rest.py HOST:PORT VERSION PIXELS.npy FILE…`; PIXELS are `[n, r, r, 3]`, of the n files.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

MODEL = "mobilenet"
OUTPUT = "probabilities"


def tensor(name: str, values: Any, datatype: str, binary: bool) -> InferInput:
    """Return an input of a request."""
    found = InferInput(name, list(values.shape), datatype)
    found.set_data_from_numpy(values, binary_data=binary)
    return found


async def ask(address: str, pixels_path: str, *paths: str) -> dict[str, Any]:
    """Ask for everything."""
    client, url = InferenceRESTClient(RESTConfig(protocol="v2")), f"http://{address}"
    contents = [Path(path).read_bytes() for path in paths]
    texts = [base64.b64encode(content).decode() for content in contents]
    files = tensor("image", np.array(contents, np.object_), "BYTES", binary=True)
    pixels = np.load(pixels_path)

    async def infer(image: InferInput, *outputs: RequestedOutput, model: str = MODEL, **parameters: Any) -> Any:
        request = InferRequest(MODEL, [image], request_id="mine", parameters=parameters, request_outputs=list(outputs))
        return await client.infer(url, request, model_name=model)

    async def probabilities(image: InferInput, **parameters: Any) -> Any:
        return (await infer(image, **parameters)).outputs[0].as_numpy().tolist()

    async def message(**rest: Any) -> list[str]:
        try:
            await infer(files, **rest)
        except httpx.HTTPStatusError as exc:
            return [str(exc.response.status_code), exc.response.json()["error"]]
        raise AssertionError("nothing was raised")

    classes = await infer(files, RequestedOutput(OUTPUT, parameters={"classification": 2}))
    return {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model_ready": await client.is_model_ready(url, MODEL),
        "another_ready": await client.is_model_ready(url, "resnet"),
        "probabilities": {
            "files": await probabilities(files, binary_data_output=True),
            "answered in JSON": await probabilities(files),
            "files in JSON": await probabilities(InferInput("image", [len(texts)], "BYTES", texts)),
            "pixels": await probabilities(tensor("pixels", pixels, "UINT8", binary=True)),
            "pixels in JSON": await probabilities(tensor("pixels", pixels, "UINT8", binary=False)),
        },
        "classes": [np.reshape(classes.outputs[0].data, classes.outputs[0].shape).tolist()],
        "id": classes.id,
        "errors": [await message(model="resnet")],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(sys.argv[1], *sys.argv[3:]))))
