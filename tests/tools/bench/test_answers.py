"""What peers see of a photo, and which of their answers are right."""

from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from app.config import Settings
from app.imaging import decode
from tools.bench import answers
from tools.bench.answers import TOLERANCE, check, difference, plain_photos, probabilities
from tools.bench.contenders import CONTENDERS, ContenderFailed
from tools.bench.peers import classify
from tools.load.messages import make_photos

ROW = np.array([0.1, 0.5, 0.02, 0.3, 0.05, 0.02, 0.01], np.float32)
PEER = next(one for one in CONTENDERS if one.name == "mosec")


@pytest.mark.parametrize("size", [(224, 224), (500, 375), (1600, 1200)])
def test_a_peer_sees_the_pixels_that_the_service_sees(size: tuple[int, int]) -> None:
    for photo in make_photos(2, *size):
        ours = decode.decode(photo, resolution=128, max_pixels=10**8)
        assert (classify.decode(photo, 128)[0] == ours).all()


def test_a_peer_sees_a_grey_photo_as_the_service_does() -> None:
    buffer = BytesIO()
    Image.open(BytesIO(make_photos(1, 500, 375)[0])).convert("L").save(buffer, "JPEG")
    ours = decode.decode(buffer.getvalue(), resolution=128, max_pixels=10**8)
    assert (classify.decode(buffer.getvalue(), 128)[0] == ours).all()


def test_pillow_sees_the_same_photo_with_small_differences() -> None:
    for photo in make_photos(2, 500, 375):
        ours, theirs = classify.decode(photo, 128), classify.decode_with_pillow(photo, 128)
        assert theirs.shape == (1, 128, 128, 3)
        assert 0 < np.abs(theirs.astype(int) - ours).mean() < 2


def test_a_peers_answer_has_the_five_most_probable_classes() -> None:
    found = probabilities(classify.answer(ROW))
    assert list(found) == [1, 3, 0, 4, 5] or list(found) == [1, 3, 0, 4, 2]
    assert difference(found, ROW) == 0


def test_another_probability_another_class_or_no_answer_is_another_answer() -> None:
    found = probabilities(classify.answer(ROW))
    assert difference(found | {1: 0.5 + TOLERANCE / 2}, ROW) < TOLERANCE
    assert difference(found | {1: 0.5 + TOLERANCE * 2}, ROW) > TOLERANCE
    assert difference({index: ROW[index] for index in (0, 2, 3, 4, 5)}, ROW) == 1
    assert difference({}, ROW) == 1


def test_another_decoder_is_compared_by_photos_of_one_colour_and_answers_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right, wrong = probabilities(classify.answer(ROW)), probabilities(classify.answer(ROW[::-1]))
    plain, settings, contender = list(plain_photos()), Settings(), replace(PEER, decoder="sharp")
    monkeypatch.setattr(answers, "_expected", lambda *given: [ROW] * len(given[2]))
    monkeypatch.setattr(answers, "ask", lambda _, photo: right if photo in plain else wrong)
    check(contender, settings, "", [b"a photo"])
    with pytest.raises(ContenderFailed, match=r"mosec answers .* is wrong by"):
        check(PEER, settings, "", [b"a photo"])
    monkeypatch.setattr(answers, "ask", lambda _, photo: right if photo in plain else None)
    with pytest.raises(ContenderFailed, match="instead of 5 classes"):
        check(contender, settings, "", [b"a photo"])
    monkeypatch.setattr(answers, "ask", lambda *_: wrong)
    with pytest.raises(ContenderFailed, match="is wrong by"):
        check(contender, settings, "", [b"a photo"])


def test_the_service_is_compared_with_the_engine_and_the_precision_that_it_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contender = next(one for one in CONTENDERS if one.name == "this service, OpenVINO int8")
    given: list[Settings] = []

    def in_process(settings: Settings) -> SimpleNamespace:
        given.append(settings)
        return SimpleNamespace(run=lambda *_, **__: [(SimpleNamespace(probabilities=ROW),)])

    monkeypatch.setattr(answers, "in_process", in_process)
    monkeypatch.setattr(answers, "ask", lambda *_: probabilities(classify.answer(ROW)))
    check(contender, Settings(), "", [b"a photo"])
    assert [(one.engine, one.precision) for one in given] == [("openvino", "int8")]


def test_every_decoder_sees_a_photo_of_one_colour_alike() -> None:
    for photo in plain_photos():
        seen = [decoder(photo, 128).reshape(-1, 3).astype(int) for decoder in classify.DECODERS.values()]
        assert max(np.ptp(pixels, axis=0).max() for pixels in seen) == 0
        assert np.abs(seen[0][0] - seen[1][0]).max() <= 1
