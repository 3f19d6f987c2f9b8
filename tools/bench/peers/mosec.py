"""The model in mosec: one stage and a worker for each CPU, which is its fastest here; batches bring nothing."""

import os

from mosec import Server, Worker

from tools.bench.peers.classify import CPUS, Answer, Classifier


class Classify(Worker):  # type: ignore[misc]
    """A worker process; its answer is serialised as JSON."""

    def __init__(self) -> None:
        super().__init__()
        self._classify = Classifier()

    def deserialize(self, data: bytes) -> bytes:
        """Take the body as it came."""
        return data

    def forward(self, data: bytes) -> Answer:
        """Classify one photo."""
        return self._classify(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, num=int(os.environ[CPUS]), route="/predict")
    server.run()  # reads its address from the command line
