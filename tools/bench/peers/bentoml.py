"""The model in BentoML, with a worker process for each CPU; the body of a request is the photo."""

import os

import bentoml

from tools.bench.peers.classify import CPUS, Answer, PeerModel


@bentoml.service(workers=int(os.environ.get(CPUS, "1")), logging={"access": {"enabled": False}})
class Classify:
    """A worker process."""

    def __init__(self) -> None:
        self._classify = PeerModel()

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(self, data: bytes, /) -> Answer:
        """Classify one photo. BentoML passes the whole body as the only argument if it is positional."""
        return self._classify(data)
