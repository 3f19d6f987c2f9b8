"""The model in BentoML: a worker process for each CPU, and a photo as the whole body."""

import os

import bentoml

from tools.bench.peers.classify import CPUS, Answer, Classifier


@bentoml.service(workers=int(os.environ.get(CPUS, "1")), logging={"access": {"enabled": False}})
class Classify:
    """A worker process."""

    def __init__(self) -> None:
        self._classify = Classifier()

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(self, data: bytes, /) -> Answer:
        """Classify one photo; the only argument, by position, is what BentoML takes the whole body for."""
        return self._classify(data)
