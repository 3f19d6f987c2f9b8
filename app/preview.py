"""What the network sees of an image: the pixels of its input, as a PNG."""

from collections.abc import Sequence
from io import BytesIO

from PIL import Image

from app import images
from app.batcher import Answer, Batcher
from app.config import Settings

MAX_QUEUE = 16
"""Previews are for people who look at them: a few at a time, so that they never starve the predictions."""

Wanted = tuple[bytes, int]
"""An image file and the resolution to see it at."""


class Previewer:
    """Decodes images one at a time, on a thread of its own, exactly as they are decoded for the network."""

    def __init__(self, settings: Settings) -> None:
        self._max_pixels = settings.max_pixels
        self._batcher: Batcher[Wanted, bytes] = Batcher(self._render, max_batch_size=1, max_queue=MAX_QUEUE)

    def check_room(self) -> None:
        """Raise `QueueFull` or `Draining` if no image would be admitted now."""
        self._batcher.check_room()

    async def preview(self, content: bytes, resolution: int, deadline: float) -> Answer[bytes]:
        """Return the PNG `[resolution, resolution, 3]` of an image file; `deadline` is of `time.monotonic`.

        Raises what `images.decode` raises, and `QueueFull`, `Draining` or `DeadlineExceeded`.
        """
        with self._batcher.admit() as (slot,):
            return await slot.submit((content, resolution), deadline=deadline)

    def _render(self, wanted: Sequence[Wanted]) -> list[bytes]:
        return [self._png(content, resolution) for content, resolution in wanted]

    def _png(self, content: bytes, resolution: int) -> bytes:
        pixels = images.decode(content, resolution=resolution, max_pixels=self._max_pixels)
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    async def drain(self) -> None:
        """Finish what was admitted, admit no more, end the thread."""
        await self._batcher.drain()
