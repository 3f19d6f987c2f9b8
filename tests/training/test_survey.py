"""What is found in a folder of photos, and what is said of it before a training begins."""

from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from app.errors import StartError
from app.training.holdout import hold_out
from app.training.names import natural
from app.training.survey import Look, Photo, Survey, _sorted_out, checked, readable, survey

MAX_PIXELS = 10**7


def photo(path: Path, number: int) -> Path:
    """Write a photo that no other number gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(blocks.repeat(16, 0).repeat(16, 1)).save(path)
    return path


def album(folder: Path, **classes: int) -> Path:
    """Write so many photos of each class."""
    number = 0
    for name, count in classes.items():
        for _ in range(count):
            photo(folder / name / f"{number}.png", number)
            number += 1
    return folder


def look(folder: Path, classes: tuple[str, ...] | None = None) -> Survey:
    def silent(looks: Iterable[Look], total: int) -> Iterable[Look]:
        return looks

    found = survey(folder, MAX_PIXELS, silent, classes)
    return found if classes else checked(folder, found)


def closed(path: Path | str) -> NoReturn:
    raise PermissionError(13, "Permission denied", str(path))


def test_each_folder_is_a_class_and_classes_come_in_natural_order(tmp_path: Path) -> None:
    names = ["10", "1", "2", "über uns", "Äpfel 2", "Äpfel 10", "日本"]
    for at, name in enumerate(names):
        for number in range(4):
            photo(tmp_path / name / f"{number}.png", 10 * at + number)
    found = look(tmp_path)
    assert found.classes == tuple(sorted(names, key=natural))
    assert found.classes[:3] == ("1", "2", "10")
    assert found.classes.index("Äpfel 2") < found.classes.index("Äpfel 10")
    assert [found.labels.count(label) for label in range(len(names))] == [4] * len(names)


def test_photos_deeper_in_a_class_belong_to_it_and_what_systems_leave_behind_is_nothing(tmp_path: Path) -> None:
    album(tmp_path, cat=3, dog=4)
    photo(tmp_path / "cat" / "2024" / "may" / "x.png", 99)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", ".hidden/0.png"):
        path = tmp_path / "cat" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"junk")
    for name in (".git", "__MACOSX"):
        photo(tmp_path / name / "0.png", 100)
    (tmp_path / "README.txt").write_text("a file beside the folders is no class")
    found = look(tmp_path)
    assert (found.classes, sorted(found.labels)) == (("cat", "dog"), [0] * 4 + [1] * 4)
    assert all("few" in remark for remark in found.remarks)


def test_a_link_that_leads_in_a_circle_gives_no_photo_twice(tmp_path: Path) -> None:
    album(tmp_path, cat=4, dog=4)
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat")
    found = look(tmp_path)
    assert (len(found.photos), [remark for remark in found.remarks if "same" in remark]) == (8, [])


def test_a_folder_in_a_class_that_cannot_be_looked_into_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.training.survey.files", lambda folder: closed(f"{folder}/locked"))
    with pytest.raises(StartError, match=r"cannot look for photos in .*/cat/locked: Permission denied"):
        look(album(tmp_path, cat=4, dog=4))


def test_what_cannot_be_read_is_left_out_and_listed_with_a_reason(tmp_path: Path) -> None:
    album(tmp_path, cat=4, dog=4)
    (tmp_path / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")
    (tmp_path / "dog" / "notes.txt").write_text("a note")
    found = look(tmp_path)
    photo_remark, other_remark = [remark for remark in found.remarks if "left out" in remark]
    assert "broken.jpg" in photo_remark
    assert "notes.txt" in other_remark
    assert len(found.photos) == 8


def test_what_cannot_be_read_is_listed_by_its_reason_and_what_is_called_a_photo_comes_first(tmp_path: Path) -> None:
    album(tmp_path, cat=4, dog=4)
    for number in range(7):
        (tmp_path / "cat" / f"{number}-notes.txt").write_text("a note")
    for name in ("empty.jpg", "vacant.png"):
        (tmp_path / "cat" / name).touch()
    (tmp_path / "dog" / "page.jpg").write_bytes(b"%PDF-1.7")
    (tmp_path / "dog" / "named.gif").write_text("a note")
    remarks = [remark for remark in look(tmp_path).remarks if "left out" in remark]
    assert len(remarks) == 3
    notes, empty, page = sorted(remarks, key=lambda remark: ("PDF" in remark, "empty" in remark))
    assert "empty.jpg, " in empty
    assert "vacant.png are no image that can be read, and left out (the image is empty" in empty
    assert "page.jpg is no image that can be read, and left out" in page
    assert "notes.txt and 3 more are no image" in notes
    assert notes.index("named.gif") < notes.index("0-notes.txt"), "what is called a photo is named first"


def test_of_many_reasons_only_the_first_are_told_apart(tmp_path: Path) -> None:
    photos = [Photo(tmp_path / f"{number}.jpg", 0) for number in range(40)]
    _, remarks = _sorted_out([Look(one, None, f"reason {number}") for number, one in enumerate(photos)])
    assert len(remarks) == 6
    assert remarks[-1].endswith("9.jpg and 30 more are no image that can be read, and left out (for other reasons)")


def test_photos_beside_the_folders_of_the_classes_are_named(tmp_path: Path) -> None:
    album(tmp_path, cat=20, dog=20)
    photo(tmp_path / "stray.png", 99)
    (tmp_path / "README.txt").write_text("no photo")
    (tmp_path / "._stray.png").write_bytes(b"junk")
    (remark,) = look(tmp_path).remarks
    assert remark == (
        f"{tmp_path / 'stray.png'} is beside the folders of the classes, and left out: "
        "a photo belongs in the folder of its class"
    )


def test_the_same_pixels_in_two_classes_are_left_out_of_both_and_twice_in_one_count_once(tmp_path: Path) -> None:
    album(tmp_path, cat=6, dog=6)
    Image.open(tmp_path / "cat" / "0.png").save(tmp_path / "dog" / "copy.bmp")
    Image.open(tmp_path / "cat" / "1.png").save(tmp_path / "cat" / "again.bmp")
    found = look(tmp_path)
    assert sorted(found.labels) == [0] * 5 + [1] * 6
    assert any("copy.bmp" in remark and "more than one class" in remark for remark in found.remarks)
    assert any("again.bmp" in remark and "twice" in remark for remark in found.remarks) or any(
        "1.png" in remark and "twice" in remark for remark in found.remarks
    )


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        ({}, r"has no folders: put the photos of each class into a folder"),
        ({"cat": 5}, r"has one class, 'cat': a classifier needs at least two"),
        ({"cat": 5, "dog": 3}, r"needs at least 4 different photos that can be read; 'dog' has 3"),
        ({"train": 5, "val": 5}, r"are no classes: try `mobilenet train \S+/train --validation \S+/val`$"),
        ({"Test": 5, "Train": 5, "Val": 5}, r"are no classes: try `mobilenet train \S+/Train --validation \S+/Val`$"),
        ({"Testing": 5, "Training": 5}, r"are no classes: try `mobilenet train \S+/Training`$"),
        ({"test_set": 5, "training_set": 5}, r"are no classes: try `mobilenet train \S+/training_set`$"),
        ({"Train data": 5, "valid-images": 5}, r"train '\S+/Train data' --validation \S+/valid-images`$"),
        ({"test2017": 5, "train2017": 5}, r"are no classes: try `mobilenet train \S+/train2017`$"),
        ({"train": 5, "training": 5}, r"are no classes: try `mobilenet train \S+/train`$"),
        (
            {"test": 5, "train": 5, "val": 5, "validation": 5},
            r"are no classes: try `mobilenet train \S+/train --validation \S+/val`$",
        ),
        ({"test_1": 5, "test_2": 5, "train_1": 5, "train_2": 5}, r"are no classes: try `mobilenet train \S+/train_1`$"),
        ({"val": 5}, r"are no classes: try `mobilenet train \S+/val`$"),
        ({"seg_train/cat": 5, "seg_train/dog": 5}, r"at least two to tell apart; try `mobilenet train \S+/seg_train`$"),
        ({"seg_pred": 5, "seg_test": 5, "seg_train": 5}, r"are no classes: try `mobilenet train \S+/seg_train`$"),
        ({"photos/cat": 5, "photos/dog": 5}, r"at least two to tell apart; try `mobilenet train \S+/photos`$"),
        ({"my  own/cat": 5, "my  own/dog": 5}, r"two to tell apart; try `mobilenet train '\S+/my  own'`$"),
        ({"cat/2024": 5}, r"has one class, 'cat': a classifier needs at least two to tell apart$"),
        ({" ": 5, "cat": 5}, r"has a folder whose name is blank, ' ': rename it$"),
    ],
    ids=[
        *("none", "one", "few", "parts", "capitals", "testing", "sets", "data and images", "years", "twice the same"),
        *("two of two", "folds", "one part", "one part with a prefix", "with a prefix"),
        *("a folder too high", "a quoted one", "one with folders", "blank"),
    ],
)
def test_a_folder_that_nothing_can_be_learnt_from_is_refused(
    classes: dict[str, int], reason: str, tmp_path: Path
) -> None:
    album(tmp_path, **classes)
    with pytest.raises(StartError, match=reason):
        look(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        *(("steam train", "freight train"), ("cat", "test"), ("train", "bus"), ("retrained", "contest")),
        *(("train station", "test tube"), ("training shoes", "test pattern"), ("steam train", "valid ticket")),
        *(("test 1", "test 2"), ("data", "images")),
    ],
)
def test_classes_whose_names_only_sound_like_parts_of_a_data_set_are_classes(
    names: tuple[str, str], tmp_path: Path
) -> None:
    assert set(look(album(tmp_path, **dict.fromkeys(names, 4))).classes) == set(names)


def test_photos_to_validate_with_may_be_of_the_one_class_that_is_called_like_a_part(tmp_path: Path) -> None:
    found = look(album(tmp_path / "photos", bus=4, train=4))
    assert look(album(tmp_path / "new", train=1), found.classes).labels == [1]
    with pytest.raises(StartError, match=r"val is not a class of the photos to train with: bus, train$"):
        look(album(tmp_path / "parts", val=1), found.classes)


def test_one_class_that_cannot_be_looked_into_is_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    album(tmp_path, cat=4)
    inside = {tmp_path: [tmp_path / "cat"]}  # and nobody may see what is in the others
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter(inside[folder]) if folder in inside else closed(folder))
    with pytest.raises(StartError, match=r"has one class, 'cat': a classifier needs at least two to tell apart$"):
        look(tmp_path)


def test_what_cannot_be_looked_at_beside_the_classes_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    album(tmp_path, cat=4, dog=4)
    monkeypatch.setattr(Path, "is_dir", closed)  # as where a link leads into a folder of somebody else
    with pytest.raises(StartError, match=r"^cannot read \S+/cat: Permission denied$"):
        look(tmp_path)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot read the folder"):
        look(tmp_path / "nowhere")


def test_tiny_and_uneven_classes_get_a_warning(tmp_path: Path) -> None:
    found = look(album(tmp_path, cat=40, dog=4))
    assert any("fewer than 20 photos" in remark and "dog (4)" in remark for remark in found.remarks)
    assert any("cat has 40 photos and dog 4" in remark for remark in found.remarks)
    assert look(album(tmp_path / "even", cat=20, dog=20)).remarks == ()


def test_photos_to_validate_with_are_of_the_same_classes_and_not_learnt_from(tmp_path: Path) -> None:
    found = look(album(tmp_path / "train", cat=5, dog=5))
    photo(tmp_path / "val" / "dog" / "new.png", 77)
    Image.open(tmp_path / "train" / "cat" / "0.png").save(tmp_path / "val" / "dog" / "seen.png")
    validation = look(tmp_path / "val", found.classes)
    assert validation.labels == [1, 1]
    rest = found.without(validation)
    assert len(rest.photos) == 9
    assert any("to validate with too" in remark for remark in rest.remarks)
    with pytest.raises(StartError, match=r"needs at least 4 different photos that can be read; 'cat' has 0"):
        checked(tmp_path, found.without(look(tmp_path / "train", found.classes)))
    album(tmp_path / "other", bird=1)
    with pytest.raises(StartError, match=r"bird is not a class of the photos to train with: cat, dog"):
        look(tmp_path / "other", found.classes)


def test_a_share_of_each_class_is_held_out_and_the_seed_says_which() -> None:
    labels = [0] * 40 + [1] * 4
    learnt, held_out = hold_out(labels, 0.15, seed=0)
    assert sorted(learnt + held_out) == list(range(44))
    assert [labels[index] for index in held_out].count(0) == 6
    assert [labels[index] for index in held_out].count(1) == 1
    assert hold_out(labels, 0.15, seed=0) == (learnt, held_out)
    assert hold_out(labels, 0.15, seed=1) != (learnt, held_out)


def test_however_large_the_share_each_class_keeps_a_photo_to_learn_from() -> None:
    labels = [0] * 2 + [1] * 9
    learnt, held_out = hold_out(labels, 0.99, seed=0)
    assert [labels[index] for index in learnt] == [0, 1]
    assert sorted(learnt + held_out) == list(range(11))


def test_of_photos_of_other_things_those_that_can_be_read_are_kept(tmp_path: Path) -> None:
    good, bad = photo(tmp_path / "good.png", 1), tmp_path / "bad.png"
    bad.write_bytes(b"no photo")
    assert [one.path for one in readable([bad, good], MAX_PIXELS, lambda looks, _: looks)] == [good]
    with pytest.raises(StartError, match=r"none of 1 files can be read, such as \S+bad\.png"):
        readable([bad], MAX_PIXELS, lambda looks, _: looks)


def test_the_digest_is_of_the_classes_and_not_of_the_photos_alone(tmp_path: Path) -> None:
    def moved(*numbers: int) -> Survey:
        for number in numbers:
            (tmp_path / "dog" / f"{number}.png").rename(tmp_path / "fox" / f"{number}.png")
        return look(tmp_path)

    found = [look(album(tmp_path, cat=4, dog=12))]
    (tmp_path / "fox").mkdir()
    found += [moved(10, 11, 12, 13, 14, 15), moved(9)]
    (tmp_path / "fox").rename(tmp_path / "wolf")
    found += [look(tmp_path)]
    assert len({survey.digests for survey in found}) == 1, "the photos are the same, in the same order"
    assert len({survey.digest for survey in found}) == 4
    assert look(tmp_path).digest == found[-1].digest


def test_a_class_whose_name_is_not_text_is_refused(tmp_path: Path) -> None:
    album(tmp_path, cat=4, dog=4)
    (tmp_path / "cat").rename(tmp_path / "caf\udce9")
    with pytest.raises(StartError, match=r"a folder whose name is not text in UTF-8, caf\\udce9: rename it$"):
        look(tmp_path)


def test_a_remark_on_a_file_whose_name_is_not_text_can_be_written(tmp_path: Path) -> None:
    album(tmp_path, cat=4, dog=4)
    (tmp_path / "cat" / "\udce9.png").write_text("no photo")
    first, *_ = look(tmp_path).remarks
    assert rb"/cat/\udce9.png is no image" in first.encode()
