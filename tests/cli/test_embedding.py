"""What is found among embeddings is printed; what cannot be compared is refused before photos are embedded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer

from app.cli import embedding
from app.cli.embedding import _vectors
from app.cli.vectors import MANY, MOST, Vectors
from app.errors import StartError
from app.prediction.blocking import Source

SOURCE = Source("cats", "ab" * 32, "0.5/160", "int8", 7)
Command = Callable[[str], None]
Embedded = Callable[..., None]


@pytest.fixture(autouse=True)
def nothing_is_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_vectors", lambda *_, **__: pytest.fail("photos were embedded"))


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Embedded:
    """Return what says which photos are embedded as what, how many fail, and how many classes the model has."""

    def say(photos: dict[str, tuple[int, int]], failed: int = 0, classes: int = SOURCE.classes) -> None:
        values = np.array(list(photos.values()), np.float32)
        vectors = Vectors(list(photos), values, SOURCE._replace(classes=classes))
        monkeypatch.setattr(embedding, "_vectors", lambda *_, **__: (vectors, failed))

    return say


@pytest.fixture
def photo(tmp_path: Path) -> str:
    (tmp_path / "photo.jpg").touch()
    return str(tmp_path / "photo.jpg")


def test_photos_are_printed_nearest_first_and_the_one_they_are_compared_with_is_not(
    photo: str, embedded: Embedded, capsys: pytest.CaptureFixture[str]
) -> None:
    again = photo.replace("/photo.jpg", "/./photo.jpg")
    embedded({photo: (1, 0), again: (1, 0), "far.jpg": (0, 1), "near.jpg": (8, 6), "nearer.jpg": (2, 0)})
    nearest = ["1.0000 nearer.jpg", "0.8000 near.jpg", "0.0000 far.jpg"]
    embedding.similar(photo, ["photos"])
    assert capsys.readouterr().out.splitlines() == nearest
    embedding.similar(photo, ["photos"], count=2)
    assert capsys.readouterr().out.splitlines() == nearest[:2]


def test_a_photo_that_has_no_embedding_is_compared_with_nothing(photo: str, embedded: Embedded) -> None:
    embedded({"near.jpg": (1, 0)}, failed=1)
    with pytest.raises(StartError, match=f"^{photo} cannot be compared with others$"):
        embedding.similar(photo, ["photos"])


@pytest.mark.parametrize(
    ("classes", "threshold", "pairs"),
    [
        (MANY - 1, None, 0),
        (MANY, None, 1),
        (MANY - 1, 0.95, 1),
        (MANY, 0.97, 0),
        (MANY, 0.7, 2),
        (MANY, 0.0, 3),
    ],
)
def test_pairs_are_printed_from_the_threshold_on_nearest_first(
    classes: int, threshold: float | None, pairs: int, embedded: Embedded, capsys: pytest.CaptureFixture[str]
) -> None:
    embedded({"a.jpg": (1, 0), "b.jpg": (3, 4), "c.jpg": (8, 6)}, classes=classes)
    embedding.duplicates(["photos"], threshold=threshold)
    expected = ["0.9600 b.jpg c.jpg", "0.8000 a.jpg c.jpg", "0.6000 a.jpg b.jpg"]
    assert capsys.readouterr().out.splitlines() == expected[:pairs]


def test_a_photo_of_several_names_is_no_duplicate_of_itself_and_one_of_another_only_once(
    tmp_path: Path, embedded: Embedded, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "2023").mkdir()
    (tmp_path / "best").symlink_to("2023")
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "2023" / name).touch()
    (tmp_path / "hard.jpg").hardlink_to(tmp_path / "2023" / "a.jpg")
    names = [str(tmp_path / name) for name in ("2023/a.jpg", "2023/b.jpg", "best/a.jpg", "best/b.jpg", "hard.jpg")]
    embedded(dict.fromkeys([*names, "gone.jpg"], (1, 0)))
    embedding.duplicates([str(tmp_path)])
    assert capsys.readouterr().out.splitlines() == [
        f"1.0000 {names[0]} {names[1]}",
        f"1.0000 {names[0]} gone.jpg",
        f"1.0000 {names[1]} gone.jpg",
    ], "whoever deletes the second of each pair keeps one"


def test_what_was_written_is_said_with_what_it_comes_from(
    tmp_path: Path, embedded: Embedded, capsys: pytest.CaptureFixture[str]
) -> None:
    embedded({"a.jpg": (1, 0), "b.jpg": (3, 4), "c.jpg": (8, 6)})
    embedding.embed(["photos"], output=tmp_path / "v.csv")
    assert capsys.readouterr().out == f"{tmp_path / 'v.csv'}: 3 × 2 numbers by cats, 0.5/160, int8\n"
    assert len((tmp_path / "v.csv").read_text().splitlines()) == 1 + 3


@pytest.mark.parametrize(
    "command",
    [
        lambda photo: embedding.embed([photo], output=Path(photo).with_suffix(".csv")),
        lambda photo: embedding.similar(photo, [photo]),
        lambda photo: embedding.duplicates([photo]),
    ],
    ids=["embed", "similar", "duplicates"],
)
def test_the_exit_code_is_1_if_photos_failed(
    command: Command, photo: str, embedded: Embedded, capsys: pytest.CaptureFixture[str]
) -> None:
    embedded({photo: (1, 0), "near.jpg": (8, 6)}, failed=2)
    with pytest.raises(typer.Exit) as caught:
        command(photo)
    assert caught.value.exit_code == 1
    printed = capsys.readouterr()
    assert printed.err == "mobilenet: 2 of 4 photos failed\n"
    embedded({photo: (1, 0), "near.jpg": (8, 6)})
    command(photo)
    assert capsys.readouterr() == (printed.out, "")


@pytest.mark.parametrize(
    "command",
    [lambda photo: embedding.similar(photo, [photo]), lambda photo: embedding.duplicates([photo])],
    ids=["similar", "duplicates"],
)
def test_more_photos_than_are_compared_here_are_refused_before_they_are_embedded(
    command: Command, photo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "_vectors", _vectors)
    monkeypatch.setattr("app.cli.photos.find", lambda _: range(MOST + 1))
    monkeypatch.setattr("app.prediction.blocking.LocalBackend", lambda _: pytest.fail("photos were embedded"))
    with pytest.raises(StartError, match=r"^100,001 photos are too many to compare here, and 100,000 the most; "):
        command(photo)


def test_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"^{tmp_path} is a folder; name one photo to compare with$"):
        embedding.similar(str(tmp_path), ["photos"])


def test_a_photo_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"^cannot read {tmp_path / 'gone.jpg'}: No such file or directory$"):
        embedding.similar(str(tmp_path / "gone.jpg"), ["photos"])
    with pytest.raises(StartError, match=r"File name too long$"):
        embedding.similar(str(tmp_path / ("x" * 300)), ["photos"])


def test_names_that_are_orders_to_a_terminal_are_printed_as_escapes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a\x1b[31m\n.jpg", "ü.jpg"]
    vectors = Vectors(names, np.ones((2, 4), np.float32), Source("weights", "", "0.5/160", "int8", 10))
    monkeypatch.setattr(embedding, "_vectors", lambda *_, **__: (vectors, 0))
    embedding.duplicates(names)
    monkeypatch.setattr(embedding, "_check_photo", lambda _: None)
    embedding.similar(names[0], names)
    assert capsys.readouterr().out == "1.0000 a\\x1b[31m\\n.jpg ü.jpg\n1.0000 ü.jpg\n"
