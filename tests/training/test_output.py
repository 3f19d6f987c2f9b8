"""What a training may replace when it writes its folder, and what it leaves alone."""

from pathlib import Path

import pytest

from app.errors import StartError
from app.training.output import check, publish
from app.training.state import State


def weights(folder: Path, card: str = "{}") -> Path:
    """Write a folder as a training does, but for what is in its files."""
    (folder / "golden").mkdir(parents=True)
    (folder / "MANIFEST.toml").write_text('["own_0.5.weights.h5"]\nsha256 = ""\n')
    for name in ("own_0.5.weights.h5", "card.md", "accuracy.json", "golden/answers.json"):
        (folder / name).touch()
    (folder / "card.json").write_text(card)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def trained(output: Path) -> State:
    """Return the state of a training that has its folder ready."""
    state = State(output.with_name(f"{output.name}.training"))
    weights(state.result, '"new"')
    return state


def test_the_finished_folder_takes_the_place_of_an_older_one(photos: Path) -> None:
    output = weights(photos.with_name("own"))
    (output / ".DS_Store").touch()
    state = trained(output)
    publish(state, output, photos)
    assert (output / "card.json").read_text() == '"new"'
    assert not (output / ".DS_Store").exists()
    assert list(state.folder.iterdir()) == []


@pytest.mark.parametrize("older", [True, False])
def test_a_copy_that_somebody_made_by_hand_stays(older: bool, photos: Path) -> None:
    output = photos.with_name("own")
    if older:
        weights(output)
    copy = weights(photos.with_name("own.old"), '"mine"')
    publish(trained(output), output, photos)
    assert (copy / "card.json").read_text() == '"mine"'


def test_a_link_to_the_folder_leads_to_the_new_weights(photos: Path) -> None:
    output = weights(photos.with_name("own"))
    link = photos.with_name("current")
    link.symlink_to(output)
    check(link, photos)
    publish(trained(link.resolve()), link.resolve(), photos)
    assert (link / "card.json").read_text() == '"new"'


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ("notes.txt", "move notes.txt away"),
        (".git", "move .git away"),
        ("a.jpg b.jpg c.jpg", "move a.jpg and 2 more away"),
    ],
)
def test_what_no_training_has_written_is_not_removed(own: str, says: str, photos: Path) -> None:
    output = photos.with_name("own")
    state = trained(output)
    check(output, photos)
    weights(output)
    check(output, photos)
    for name in own.split():
        (output / name).write_text("mine")
    message = f"^--output {output}: there is something else already; choose another folder, or {says}"
    with pytest.raises(StartError, match=f"{message}$"):
        check(output, photos)
    with pytest.raises(StartError, match=f"{message}; the finished folder is {state.result}$"):
        publish(state, output, photos)
    assert {(output / name).read_text() for name in own.split()} == {"mine"}
    assert (state.result / "card.json").is_file()


def test_a_file_or_a_folder_of_something_else_is_not_replaced(photos: Path) -> None:
    file, folder = photos.with_name("file"), photos.with_name("folder")
    folder.mkdir()
    check(folder, photos)
    for path in (file, folder / "card.md"):
        path.touch()
    for output in (file, folder):
        with pytest.raises(StartError, match="there is something else already"):
            check(output, photos)


def test_weights_are_not_written_among_the_photos(photos: Path) -> None:
    for output in (photos, photos / "own", photos / ".." / "photos" / "own"):
        with pytest.raises(StartError, match=f"this is among the photos in {photos}; choose a folder elsewhere"):
            check(output, photos)
    check(photos.with_name("photos-weights"), photos)


def test_weights_that_cannot_be_replaced_are_still_there(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = weights(photos.with_name("own"), '"old"')
    state = trained(output)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self == state.result:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(StartError, match=f"Input/output error.*; the finished folder is {state.result}$"):
        publish(state, output, photos)
    assert (output / "card.json").read_text() == '"old"'


def test_weights_that_are_not_finished_take_an_empty_place_alone(photos: Path) -> None:
    output = photos.with_name("own")
    output.mkdir()
    assert publish(trained(output), output, photos, finished=False) == output
    state = trained(output)
    (state.result / "card.json").write_text('"newer"')
    assert publish(state, output, photos, finished=False) == state.result
    cards = [(folder / "card.json").read_text() for folder in (output, state.result)]
    assert cards == ['"new"', '"newer"']


def test_where_it_cannot_be_moved_to_is_said_with_where_it_is(photos: Path) -> None:
    output = photos.with_name("own")
    state = State(output.with_name("own.training"))
    with pytest.raises(StartError, match=f"No such file or directory.*; the finished folder is {state.result}$"):
        publish(state, output, photos)
