"""A service whose decoder hangs on black images: run by uvicorn in a test, with settings from the environment.

Its workers run this module too, so that they hang wherever images are decoded. With `HANGING_THREADS` the model is one
of colours and runs on threads, as TensorFlow does.
"""

import os
import sys
import time
from typing import Any

from app import config, environment
from app.imaging import decode
from app.runtime import template, worker

located = decode.located


def hang(*arguments: Any, **options: Any) -> Any:
    """Decode, and never return with a black image."""
    images, region = located(*arguments, **options)
    while any(image.max() == 0 for image in images):
        time.sleep(1)
    return images, region


decode.located = hang
config.STALLED_AT_LEAST_S = 1.5
template.WORKER_MODULE = __name__

if __name__ == "__main__":
    worker.main(int(sys.argv[1]))
else:
    from app.main import create_app, open_pipeline
    from tests.support.fakes import colour_model, serving

    app = create_app(environment.load(), serving(colour_model()) if "HANGING_THREADS" in os.environ else open_pipeline)
