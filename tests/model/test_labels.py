import json
from pathlib import Path

import numpy as np
import pytest

from app.config import MODEL_WEIGHTS
from app.errors import StartError
from app.model.labels import FEW, Label, load, top_k
from tests.support import needs
from tests.support.data import SHARED


def test_a_text_file_has_a_class_a_line_with_or_without_a_wordnet_id(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("n01440764\ttench\ncrème brûlée\n", encoding="utf-8")
    assert load(path) == (Label(0, "n01440764", "tench"), Label(1, None, "crème brûlée"))


def test_a_json_file_is_a_list_of_strings(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(["cat", "dog"]))
    assert load(path) == (Label(0, None, "cat"), Label(1, None, "dog"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", b"\xef\xbb\xbfcat\r\ndog\r\n\r\n"),  # as Windows' editor saves it
        ("labels.txt", b"cat\ndog\n\n\n"),
        ("labels.json", b'\xef\xbb\xbf["cat", "dog"]'),
        ("labels.json", b'{"1": "dog", "0": "cat"}'),
    ],
)
def test_labels_are_read_as_others_write_them(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert load(tmp_path / name) == (Label(0, None, "cat"), Label(1, None, "dog"))


def test_the_class_index_of_keras_has_wordnet_ids(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}))
    assert load(path) == (Label(0, "n01440764", "tench"), Label(1, "n01443537", "goldfish"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.txt", None),
        ("labels.json", b"{"),
        ("labels.json", b'{"1": "cat"}'),
        ("labels.json", b'{"0": "cat", "2": "dog"}'),
        ("labels.json", b'{"cat": 0, "dog": 1}'),
        ("labels.json", b'[["n1", "cat", "x"]]'),
        ("labels.json", b"[]"),
        ("labels.txt", b""),
        ("labels.json", b"[1, 2]"),
        ("labels.txt", b"cat\n\ndog"),
        ("labels.txt", b"\xff\xfe\xff"),
        ("labels.json", b"[" * 200_000),
        ("labels.json", b'["cat", ["dog"]]'),
    ],
)
def test_a_file_that_is_no_list_of_labels_is_refused_by_name(name: str, content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(StartError, match=name) as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "tench\ncat\t\ndog"),
        ("labels.txt", "tench\ncat\t \ndog"),
        ("labels.txt", "tench\n\tcat"),
        ("labels.txt", "tench\n \ndog"),
        ("labels.json", r'["tench", "\ud800"]'),
        ("labels.json", r'["tench", ["n01443537", "a\udfffb"]]'),
        ("labels.json", r'["tench", "cat\t"]'),
        ("labels.json", r'["tench", ["n01443537", " "]]'),
    ],
)
def test_the_first_class_without_a_label_that_can_be_sent_is_named(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(StartError, match=rf"^the labels {tmp_path / name} must be .*; class 1 is blank, or not text$"):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "place", "found"),
    [
        ("labels.txt", "tench\ncat\t2", "line 2", "cat"),
        ("labels.txt", "tench\n2\tcat", "line 2", "2"),
        ("labels.txt", "tench\ncat\tn02123045", "line 2", "cat"),
        ("labels.txt", "n01440764\ttench\nn1\tcat", "line 2", "n1"),
        ("labels.json", '["tench", ["cat", "2"]]', "class 1", "cat"),
    ],
)
def test_what_stands_where_a_wordnet_id_may_stand_and_is_none_is_refused(
    name: str, content: str, place: str, found: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    says = rf"^the labels {tmp_path / name} must be .*; {place} has '{found}' in front of the label, where only .*n0144"
    with pytest.raises(StartError, match=says):
        load(tmp_path / name)


def test_imagenet_has_its_thousand_labels_and_imagenette_its_ten_of_them() -> None:
    imagenet = load(MODEL_WEIGHTS / "imagenet.labels.txt")
    imagenette = load(MODEL_WEIGHTS / "imagenette.labels.txt")
    assert (len(imagenet), len(imagenette)) == (1000, 10)
    assert imagenet[0] == imagenette[0] == Label(0, "n01440764", "tench")
    assert {(label.wordnet_id, label.label) for label in imagenette} < {(a.wordnet_id, a.label) for a in imagenet}
    ids = [label.wordnet_id or "" for label in imagenet]
    assert ids == sorted(set(ids)), "ImageNet's classes are in the order of their WordNet ids"


@needs.REFERENCE_DATA.mark()
def test_the_imagenet_labels_are_in_the_order_of_the_published_list() -> None:
    listed = json.loads((SHARED / "imagenet" / "labels.json").read_text())
    ours = load(MODEL_WEIGHTS / "imagenet.labels.txt")
    assert [(item["index"], item["wnid"], item["name"]) for item in listed] == [
        (label.class_id, label.wordnet_id, label.label) for label in ours
    ]


def test_top_k_is_sorted_and_equal_probabilities_keep_the_order_of_the_classes() -> None:
    probabilities = np.array([0.1, 0.3, 0.1, 0.3, 0.2], np.float32)
    assert list(top_k(probabilities, 4)) == [(1, 0.3), (3, 0.3), (4, 0.2), (0, 0.1)]
    assert [index for index, _ in top_k(probabilities, 5)] == [1, 3, 4, 0, 2]
    tied = np.tile(np.array([0.0005, 0.0015], np.float32), 500)
    assert [index for index, _ in top_k(tied, 1000)] == [*range(1, 1000, 2), *range(0, 1000, 2)]


@pytest.mark.parametrize("classes", [10, FEW, FEW + 1, 1000])
@pytest.mark.parametrize("k", [1, 2, 5, 10])
def test_the_most_probable_of_few_and_of_many_classes_are_those_of_a_full_sort(classes: int, k: int) -> None:
    probabilities = np.random.default_rng(classes).dirichlet(np.ones(classes)).astype(np.float32)
    expected = sorted(range(classes), key=lambda index: -probabilities[index])[:k]
    assert [index for index, _ in top_k(probabilities, k)] == expected


@pytest.mark.parametrize(
    ("exact", "shown"), [(0.1, "0.1"), (0.123456789, "0.1234568"), (0.00123456789, "0.001234568"), (1, "1.0")]
)
def test_probabilities_have_the_seven_digits_that_a_float32_holds(exact: float, shown: str) -> None:
    ((_, probability),) = top_k(np.array([exact], np.float32), 1)
    assert json.dumps(probability) == shown
