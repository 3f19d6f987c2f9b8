"""The kinds of photos: made ones, all of the mix, and some from all over a folder."""

import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.support import needs
from tools.bench.contenders import REPOSITORY, ContenderFailed
from tools.bench.kinds import SAMPLES, default_kinds, photos_of


def folder_of(number: int, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "notes.txt").write_text("none")
    for each in range(number):
        (folder / f"{each:03}.JPEG").write_bytes(bytes((each,)))
    return folder


def test_photos_are_a_kind_or_come_from_all_over_a_folder(tmp_path: Path) -> None:
    assert [Image.open(BytesIO(photo)).size for photo in photos_of("small")] == [(224, 224)] * 16
    folder = str(folder_of(32, tmp_path))
    assert [photo[0] for photo in photos_of(folder)] == list(range(0, 32, 2))
    with pytest.raises(ContenderFailed, match="nowhere is neither one of mix, small, large, phone nor a folder"):
        photos_of("nowhere")


def test_the_mix_is_every_real_photo_in_the_order_of_their_names(tmp_path: Path) -> None:
    assert [photo[0] for photo in photos_of("mix", folder_of(100, tmp_path))] == list(range(100))


@needs.REFERENCE_DATA.mark()
def test_the_mix_has_a_hundred_photos_of_many_sizes() -> None:
    assert len({Image.open(BytesIO(photo)).size for photo in photos_of("mix", SAMPLES)}) > 10
    assert len(photos_of("mix", SAMPLES)) == 100


@pytest.mark.parametrize("present", [True, False])
def test_the_short_comparison_leaves_the_mix_out_where_its_photos_are_absent(present: bool) -> None:
    given = ["make", "--dry-run", "bench-quick", f"MIX={'..' if present else ''}"]
    said = subprocess.run(given, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert ("--photos mix --photos small" in said) == present
    assert ("mix is left out" in said) != present


def test_without_the_real_photos_the_mix_is_left_out_and_an_error_if_it_is_asked_for(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert default_kinds(tmp_path) == ["mix", "small", "large", "phone"]
    assert default_kinds(absent) == ["small", "large", "phone"]
    with pytest.raises(
        ContenderFailed, match=r"^mix needs the photos of .*absent, which is absent; small, .*need none$"
    ):
        photos_of("mix", absent)
