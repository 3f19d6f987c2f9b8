"""An application whose model hangs on black images: run by uvicorn in a test."""

import time
from collections.abc import Sequence
from dataclasses import replace

from app import config
from app.config import Settings
from app.engines.base import Pixels, Probabilities
from app.main import create_app
from tests.support.fakes import ColourEngine, colour_model, serving

config.STALLED_AT_LEAST_S = 0.5


class Hanging(ColourEngine):
    """Never answers for a black image."""

    def predict(self, images: Sequence[Pixels]) -> Probabilities:
        """Answer, or hang."""
        while any(image.max() == 0 for image in images):
            time.sleep(1)
        return super().predict(images)


model = colour_model()
app = create_app(Settings(request_timeout_ms=200), serving(replace(model, engine=Hanging())))
