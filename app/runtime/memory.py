"""A memory limit of the control groups is kept: the service must fit, and an image that would not is refused.

`footprint` has what the service takes. Without a limit nothing is bounded here.
"""

from app.config import PREFIX, Settings
from app.errors import StartError
from app.footprint import MB, batches, decoding, left_bytes, needed_bytes, pipeline_bytes, share_bytes
from app.imaging.bounds import LARGE_BYTES, allow
from app.machine import memory_limit_bytes

JPEG_BYTES = 5 * MB
"""Memory for one JPEG, which is scaled while it is decoded: 12 megapixels take 2 MB, and 9 MB from 224 × 224 on."""


def room_bytes(limit: int, settings: Settings) -> float:
    """Return how many bytes decoding one image may take, so that all that decode at once stay within the limit.

    An image of a batch takes `LARGE_BYTES` at most. Beside them each HTTP process decodes one that takes more, or that
    is drawn.
    """
    beside = left_bytes(limit, settings) - batches(settings) * LARGE_BYTES
    return max(beside, share_bytes(limit, settings))


def keep_to_limit(settings: Settings) -> None:
    """Have images refused that would take more memory than the limit leaves, before they end their process.

    Raises `StartError`, whose message is one line, if the service does not fit together with a JPEG in each
    process that decodes.
    """
    limit = memory_limit_bytes()
    if limit is None:
        return
    needed = needed_bytes(settings) + settings.http_workers * decoding(settings) * JPEG_BYTES
    if needed > limit:
        raise StartError(
            f"the memory limit is {limit / MB:.0f} MB, and the service needs about {needed / MB:.0f} MB with "
            f"{PREFIX}HTTP_WORKERS={settings.http_workers} and {PREFIX}MODEL_WORKERS={settings.model_workers}"
        )
    allow(room_bytes(limit, settings))


def check_room_beside(settings: Settings) -> None:
    """Raise `StartError`, whose message is one line, if the limit has no room for new models beside the old ones."""
    limit = memory_limit_bytes()
    needed = needed_bytes(settings) + pipeline_bytes(settings)
    if limit is not None and needed > limit:
        raise StartError(
            f"the memory limit is {limit / MB:.0f} MB, and the old model and the new one need about "
            f"{needed / MB:.0f} MB together, until the new one has taken over"
        )
