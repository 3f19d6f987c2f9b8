"""An application with a bug among the candidates that a budget chooses from: run by uvicorn in a test."""

from typing import NoReturn

from app.config import Settings
from app.main import create_app
from app.prediction.classifier import Classifier
from tests.support.fakes import colour_model, serving


def candidates(self: Classifier) -> NoReturn:
    """Fail."""
    raise KeyError("a bug among the candidates")


Classifier.candidates = candidates  # type: ignore[method-assign]
app = create_app(Settings(), serving(colour_model()))
