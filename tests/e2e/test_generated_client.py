"""A client that `openapi-python-client` generates from the running service's document works, and is typed."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from app.schemas import EXAMPLE_PNG
from tests.support import needs
from tests.support.data import solid
from tests.support.processes import Process, Serve

GENERATOR = needs.CLIENTS / "openapi" / "bin" / "openapi-python-client"
PACKAGE = "generated_client"

pytestmark = needs.GENERATOR.mark()


@pytest.fixture(scope="module")
def process(serve: Serve) -> Iterator[Process]:
    process = serve(PRECISION="int8")
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def generated(process: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Generate it, and import it from where it lies."""
    folder = tmp_path_factory.mktemp("generated")
    config = folder / "config.yml"
    config.write_text("post_hooks: []")  # they would format it
    command = ["generate", "--url", f"{process.url}/openapi.json", "--meta", "none", "--config", str(config)]
    done = subprocess.run(
        [str(GENERATOR), *command, "--output-path", str(folder / PACKAGE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    _check_warnings(done.stdout + done.stderr)
    sys.path.insert(0, str(folder))
    yield importlib.import_module(PACKAGE)
    sys.path.remove(str(folder))


@pytest.fixture
def client(generated: Any, process: Process) -> Iterator[Any]:
    with generated.Client(process.url) as client:
        yield client


def _check_warnings(output: str) -> None:
    """Bodies and answers that are images have no type there: the same bytes go as `application/octet-stream`."""
    said = [line for line in output.splitlines() if line.startswith(("Unsupported", "Cannot", "WARNING"))]
    unknown = [line for line in said if "WARNING parsing" not in line and "image/" not in line]
    assert not unknown


def module(generated: Any, name: str) -> Any:
    return importlib.import_module(f"{generated.__name__}.{name}")


def test_every_operation_is_there_by_its_name(generated: Any) -> None:
    folder = Path(generated.__file__).parent / "api"
    names = {path.stem for path in folder.glob("*/*.py")} - {"__init__"}
    assert names >= {"predict", "preview", "model_info", "labels", "variants", "healthz", "readyz", "metrics"}


def test_an_image_has_a_typed_answer_in_every_form(generated: Any, client: Any) -> None:
    predict, models, types = (module(generated, name) for name in ("api.classification.predict", "models", "types"))
    png = solid((200, 20, 20))
    raw = types.File(BytesIO(png))
    form = models.PredictFilesBody([types.File(BytesIO(png), "a.png", "image/png") for _ in range(2)])
    for body, count in ((raw, 1), (form, 2), (models.PredictJsonPredictBody([EXAMPLE_PNG]), 1)):
        answer = predict.sync(client=client, body=body, top_k=3)
        assert isinstance(answer, models.PredictResponse)
        assert isinstance(answer.results[0], models.Predictions)
        assert (len(answer.results), len(answer.results[0].predictions)) == (count, 3)
        assert isinstance(answer.results[0].predictions[0].label, str)


def test_an_error_is_a_typed_problem(generated: Any, client: Any) -> None:
    predict, models, types = (module(generated, name) for name in ("api.classification.predict", "models", "types"))
    answer = predict.sync_detailed(client=client, body=types.File(BytesIO(b"no image")))
    assert answer.status_code == 415
    assert isinstance(answer.parsed, models.Problem)
    assert (answer.parsed.code, answer.parsed.status) == ("unsupported_image", 415)


def test_what_is_served_is_typed_too(generated: Any, client: Any) -> None:
    info = module(generated, "api.model.model_info").sync(client=client, layers=True)
    assert info.layers[0].name == "conv1"
    labels = module(generated, "api.model.labels").sync(client=client)
    assert len(labels) == info.classes
    assert len(module(generated, "api.model.variants").sync(client=client).variants) >= 16
