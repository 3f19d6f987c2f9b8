"""The model in Ray Serve, with a replica for each CPU; replicas reserve no CPU, so that there is one for the proxy."""

import os
import signal

from ray import serve
from starlette.requests import Request

from tools.bench.peers.classify import CPUS, PORT, Answer, PeerModel


@serve.deployment(num_replicas=int(os.environ[CPUS]), ray_actor_options={"num_cpus": 0}, max_ongoing_requests=8)
class Classify:
    """A replica."""

    def __init__(self) -> None:
        self._classify = PeerModel()

    async def __call__(self, request: Request) -> Answer:
        """Classify one photo."""
        return self._classify(await request.body())


if __name__ == "__main__":
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(os.environ[PORT])}, logging_config={"log_level": "ERROR"}
    )
    serve.run(Classify.bind(), route_prefix="/predict")  # type: ignore[attr-defined]
    signal.pause()
