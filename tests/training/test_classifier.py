"""The classifier that is fitted to features: what it tells apart, with how few photos, and how sure it is."""

import numpy as np
import pytest

from app.engines.tflite.interface import softmax
from app.training.classifier import Sample, fit, logits, loss

CHANNELS = 40


def sample(counts: list[int], seed: int, spread: float = 1.0) -> Sample:
    """Return features of so many photos of each class, whose means are the same for every seed."""
    means = np.random.default_rng(0).normal(size=(len(counts), CHANNELS))
    labels = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(seed).normal(size=(len(labels), CHANNELS)) * spread
    noise[:, 0] *= 30  # one channel varies much and says nothing, as brightness may
    return Sample((means[labels] + noise).astype(np.float32), labels)


@pytest.mark.parametrize("counts", [[100] * 4, [6] * 4, [200, 5, 5, 5]], ids=["many", "few", "uneven"])
def test_classes_that_can_be_told_apart_are(counts: list[int]) -> None:
    head = fit(sample(counts, 1), sample([4] * 4, 2))
    others = sample([100] * 4, 3)
    assert (logits(head, others.features).argmax(axis=1) == others.labels).mean() > 0.95


def test_the_probabilities_say_how_often_answers_to_other_photos_are_right() -> None:
    learnt, held_out, others = (
        Sample(one.features[:, 1:], one.labels)
        for one in (sample([50] * 4, 1), sample([50] * 4, 2, spread=4), sample([500] * 4, 3, spread=4))
    )
    head = fit(learnt, held_out)
    probabilities = softmax(logits(head, others.features))
    right = (probabilities.argmax(axis=1) == others.labels).mean()
    assert 0.4 < right < 0.9, "the classes overlap"
    assert probabilities.max(axis=1).mean() == pytest.approx(right, abs=0.05)
    assert loss(probabilities, others.labels) < np.log(4)


def test_with_few_photos_that_are_all_right_no_answer_is_beyond_doubt() -> None:
    head = fit(sample([10] * 2, 1, spread=0.01), sample([3] * 2, 2, spread=0.01))
    others = sample([20] * 2, 3, spread=0.01)
    assert 0.8 < softmax(logits(head, others.features)).max(axis=1).mean() < 0.95


def test_photos_that_all_look_the_same_have_a_classifier_of_finite_numbers() -> None:
    labels = np.repeat(np.arange(2), 3)
    same = Sample(np.ones((6, CHANNELS), np.float32), labels)
    head = fit(same, same)
    assert np.isfinite(head.kernel).all()
    assert np.isfinite(head.bias).all()
