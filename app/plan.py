"""What is done with the images of a request: one variant answers, several side by side, or one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.classified import Found
from app.classifier import Classifier
from app.mobilenet.variants import Variant
from app.pipeline import Payload


@dataclass(frozen=True, slots=True)
class Pick:
    """Answer with the first of `variants` that has room, or with the default one; `reason` is of a budget, in words."""

    variants: Sequence[Variant] = ()
    reason: str | None = None
    expected_ms: float | None = None

    def check_room(self, classifier: Classifier) -> None:
        """Raise `QueueFull` or `Draining` if an image would not be admitted now."""
        classifier.check_room(self.variants)

    async def run(
        self, classifier: Classifier, payloads: Sequence[Payload], deadline: float, owner: object
    ) -> list[Found]:
        """Classify, as `Classifier` says."""
        return await classifier.classify(payloads, deadline, self.variants, owner)


@dataclass(frozen=True, slots=True)
class Compare:
    """Answer with all of `variants` side by side; `best` gives the answer."""

    variants: tuple[Variant, ...]
    best: Variant

    def check_room(self, classifier: Classifier) -> None:
        """Raise `QueueFull` or `Draining` if an image would not be admitted now."""
        classifier.check_room_to_compare()

    async def run(
        self, classifier: Classifier, payloads: Sequence[Payload], deadline: float, owner: object
    ) -> list[Found]:
        """Classify, as `Classifier` says."""
        return await classifier.compare(payloads, deadline, self.variants, self.best, owner)


@dataclass(frozen=True, slots=True)
class Cascade:
    """Ask the stages in turn until one gives a class a probability of `threshold` or more, 0 to 1."""

    stages: tuple[Variant, ...]
    threshold: float

    def check_room(self, classifier: Classifier) -> None:
        """Raise `QueueFull` or `Draining` if an image would not be admitted now."""
        for stage in self.stages:
            classifier.check_room([stage])

    async def run(
        self, classifier: Classifier, payloads: Sequence[Payload], deadline: float, owner: object
    ) -> list[Found]:
        """Classify, as `Classifier` says."""
        return await classifier.cascade(payloads, deadline, self.stages, self.threshold, owner)


Plan = Pick | Compare | Cascade
