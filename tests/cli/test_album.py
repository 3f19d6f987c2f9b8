"""Many photos: each has its result, in order, and a backend has no more at once than it takes."""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.cli.album import classify_photos
from app.cli.photos import PhotoFile
from app.client.many import MOST_BYTES
from app.errors import Unreadable
from app.prediction.blocking import PhotoResult, Source, VectorResult
from app.schemas import Prediction, Predictions


class Echo:
    """Takes the bytes of a photo for its label; the first call ends last."""

    classes = 1

    def __init__(self, size: int = 4, at_once: int = 3) -> None:
        self.size, self.at_once = size, at_once
        self.calls: list[list[bytes]] = []
        self.most = self.under_way = 0
        self._later = threading.Event()
        self._counting = threading.Lock()

    def classify(self, images: Sequence[bytes], k: int) -> list[PhotoResult]:
        with self._counting:
            self.calls.append(list(images))
            first = len(self.calls) == 1
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        if first and self.at_once > 1:
            self._later.wait(10)
        else:
            self._later.set()
        with self._counting:
            self.under_way -= 1
        named = (Prediction(class_id=0, wordnet_id=None, label=image.decode(), probability=1) for image in images)
        return [Predictions(predictions=[one] * k) for one in named]

    def embed(self, images: Sequence[bytes]) -> list[VectorResult]:
        raise NotImplementedError

    def source(self) -> Source:
        raise NotImplementedError

    def close(self) -> None:
        pass


def photos(folder: Path, count: int) -> list[PhotoFile]:
    for index in range(count):
        (folder / f"{index:03}").write_bytes(f"photo {index}".encode())
    return [PhotoFile(str(folder / f"{index:03}")) for index in range(count)]


def labels(results: Sequence[tuple[PhotoFile, PhotoResult]]) -> list[str]:
    return [result.detail if isinstance(result, Exception) else result.predictions[0].label for _, result in results]


def test_results_come_in_the_order_of_the_photos(tmp_path: Path) -> None:
    found = photos(tmp_path, 50)
    backend = Echo()
    results = list(classify_photos(found, backend, 2))
    assert [photo for photo, _ in results] == found
    assert labels(results) == [f"photo {index}" for index in range(50)]
    assert all(isinstance(result, Predictions) and len(result.predictions) == 2 for _, result in results)
    assert max(map(len, backend.calls)) == 4
    assert 1 < backend.most <= 3


def test_few_photos_are_shared_out(tmp_path: Path) -> None:
    backend = Echo(size=8, at_once=3)
    list(classify_photos(photos(tmp_path, 6), backend, 1))
    assert [len(call) for call in backend.calls] == [2, 2, 2]


def test_a_file_that_is_too_large_fails_alone(tmp_path: Path) -> None:
    found = photos(tmp_path, 3)
    os.truncate(found[1].name, 2**40)  # of zeros that take no room on the disk
    says = "it has 1,099,511,627,776 bytes, and 1,073,741,824 is the most"
    assert labels(list(classify_photos(found, Echo(at_once=1), 1))) == ["photo 0", says, "photo 2"]


def test_a_file_that_there_is_no_memory_for_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, read = photos(tmp_path, 3), Path.read_bytes

    def full(path: Path) -> bytes:
        if str(path) == found[1].name:
            raise MemoryError
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", full)
    says = "there is not enough memory to read it"
    assert labels(list(classify_photos(found, Echo(at_once=1), 1))) == ["photo 0", says, "photo 2"]


def test_a_file_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    found = photos(tmp_path, 3)
    found.insert(1, PhotoFile(str(tmp_path / "missing")))
    backend = Echo(at_once=1)
    results = list(classify_photos(found, backend, 1))
    assert labels(results) == ["photo 0", "No such file or directory", "photo 1", "photo 2"]
    assert isinstance(results[1][1], Unreadable)
    assert labels(list(classify_photos(found[1:2], backend, 1))) == ["No such file or directory"]


def test_photos_that_are_large_together_go_apart(tmp_path: Path) -> None:
    found = photos(tmp_path, 4)
    for photo in found[1:3]:
        with open(photo.name, "r+b") as file:
            file.truncate(MOST_BYTES)
    backend = Echo(at_once=1)
    assert len(list(classify_photos(found, backend, 1))) == 4
    assert [len(call) for call in backend.calls] == [1, 1, 1, 1]


def test_nothing_more_is_begun_once_nobody_wants_results(tmp_path: Path) -> None:
    class Slow(Echo):
        """All photos would take ten seconds, so that however slow the machine is some are left when it closes."""

        def classify(self, images: Sequence[bytes], k: int) -> list[PhotoResult]:
            """Echo, but later."""
            time.sleep(0.05)
            return super().classify(images, k)

    backend = Slow(size=1, at_once=1)
    results = classify_photos(photos(tmp_path, 200), backend, 1)
    next(results)
    results.close()
    assert len(backend.calls) < 200
    assert backend.under_way == 0


def test_what_a_backend_raises_is_raised(tmp_path: Path) -> None:
    class Broken(Echo):
        def classify(self, images: Sequence[bytes], k: int) -> list[PhotoResult]:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        list(classify_photos(photos(tmp_path, 9), Broken(), 1))
