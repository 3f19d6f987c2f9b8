"""A photo that another machine never gives is an error, but not one whose machine is away: that is asked again."""

from collections.abc import Iterator

import pytest

from app.batch import fetching
from app.batch.fetching import Photo, fetched
from app.batch.storage.asking import PAUSES_S
from app.errors import Unreachable, Unreadable
from tests.batch.far import URL, Far

COUNT = 3 * fetching.IN_A_ROW


@pytest.fixture
def names(far: Far) -> list[str]:
    return [far.put(f"{number}.jpg", str(number).encode()) for number in range(COUNT)]


def read(names: list[str], others: list[str]) -> Iterator[Photo]:
    return fetched(names, lambda: others)


def test_photos_are_fetched_once_each_where_all_is_well(far: Far, names: list[str]) -> None:
    far.asked = 0
    assert list(read(names, [])) == [(name, str(number).encode()) for number, name in enumerate(names)]
    assert not far.pauses_s
    alone = far.asked
    list(read(names, names))
    assert far.asked == 2 * alone, "no other file is asked for"


def test_a_machine_that_comes_back_gives_every_photo_once(far: Far, names: list[str]) -> None:
    far.answers_bytes = 0
    far.on_pause = far.come_back
    assert sorted(read(names, [])) == sorted((name, str(number).encode()) for number, name in enumerate(names))
    assert len(far.pauses_s) == 1


def test_photos_of_a_machine_that_stays_away_are_no_errors_and_few_are_asked_for(far: Far, names: list[str]) -> None:
    far.answers_bytes = 0
    far.asked = 0
    with pytest.raises(Unreachable, match=rf"^{URL}/0\.jpg: the line is dead$"):
        list(read(names, names[:2]))
    assert far.pauses_s == list(PAUSES_S)
    assert far.asked == len(PAUSES_S) * fetching.IN_A_ROW + 1 + 1


def test_a_machine_that_goes_away_in_the_middle_costs_no_photo(far: Far, names: list[str]) -> None:
    photos = read(names, names)
    assert [next(photos) for _ in range(5)] == [(name, str(number).encode()) for number, name in enumerate(names[:5])]
    far.answers_bytes = 0
    with pytest.raises(Unreachable):
        next(photos)


@pytest.mark.parametrize("dead", [1, fetching.IN_A_ROW, 2 * fetching.IN_A_ROW])
def test_photos_that_are_never_given_while_others_are_have_an_error(far: Far, names: list[str], dead: int) -> None:
    far.dead = {f"{number}.jpg" for number in range(dead)}
    found = dict(read(names, [names[0], names[-1]]))
    assert far.pauses_s == list(PAUSES_S), "they are waited for together"
    assert [found[name] for name in names[dead:]] == [str(number).encode() for number in range(dead, COUNT)]
    assert all(isinstance(found[name], Unreachable) for name in names[:dead])


@pytest.mark.parametrize("others", [["/photos/1.jpg", f"{URL}/0.jpg"], [f"{URL}/gone.jpg"]], ids=["local", "gone"])
def test_a_dead_url_is_an_error_where_no_other_photo_is_far_or_the_others_are_gone(
    far: Far, names: list[str], others: list[str]
) -> None:
    far.dead = {"0.jpg"}
    [(name, why)] = read(names[:1], others)
    assert name == names[0]
    assert isinstance(why, Unreachable)


def test_photos_that_are_not_given_delay_none_that_is(far: Far, names: list[str]) -> None:
    far.dead = {f"{number}.jpg" for number in range(0, COUNT, 2)}
    given: set[str] = set()
    before_pauses: list[int] = []
    far.on_pause = lambda: before_pauses.append(len(given))
    for name, _ in read(names, names):
        given.add(name)
    assert before_pauses == [COUNT // 2] * len(PAUSES_S)


def test_a_missing_photo_is_an_error_at_once(far: Far, names: list[str]) -> None:
    found = dict(read([f"{URL}/gone.jpg", *names], []))
    assert isinstance(found[f"{URL}/gone.jpg"], Unreadable)
    assert not far.pauses_s
