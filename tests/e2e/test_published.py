"""The published weights: one setting, fetched once by the real process, from a web server of this machine."""

import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support import needs
from tests.support.data import SHARED, samples
from tests.support.processes import Serve, environment, mobilenet
from tests.support.webserver import serving

pytestmark = [pytest.mark.e2e, pytest.mark.tensorflow]

NAME = "mobilenet_5_0_160_tf.h5"


@needs.REFERENCE_DATA.mark()
def test_one_setting_fetches_imagenet_and_the_next_start_needs_no_network(serve: Serve, tmp_path: Path) -> None:
    settings = {"WEIGHTS": "imagenet", "ALPHA": 0.5, "RESOLUTION": 160, "CACHE": tmp_path}
    with serving({f"/{NAME}": (SHARED / "imagenet" / NAME).read_bytes()}) as site:
        first = serve(**settings, WEIGHTS_URL=site.url)
        assert len(site.asked) == 1
    assert first.stop() == 0
    assert NAME in first.log.read_text()
    second = serve(**settings, WEIGHTS_URL=site.url)
    info = httpx.get(f"{second.url}/model-info").json()
    assert (info["weights"], info["classes"]) == ("imagenet", 1000)
    photos = samples()[:20]
    answers = [
        httpx.post(f"{second.url}/predict", content=photo, headers={"Content-Type": "image/jpeg"}).json()
        for photo, _ in photos
    ]
    best = [answer["results"][0]["predictions"][0]["class_id"] for answer in answers]
    assert sum(one == index for one, (_, index) in zip(best, photos, strict=True)) >= 12
    assert second.stop() == 0


def test_without_a_network_the_start_ends_in_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    done = subprocess.run(
        mobilenet("serve"),
        env=environment(WEIGHTS="imagenet", WEIGHTS_URL=url, CACHE=tmp_path, PORT=0),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    name = "mobilenet_5_0_160_tf.h5"
    assert last.startswith(f"mobilenet: cannot fetch {url}/{name}: ")
    assert last.endswith(f"; get {name} from elsewhere and put it into {tmp_path}")
    assert "Traceback" not in done.stderr
