"""The model in mosec, with one stage and a worker for each CPU, its fastest form; batches do not make it faster."""

import os

from mosec import Server, Worker

from tools.bench.peers.classify import CPUS, Answer, PeerModel


class Classify(Worker):  # type: ignore[misc]
    """A worker process. mosec serialises its answer as JSON."""

    def __init__(self) -> None:
        super().__init__()
        self._classify = PeerModel()

    def deserialize(self, data: bytes) -> bytes:
        """Return the body, which is the photo."""
        return data

    def forward(self, data: bytes) -> Answer:
        """Classify one photo."""
        return self._classify(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, num=int(os.environ[CPUS]), route="/predict")
    server.run()  # mosec reads the address from the command line
