"""A service that knows colours: run by uvicorn in a test, with settings from the environment.

At 64 × 64 pixels its model gives features, and so can say why. At any other resolution it gives none.
"""

from app import environment
from app.main import create_app
from tests.support.fakes import MosaicEngine, serving_lineup

app = create_app(environment.load(), serving_lineup(r64=MosaicEngine()))
