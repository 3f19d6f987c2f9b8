"""Embeddings are written whole in every form, and what is alike is found exactly."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.cli.photos import PhotoFile
from app.cli.vectors import ROWS, Vectors, alike, collect, nearest, pairs, unit, writer
from app.errors import StartError, UndecodableImage
from app.prediction.blocking import PhotoResult, Source, VectorResult

SOURCE = Source("cats", "ab" * 32, "0.5/160", "int8", 7)
VALUES = np.array([[3, 4], [0, 0], [1.5, 1 / 3]], np.float32)
VECTORS = Vectors(["a.jpg", "ö, b.jpg", "\udcff.jpg"], VALUES, SOURCE)


class Lengths:
    """Embeds a file as its length; one that is empty is bad."""

    size, at_once, classes = 2, 2, 7

    def classify(self, images: Sequence[bytes], k: int) -> list[PhotoResult]:
        raise NotImplementedError

    def embed(self, images: Sequence[bytes]) -> list[VectorResult]:
        return [np.array([len(one), 1], np.float32) if one else UndecodableImage("it is empty") for one in images]

    def source(self) -> Source:
        return SOURCE

    def close(self) -> None:
        pass


def test_each_photo_has_its_embedding_and_one_that_fails_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(5):
        (tmp_path / f"{index}").write_bytes(b"x" * index)
    photos = [PhotoFile(str(tmp_path / name)) for name in ("4", "0", "missing", "2", "3")]
    vectors, failed = collect(photos, Lengths())
    assert failed == 2
    assert vectors.names == [photos[at].name for at in (0, 3, 4)]
    np.testing.assert_array_equal(vectors.values, [[4, 1], [2, 1], [3, 1]])
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path / '0'}: it is empty",
        f"{tmp_path / 'missing'}: No such file or directory",
    ]


def test_numpy_has_the_numbers_and_a_file_beside_it_what_they_are(tmp_path: Path) -> None:
    writer(tmp_path / "v.npy")(tmp_path / "v.npy", VECTORS)
    found = np.load(tmp_path / "v.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VALUES)
    about = json.loads((tmp_path / "v.json").read_text())
    assert about == {**SOURCE._asdict(), "paths": VECTORS.names}


def test_csv_has_each_number_to_the_bit_and_what_it_comes_from(tmp_path: Path) -> None:
    writer(tmp_path / "v.csv")(tmp_path / "v.csv", VECTORS)
    with (tmp_path / "v.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == VECTORS.names
    np.testing.assert_array_equal([[np.float32(row["0"]), np.float32(row["1"])] for row in rows], VALUES)
    assert all(row["weights_sha256"] == SOURCE.weights_sha256 for row in rows)


def test_parquet_has_a_row_for_each_photo_and_what_they_come_from(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    writer(tmp_path / "v.parquet")(tmp_path / "v.parquet", VECTORS)
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table.column("path").to_pylist() == ["a.jpg", "ö, b.jpg", "\N{REPLACEMENT CHARACTER}.jpg"]
    np.testing.assert_array_equal(table.column("embedding").to_pylist(), VALUES)
    assert table.schema.metadata[b"weights_sha256"].decode() == SOURCE.weights_sha256


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("v.txt", "must end with .npy, .parquet, .csv"),
        ("missing/v.csv", "there is no folder"),
        ("folder.csv", "/folder.csv: cannot be written: Is a directory"),
        ("folder.npy", "/folder.npy: cannot be written: Is a directory"),
        ("beside.npy", "/beside.json: cannot be written: Is a directory"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, name: str, says: str) -> None:
    for folder in ("folder.csv", "folder.npy", "beside.json"):
        (tmp_path / folder).mkdir()
    with pytest.raises(StartError, match=says):
        writer(tmp_path / name)


def test_the_file_is_as_it_was_until_there_is_something_to_write(tmp_path: Path) -> None:
    older = tmp_path / "older.csv"
    older.write_text("older")
    writer(older)
    writer(tmp_path / "new.npy")
    assert older.read_text() == "older"
    assert list(tmp_path.iterdir()) == [older]


@pytest.mark.parametrize("content", ["", "[]", '{"paths": {}}', "\x00"])
def test_a_file_that_was_not_written_beside_an_array_stays(content: str, tmp_path: Path) -> None:
    (tmp_path / "tsconfig.json").write_text(content)
    with pytest.raises(StartError, match=r"tsconfig\.json, which holds something else; choose another name, or move "):
        writer(tmp_path / "tsconfig.npy")
    assert (tmp_path / "tsconfig.json").read_text() == content


def test_numbers_and_names_are_replaced_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "v.npy"
    writer(path)(path, VECTORS)
    newer = VECTORS._replace(values=VALUES + 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)  # as the names are
        with pytest.raises(StartError, match=r"No space left on device$"):
            writer(path)(path, newer)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["v.json", "v.npy"]
    np.testing.assert_array_equal(np.load(path), VALUES)
    writer(path)(path, newer)
    np.testing.assert_array_equal(np.load(path), VALUES + 1)


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real = tmp_path / "elsewhere" / "real.csv"
    real.write_text("older")
    path = tmp_path / "v.csv"
    path.symlink_to(real)
    writer(path)(path, VECTORS)
    assert path.is_symlink()
    assert real.read_text(errors="surrogateescape").startswith("path,weights,")


@pytest.mark.parametrize("name", ["v.csv", "v.npy", "v.parquet"])
def test_a_full_disk_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.symlink_to("/dev/full")
    write = writer(path)
    with pytest.raises(StartError, match=rf"^--output {path}: cannot be written: .+$"):
        write(path, VECTORS)
    assert Path("/dev/full").is_char_device(), "a device is written to, and never replaced or deleted"


def test_unit_vectors_have_length_1_and_nothing_stays_nothing() -> None:
    found = unit(VALUES)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(found[0], [0.6, 0.8], atol=1e-6)


def test_the_nearest_come_first() -> None:
    angles = np.radians([90, 10, 0, 30])
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = nearest(values[2], values, 3)
    assert [at for at, _ in found] == [2, 1, 3]
    assert found[2][1] == pytest.approx(np.cos(np.radians(30)), abs=1e-6)


def test_pairs_are_all_there_each_once_nearest_first_also_between_blocks() -> None:
    values = unit(np.random.default_rng(0).normal(size=(2 * ROWS + 30, 8)).astype(np.float32))
    values[ROWS + 5] = values[3]
    found = pairs(values, 0.9)
    cosines = values @ values.T
    expected = {(one, other) for one, other in np.argwhere(cosines >= 0.9).tolist() if one < other}
    assert {(one, other) for one, other, _ in found} == expected
    assert len(found) == len(expected) > 50
    assert found[0][:2] == (3, ROWS + 5)
    shares = [cosine for _, _, cosine in found]
    assert shares == sorted(shares, reverse=True)


def test_equal_photos_are_a_pair_whatever_their_product_is_rounded_to() -> None:
    values = unit(np.random.default_rng(0).random((200, 1024), np.float32))
    assert np.einsum("ij,ij->i", values, values).min() < 1
    found = pairs(np.concatenate([values, values]), 1)
    assert {(one, other) for one, other, _ in found} == {(at, at + 200) for at in range(200)}


def test_networks_of_many_classes_tell_more_apart_and_need_less_likeness() -> None:
    assert alike(SOURCE) > alike(SOURCE._replace(classes=1000))


def test_an_output_whose_folder_cannot_be_looked_at_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300) / "v.npy"
    with pytest.raises(StartError, match=f"^--output {path}: cannot be written: File name too long$"):
        writer(path)
