"""What the service takes of the memory that its control groups allow, and what is left for decoding images.

docs/reliability.md has the measurements behind the figures. Without a limit nothing is bounded here.
"""

from app.config import OPENVINO_BYTES, PREFIX, PROCESS_BYTES, WORKER_BYTES, Settings
from app.errors import StartError
from app.imaging.bounds import LARGE_BYTES, allow
from app.machine import memory_limit_bytes
from app.mobilenet.cost import cost

MB = 1_000_000
TEMPLATE_BYTES = 45 * MB
"""What a template takes of `PROCESS_BYTES`, without models."""
TENSORFLOW_BYTES = 200 * MB
"""What an HTTP process takes in addition when it runs TensorFlow."""
GRPC_BYTES = 20 * MB
"""What an HTTP process takes in addition when it serves gRPC: 15 MB when it is idle."""
PARAMETER_BYTES = 8
"""A float32 as it was read, and once more as the kernels need it."""
CLASSES = 1000


def needed_bytes(settings: Settings) -> int:
    """Return what all processes and models take together before the first image."""
    engine = TENSORFLOW_BYTES if settings.engine == "tensorflow" else 0
    grpc = 0 if settings.grpc_port is None else GRPC_BYTES
    return settings.http_workers * (PROCESS_BYTES - TEMPLATE_BYTES + engine + grpc + _pipeline_bytes(settings))


def _pipeline_bytes(settings: Settings) -> int:
    models = PARAMETER_BYTES * sum(cost(variant, CLASSES).parameters for variant in settings.lineup)
    workers = settings.model_workers and settings.model_workers + 1  # another for what is decoded beside the batches
    running = max(1, workers) if settings.engine == "openvino" else 0
    return TEMPLATE_BYTES + models + workers * WORKER_BYTES + running * (OPENVINO_BYTES + models)


def room_bytes(limit: int, settings: Settings) -> float:
    """Return how many bytes decoding one image may take, so that all that decode at once stay within the limit.

    Each HTTP process has as many batches at once as model workers, and decodes for each one image of `LARGE_BYTES` at
    most. Beside them it decodes one image that takes more, or that is drawn.
    """
    left = (limit - needed_bytes(settings)) / settings.http_workers
    batches = max(1, settings.model_workers)
    return max(left - batches * LARGE_BYTES, left / (batches + 1))


def keep_to_limit(settings: Settings) -> None:
    """Have images refused that would take more memory than the limit leaves, before they end their process.

    Raises `StartError`, whose message is one line, if the service itself does not fit.
    """
    limit = memory_limit_bytes()
    if limit is None:
        return
    needed = needed_bytes(settings)
    if needed > limit:
        raise StartError(
            f"the memory limit is {limit / MB:.0f} MB, and the service needs about {needed / MB:.0f} MB with "
            f"{PREFIX}HTTP_WORKERS={settings.http_workers} and {PREFIX}MODEL_WORKERS={settings.model_workers}"
        )
    allow(room_bytes(limit, settings))


def check_room_beside(settings: Settings) -> None:
    """Raise `StartError`, whose message is one line, if the limit has no room for new models beside the old ones."""
    limit = memory_limit_bytes()
    needed = needed_bytes(settings) + _pipeline_bytes(settings)
    if limit is not None and needed > limit:
        raise StartError(
            f"the memory limit is {limit / MB:.0f} MB, and the old model and the new one need about "
            f"{needed / MB:.0f} MB together, until the new one has taken over"
        )
