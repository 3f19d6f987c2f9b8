"""What draws pictures in place of the pipeline, and waits until it may."""

import asyncio
import threading
from typing import Any

import pytest

from app.prediction.classifier import Classifier
from app.prediction.queue import Completed


class Pen:
    """Draws once its gate is open, and counts the pictures that were queued and those that were drawn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Draw in place of the pipeline until the end of the test."""
        self.gate, self.drawing = threading.Event(), threading.Event()
        self.queued = self.drawn = 0
        preview = Classifier.preview

        async def noted(classifier: Classifier, *wanted: Any, deadline: float) -> Completed[bytes]:
            self.queued += 1  # before anything else may run
            return await preview(classifier, *wanted, deadline=deadline)

        monkeypatch.setattr(Classifier, "preview", noted)
        monkeypatch.setattr("app.runtime.local.Local.preview", self._draw)

    def _draw(self, *_: object) -> bytes:
        self.drawing.set()
        assert self.gate.wait(10)
        self.drawn += 1
        return b"a drawing"

    async def until_queued(self, pictures: int) -> None:
        """Wait until so many pictures were queued in all."""
        async with asyncio.timeout(10):
            while self.queued < pictures:
                await asyncio.sleep(0.01)
