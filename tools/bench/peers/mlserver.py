"""The model in MLServer, with a worker process for each CPU, behind a custom route whose body is the photo."""

import asyncio
import os
from typing import Annotated

from fastapi import Body
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.handlers import custom_handler

from tools.bench.peers.classify import CPUS, PORT, Answer, PeerModel


class Classify(MLModel):  # type: ignore[misc]
    """The model of a worker process."""

    async def load(self) -> bool:
        """Load the model."""
        self._classify = PeerModel()
        return True

    @custom_handler(rest_path="/predict")  # type: ignore[untyped-decorator]
    async def classify(self, data: Annotated[bytes, Body(media_type="application/octet-stream")]) -> Answer:
        """Classify one photo."""
        return self._classify(data)


async def main() -> None:
    """Serve until told to stop."""
    settings = Settings(
        host="127.0.0.1",
        http_port=int(os.environ[PORT]),
        grpc_port=0,
        metrics_endpoint=None,
        parallel_workers=int(os.environ[CPUS]),
        debug=False,
    )
    implementation = "tools.bench.peers.mlserver.Classify"  # the workers import it, so it must not be in `__main__`
    await MLServer(settings).start([ModelSettings(name="mobilenet", implementation=implementation)])


if __name__ == "__main__":
    asyncio.run(main())
