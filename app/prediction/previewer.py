"""Has previews drawn, apart from the queues of predictions."""

from collections.abc import Awaitable, Callable, Sequence

from app.prediction.batcher import Batcher
from app.prediction.queue import Completed

MAX_QUEUE = 16
"""How many previews may wait. One is drawn at a time, so that previews leave the workers to predictions."""

Draw = Callable[[], Awaitable[bytes]]
"""Returns a PNG that is drawn of some image."""


class Previewer:
    """Queues previews, and has them drawn one at a time."""

    def __init__(self, stalled_after_s: float) -> None:
        """Take a preview to hang that is not drawn in twice `stalled_after_s`: it may wait for one large image."""
        self._batcher: Batcher[Draw, bytes] = Batcher(
            _draw_all, max_batch_size=1, max_queue=MAX_QUEUE, stalled_after_s=2 * stalled_after_s
        )

    @property
    def fault(self) -> str | None:
        """Why only a restart helps: a preview hangs. None if all is well."""
        return "a preview hangs" if self._batcher.stalled else None

    def check_room(self) -> None:
        """Raise `QueueFull` or `Draining` if no preview would be admitted now."""
        self._batcher.check_room()

    async def preview(self, draw: Draw, deadline: float) -> Completed[bytes]:
        """Return what `draw` returns; `deadline` is a time of `time.monotonic`.

        Raises `QueueFull`, `Draining`, `DeadlineExceeded` if it is not drawn by then, or whatever `draw` raises.
        """
        with self._batcher.admit() as (slot,):
            return await slot.submit(draw, deadline=deadline)

    async def drain(self) -> None:
        """Admit no more previews, and wait for those that were admitted except for one that hangs."""
        await self._batcher.drain()


async def _draw_all(wanted: Sequence[Draw]) -> list[bytes]:
    return [await draw() for draw in wanted]
