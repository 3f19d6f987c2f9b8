"""The commands of docs/own-classes.md, in its order and as written: from photos to a service that knows them."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.data import REPOSITORY, SHARED
from tests.support.processes import Serve, environment, mobilenet

pytestmark = [pytest.mark.tensorflow, pytest.mark.e2e, pytest.mark.timeout(900)]  # it trains all layers

CLASSES = 2
PHOTOS = 12


def commands() -> list[list[str]]:
    """Return the commands of the document, without that of Docker, which the tests of the container start."""
    text = (REPOSITORY / "docs" / "own-classes.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    return [words for block in blocks if (words := shlex.split(block))[0] == "mobilenet"]


@needs.REFERENCE_DATA.mark()
def test_the_commands_lead_from_photos_to_a_service(tmp_path: Path, serve: Serve) -> None:
    (_, *train), (_, command, option, weights) = commands()
    assert (train[0], command, option) == ("train", "serve", "--weights")
    classes = sorted((SHARED / "signs" / "train").iterdir())[:CLASSES]
    for folder in classes:
        (tmp_path / "photos" / folder.name).mkdir(parents=True)
        for photo in sorted(folder.iterdir())[:PHOTOS]:
            shutil.copy(photo, tmp_path / "photos" / folder.name)
    done = subprocess.run(
        mobilenet(*train), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"serve it with: {shlex.join(['mobilenet', command, option, weights])}" in done.stderr
    process = serve(WEIGHTS=tmp_path / weights, MODEL_WORKERS=1)
    with process.client() as client:
        assert [one["label"] for one in client.get("/labels").json()] == [folder.name for folder in classes]
        content = next(classes[0].iterdir()).read_bytes()
        assert client.post("/predict", content=content).status_code == 200
    assert process.stop() == 0
