"""What is asked of an image beside its probabilities comes of the model's own features, and of nothing else's."""

from typing import cast

import numpy as np
import pytest

from app.engines.base import FeatureEngine
from app.model.evidence import embedding, evidence
from app.runtime.local import Local
from app.runtime.pipeline import Job, Wish
from tests.support.data import solid
from tests.support.fakes import mosaic_model


@pytest.mark.parametrize(
    ("wish", "classes"),
    [(Wish(), None), (Wish(embedding=True), None), (Wish(classes=2), "best"), (Wish(classes=1, target=1), [1])],
    ids=["nothing", "embedding", "evidence of the best", "evidence of one class"],
)
def test_an_image_has_what_is_asked_for_and_no_more(wish: Wish, classes: list[int] | str | None) -> None:
    model = mosaic_model()
    engine = cast("FeatureEngine", model.engine)
    job = Job(solid((220, 30, 30)), (model.variant,), wish)
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
