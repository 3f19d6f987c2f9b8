"""Whether a contender's answers are those of the service's own model to the photos as this contender decodes them."""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

import httpx
from PIL import Image

from app.config import Settings
from app.engines.base import Probabilities
from app.runtime.local import in_process
from app.runtime.pipeline import Job
from tools.bench.contenders import Contender, ContenderFailed
from tools.bench.peers import classify

TOLERANCE = 0.01
"""How far a probability may be off. Other threads and versions round differently; another model is off by far more."""
COLOURS = ("#ffffff", "#102040", "#c03020", "#40a060")


def check(contender: Contender, settings: Settings, url: str, photos: Sequence[bytes]) -> None:
    """Compare the answers to these photos with those expected. Raises `ContenderFailed`.

    A decoder that is not in Python cannot be asked what it sees. Its server is compared by photos of one colour, which
    all decoders see alike, and has to answer the other photos with any five classes.
    """
    compared = photos if contender.decoder in classify.DECODERS else list(plain_photos())
    for photo, wanted in zip(compared, _expected(contender, settings, compared), strict=True):
        found = ask(url, photo) or {}
        if (off := difference(found, wanted)) > TOLERANCE:
            raise ContenderFailed(f"{contender.name} answers {found}, of which a probability is wrong by {off:.3f}")
    if compared is not photos:
        for photo in photos:
            if len(found := ask(url, photo) or {}) != classify.TOP:
                raise ContenderFailed(
                    f"{contender.name} answers a photo with {found} instead of {classify.TOP} classes"
                )


def plain_photos() -> Iterator[bytes]:
    """Yield JPEG files of one colour each."""
    for colour in COLOURS:
        buffer = BytesIO()
        Image.new("RGB", (300, 200), colour).save(buffer, "JPEG", quality=95)
        yield buffer.getvalue()


def _expected(contender: Contender, settings: Settings, photos: Sequence[bytes]) -> list[Probabilities]:
    """Return the answers of the service's own model to the photos, decoded as this contender decodes them."""
    pipeline = in_process(settings.model_copy(update={"precision": contender.precision, "engine": contender.engine}))
    if contender.packages:
        decode = classify.DECODERS.get(contender.decoder, classify.decode)
        predict = pipeline.models[0].engine.predict
        return [predict(list(decode(photo, settings.resolution))).probabilities[0] for photo in photos]
    results = pipeline.run([Job(photo, (settings.variant,)) for photo in photos], large=True)
    return [result[0].probabilities for result in results if isinstance(result, tuple)]


def ask(url: str, photo: bytes) -> dict[int, float] | None:
    """Return the probabilities that a contender answers, by class; None if its status is not 200."""
    headers = {"Content-Type": "application/octet-stream"}
    # Without `verify`, certificates would be read for each request, which takes longer than an answer.
    response = httpx.post(f"{url}/predict", content=photo, headers=headers, timeout=30, verify=False)
    return probabilities(response.json()) if response.status_code == httpx.codes.OK else None


def probabilities(answer: Any) -> dict[int, float]:
    """Return the probabilities in the answer to one image, by class."""
    return {each["class_id"]: each["probability"] for each in answer["results"][0]["predictions"]}


def difference(found: Mapping[int, float], expected: Probabilities) -> float:
    """Return the largest error of the probabilities `found`; 1 if the most probable classes are not among them."""
    missed = max((value for index, value in enumerate(expected) if index not in found), default=0.0)
    if not found or missed > min(found.values()) + TOLERANCE:
        return 1.0
    return max(abs(value - float(expected[index])) for index, value in found.items())
