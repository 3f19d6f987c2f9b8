"""The model in LitServe, with a worker for each CPU, and the queue that its documentation advises for many requests."""

import os
from typing import Annotated

import litserve
from fastapi import Body

from tools.bench.peers.classify import CPUS, PORT, Answer, PeerModel


class Classify(litserve.LitAPI):  # type: ignore[misc]
    """A worker process."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self._classify = PeerModel()

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> bytes:
        """Return the body, which is the photo."""
        return request

    def predict(self, data: bytes) -> Answer:
        """Classify one photo."""
        return self._classify(data)

    def encode_response(self, output: Answer) -> Answer:
        """Answer as JSON."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Classify(), accelerator="cpu", workers_per_device=int(os.environ[CPUS]), fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ[PORT]),
        log_level="error",
        generate_client_file=False,
        access_log=False,
    )
