"""From settings to a pipeline: at the start, and for a reload while another pipeline serves."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.config import Settings
from app.runtime.memory import check_room_beside, keep_to_limit
from app.runtime.template import Template

if TYPE_CHECKING:
    from app.runtime.pipeline import Pipeline


def start_loading(settings: Settings) -> "Callable[[], Pipeline]":
    """Begin to load and test the models that the settings name; return a function that waits for the pipeline.

    This happens in another process, so that the caller can go on meanwhile. With TensorFlow, or if `model_workers` is
    0, the function does all of it in this process. It raises `StartError`, whose message is one line, or
    `SelfTestFailed`.
    """
    keep_to_limit(settings)
    if settings.engine == "tensorflow" or settings.model_workers == 0:
        return lambda: _here(settings)
    template = Template.start()
    from app.runtime.pool import Pool  # takes a while, in which the template imports its own part

    return Pool(settings, template).ready


def _here(settings: Settings) -> "Pipeline":
    """Load and test the models in this process, which imports decoders and engines only then."""
    from app.runtime.inline import Inline, Threads
    from app.runtime.local import in_process

    local = in_process(settings)
    return Threads(local) if settings.engine == "tensorflow" else Inline(local, settings.patience_s)


def load_beside(settings: Settings) -> "Pipeline":
    """Load and test once more what the settings name, while the models that it named before serve; may take long.

    Models that will run in this process are tried in another one first. So a file that crashes whatever loads it does
    not end this process, and `stop_loading` can end the compiler. Raises `StartError` or `SelfTestFailed`.
    """
    check_room_beside(settings)
    if settings.engine != "tensorflow" and settings.model_workers == 0:
        from app.runtime.pool import Pool

        Pool(settings).ready().end()
    return start_loading(settings)()
