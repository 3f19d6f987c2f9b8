"""How much memory the service takes with its settings, and how much of a limit is left for decoding images.

docs/reliability.md has the measurements behind the figures.
"""

from typing import TYPE_CHECKING

from app.mobilenet.cost import cost

if TYPE_CHECKING:
    from app.config import Settings

MB = 1_000_000
PROCESS_BYTES = 60 * MB
"""What an HTTP process takes, without models."""
TEMPLATE_BYTES = 45 * MB
"""What the template of its workers takes beside it, without models."""
TENSORFLOW_BYTES = 200 * MB
"""What an HTTP process takes in addition when it runs TensorFlow."""
GRPC_BYTES = 20 * MB
"""What an HTTP process takes in addition when it serves gRPC: 15 MB when it is idle."""
WORKER_BYTES = 25 * MB
"""What a model worker has of its own, of which small photos are a half."""
OPENVINO_BYTES = 40 * MB
"""What a process that runs OpenVINO has of its own beside its models, which no two processes share."""
PARAMETER_BYTES = 8
"""A float32 as it was read, and once more as the kernels need it."""
CLASSES = 1000


def needed_bytes(settings: "Settings") -> int:
    """Return what all processes and models take together before the first image."""
    engine = TENSORFLOW_BYTES if settings.engine == "tensorflow" else 0
    grpc = 0 if settings.grpc_port is None else GRPC_BYTES
    return settings.http_workers * (PROCESS_BYTES + engine + grpc + pipeline_bytes(settings))


def pipeline_bytes(settings: "Settings") -> int:
    """Return what the models of one HTTP process take, with the processes that run them."""
    models = PARAMETER_BYTES * sum(cost(variant, CLASSES).parameters for variant in settings.lineup)
    workers = decoding(settings) if _workers(settings) else 0
    running = max(1, workers) if settings.engine == "openvino" else 0
    return TEMPLATE_BYTES + models + workers * WORKER_BYTES + running * (OPENVINO_BYTES + models)


def batches(settings: "Settings") -> int:
    """Return how many batches an HTTP process has at once: one in each worker, or one where there are no workers."""
    return max(1, _workers(settings))


def decoding(settings: "Settings") -> int:
    """Return how many images each HTTP process decodes at once.

    There is one for each batch, and one beside them that is large or drawn, for which another worker is forked.
    """
    return batches(settings) + 1


def left_bytes(limit: int, settings: "Settings") -> float:
    """Return how much of a limit is left to each HTTP process for all images that it decodes at once."""
    return (limit - needed_bytes(settings)) / settings.http_workers


def share_bytes(limit: int, settings: "Settings") -> float:
    """Return how much of a limit is left for each image that is decoded, if all take as much."""
    return left_bytes(limit, settings) / decoding(settings)


def _workers(settings: "Settings") -> int:
    return 0 if settings.engine == "tensorflow" else settings.model_workers
