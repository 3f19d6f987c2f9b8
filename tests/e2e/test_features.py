"""Why and what is alike, on the real process: real photos, real weights, in other processes and inline."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support import needs
from tests.support.data import SHARED
from tests.support.images import encoded, orientation, photo
from tests.support.processes import Process, Serve

BUNDLED = {"PRECISION": "int8", "VARIANTS": "0.25/128"}  # int8 needs no compiling


@pytest.fixture(scope="module", params=[2, 0], ids=["workers", "inline"])
def process(request: pytest.FixtureRequest, serve: Serve) -> Iterator[Process]:
    process = serve(**BUNDLED, MODEL_WORKERS=request.param)
    yield process
    assert process.stop() == 0


def post(process: Process, path: str, content: bytes, **options: Any) -> httpx.Response:
    answer = httpx.post(f"{process.url}{path}", content=content, timeout=60, **options)
    assert answer.status_code == 200, answer.text
    return answer


def cornered(path: Path, row: int, column: int) -> bytes:
    """Return a photo in one corner of a grey square of twice its size."""
    with Image.open(path) as opened:
        small = opened.convert("RGB").resize((196, 196))
    image = Image.new("RGB", (448, 448), (128, 128, 128))
    image.paste(small, (28 + 196 * column, 28 + 196 * row))  # inside of what the network sees
    return encoded(image, "PNG")


def centre(values: Any) -> tuple[float, float]:
    """Return where the middle of the evidence for a class lies: row and column, 0 to 1."""
    weights = np.array(values).clip(0)
    steps = (np.arange(len(weights)) + 0.5) / len(weights)
    return float((weights.sum(axis=1) * steps).sum() / weights.sum()), float(
        (weights.sum(axis=0) * steps).sum() / weights.sum()
    )


@needs.REFERENCE_DATA.mark()
def test_the_evidence_for_a_class_moves_with_the_photo_of_it(process: Process) -> None:
    moved = 0
    for folder in sorted((SHARED / "imagenette" / "val").iterdir()):
        for path in sorted(folder.iterdir())[:2]:
            found = [prediction_of(process, folder.name, cornered(path, *corner)) for corner in ((0, 0), (1, 1))]
            if min(one["probability"] for one in found) > 0.5:  # of what it does not recognise there is no evidence
                (above, left), (below, right) = (centre(one["evidence"]["values"]) for one in found)
                assert below > above + 0.1, path.name
                assert right > left + 0.1, path.name
                moved += 1
    assert moved >= 5


def prediction_of(process: Process, wordnet_id: str, content: bytes) -> Any:
    (result,) = post(process, "/predict?explain=true&top_k=10", content).json()["results"]
    return next(one for one in result["predictions"] if one["wordnet_id"] == wordnet_id)


def test_pictures_of_all_formats_are_drawn_at_the_size_of_the_photo(process: Process) -> None:
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"):
        image = photo(300, 200) if form != "GIF" else photo(300, 200).convert("P")
        answer = post(process, "/explain?size=photo", encoded(image, form))
        assert Image.open(io.BytesIO(answer.content)).size == (300, 200), form
    turned = post(process, "/explain?size=photo", encoded(photo(300, 200), "JPEG", exif=orientation(6)))
    assert Image.open(io.BytesIO(turned.content)).size == (200, 300)


def test_what_leaves_a_worker_is_what_was_asked_for_of_each_variant(process: Process) -> None:
    content = encoded(photo(300, 200), "JPEG")
    for query, length in (("", 512), ("?alpha=0.25&resolution=128", 256)):
        (result,) = post(process, f"/embed{query}", content).json()["results"]
        raw = post(process, f"/embed{query}", content, headers={"Accept": "application/octet-stream"})
        found = np.frombuffer(raw.content, "<f4")
        assert len(found) == length
        np.testing.assert_allclose(result["embedding"], found, rtol=1e-6)
        assert 0 <= found.min() < found.max() <= 6
    both = post(process, "/predict?explain=true&top_k=2&variants=all", content).json()["results"][0]["variants"]
    assert [[one["evidence"]["rows"] for one in variant["predictions"]] for variant in both] == [[5, 5], [4, 4]]
