"""The classifier that a training of all layers begins with: what it tells apart, and how small its logits stay."""

import numpy as np
import pytest

from app.engines.base import Head
from app.training import regression
from app.training.classifier import Sample, logits
from app.training.regression import Floats
from app.training.task import smooth
from tests.training.test_classifier import sample


def fitted(learnt: Sample, weights: Floats | None = None, seed: int = 0) -> Head:
    targets = smooth(learnt.labels, int(learnt.labels.max()) + 1)
    return regression.fit(
        learnt.features, targets, np.ones(len(targets), np.float32) if weights is None else weights, seed
    )


def test_classes_that_can_be_told_apart_are_whatever_the_scale_of_the_features() -> None:
    found = []
    for scale in (1, 100):
        learnt, others = (
            Sample(one.features * scale, one.labels) for one in (sample([100] * 4, 1), sample([100] * 4, 3))
        )
        found.append(logits(fitted(learnt), others.features))
        assert (found[-1].argmax(axis=1) == others.labels).mean() > 0.95
        assert np.abs(found[-1]).max() < 20, "a training of all layers begins badly with large logits"
    np.testing.assert_allclose(found[0], found[1], atol=0.01)


def test_what_counts_more_is_answered_more_often() -> None:
    learnt = sample([100] * 2, 1, spread=6)
    shares = [
        logits(fitted(learnt, np.array([1, weight], np.float32)[learnt.labels]), learnt.features).argmax(axis=1).mean()
        for weight in (0.2, 1, 5)
    ]
    assert shares == sorted(shares)
    assert shares[2] - shares[0] > 0.2


def test_the_same_seed_gives_the_same_classifier_and_another_one_nearly() -> None:
    one, same, other = (fitted(sample([90] * 3, 1), seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.kernel, same.kernel)
    assert 0 < np.abs(one.kernel - other.kernel).max() < 0.5 * np.abs(one.kernel).max()


@pytest.mark.parametrize("value", [0, 1])
def test_photos_that_all_look_the_same_have_a_classifier_of_finite_numbers(value: float) -> None:
    labels = np.repeat(np.arange(2), 3)
    head = fitted(Sample(np.full((6, 40), value, np.float32), labels))
    assert np.isfinite(head.kernel).all()
    assert logits(head, np.full((1, 40), value, np.float32)) == pytest.approx(0, abs=1e-3)
