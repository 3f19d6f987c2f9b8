"""What the network sees of an image, for people who look at it: a few at a time, behind the predictions."""

from collections.abc import Awaitable, Callable, Sequence

from app.batcher import Batcher
from app.lanes import Answer

MAX_QUEUE = 16
"""Previews that may wait; they are drawn one after the other, so that they never starve the predictions."""

Draw = Callable[[bytes], Awaitable[bytes]]
"""Makes the network's input, as a PNG, of an image file."""


class Previewer:
    """Draws previews, one at a time."""

    def __init__(self) -> None:
        self._batcher: Batcher[tuple[Draw, bytes], bytes] = Batcher(_draw_all, max_batch_size=1, max_queue=MAX_QUEUE)

    def check_room(self) -> None:
        """Raise `QueueFull` or `Draining` if no image would be admitted now."""
        self._batcher.check_room()

    async def preview(self, draw: Draw, content: bytes, deadline: float) -> Answer[bytes]:
        """Return the PNG of an image file; `deadline` is of `time.monotonic`.

        Raises `QueueFull`, `Draining`, `DeadlineExceeded` for one that is not drawn by then, or what `draw` raises.
        """
        with self._batcher.admit() as (slot,):
            return await slot.submit((draw, content), deadline=deadline)

    async def drain(self) -> None:
        """Finish what was admitted, admit no more."""
        await self._batcher.drain()


async def _draw_all(wanted: Sequence[tuple[Draw, bytes]]) -> list[bytes]:
    return [await draw(content) for draw, content in wanted]
