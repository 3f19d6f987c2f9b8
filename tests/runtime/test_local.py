"""One process runs what it is asked: what of an image is wanted, pictures of it, and models that passed their test."""

import io
import time
import weakref
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from PIL import Image

from app.config import Settings
from app.engines.base import FeatureEngine, Pixels, Predictions
from app.errors import ServiceError
from app.imaging import decode
from app.imaging.overlay import overlay
from app.model.evidence import embedding, evidence
from app.runtime.local import Local, in_process
from app.runtime.pipeline import Job, Outcome, Overlay, Wish
from tests.runtime.colours import Photo
from tests.support.data import RED
from tests.support.fakes import ColourEngine, colour_model, mosaic_model
from tests.support.images import encoded, photo


@pytest.mark.parametrize(
    ("wish", "classes"),
    [(Wish(), None), (Wish(embedding=True), None), (Wish(classes=2), "best"), (Wish(classes=1, target=1), [1])],
    ids=["nothing", "embedding", "evidence of the best", "evidence of one class"],
)
def test_an_image_has_what_is_asked_for_and_no_more(wish: Wish, classes: list[int] | str | None) -> None:
    model = mosaic_model()
    engine = cast("FeatureEngine", model.engine)
    job = Job(RED, (model.variant,), wish)
    local = Local([model], max_pixels=10**8)
    (found,) = local.run([job])
    assert isinstance(found, tuple)
    pixels, _ = local._pixels(job.payload, [model.variant.resolution], False)[:2]
    _, (features,) = engine.observe(pixels)
    ranked = [int(one) for one in np.argsort(-found[0].probabilities, kind="stable")[:2]]
    if wish.embedding:
        np.testing.assert_array_equal(found[0].embedding, embedding(features))
    else:
        assert found[0].embedding is None
    if classes is None:
        assert found[0].evidence is None
    else:
        asked = ranked if classes == "best" else [1]
        np.testing.assert_array_equal(found[0].evidence, evidence(features, engine.head, asked))


@pytest.mark.parametrize("content", [b"text", RED[: len(RED) // 2]], ids=["no image", "a broken image"])
def test_what_is_wrong_with_an_image_does_not_keep_the_images_of_its_batch(content: bytes) -> None:
    model = colour_model()
    bad, good = Photo(b64encode(content).decode()), Photo(b64encode(RED).decode())
    kept = [weakref.ref(bad), weakref.ref(good)]
    results = Local([model], 10**8).run([Job(bad, (model.variant,)), Job(good, (model.variant,))])
    assert [isinstance(one, ServiceError) for one in results] == [True, False]
    del bad, good
    assert [one() for one in kept] == [None, None]


def test_the_time_of_the_network_is_told_from_that_of_decoding_before_it() -> None:
    class Slow(ColourEngine):
        """Takes its time."""

        def predict(self, images: Sequence[Pixels]) -> Predictions:
            """Return the predictions for six classes a little later."""
            time.sleep(0.1)
            return super().predict(images)

    model = replace(colour_model(), engine=Slow())
    ((found,),) = cast("list[list[Outcome]]", Local([model], 10**8).run([Job(RED, (model.variant,))]))
    assert found.inference_ms >= 100
    assert found.decode_began + found.decode_ms / 1000 <= found.inference_began


@pytest.mark.parametrize("whole", [False, True])
def test_a_picture_has_the_evidence_exactly_over_what_the_network_sees(whole: bool) -> None:
    content = encoded(photo(90, 60), "PNG")
    grid = np.array([[1, -1], [0.5, 0]], np.float32)
    drawn = Local([], max_pixels=10**6).preview(content, 64, Overlay(grid, whole))
    under = decode.decode(content, resolution=64, max_pixels=10**6)
    expected = overlay(under, grid, (0, 0, 64, 64))
    if whole:
        expected = overlay(np.asarray(photo(90, 60).convert("RGB")), grid, decode.square(90, 60))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(drawn))), expected)


def test_models_that_passed_their_test_say_how_long_an_image_took_in_it() -> None:
    local = in_process(Settings(alpha=0.25, resolution=64), lambda _: mosaic_model())
    assert [0 < model.first_s < 60 for model in local.models] == [True]
