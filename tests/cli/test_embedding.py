"""What is wrong with the photo that others are compared with is said before those are embedded."""

from pathlib import Path

import pytest

from app.cli import embedding
from app.errors import StartError


@pytest.fixture(autouse=True)
def nothing_is_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_vectors", lambda *_, **__: pytest.fail("photos were embedded"))


def test_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"^{tmp_path} is a folder; name one photo to compare with$"):
        embedding.similar(str(tmp_path), ["photos"])


def test_a_photo_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"^cannot read {tmp_path / 'gone.jpg'}: No such file or directory$"):
        embedding.similar(str(tmp_path / "gone.jpg"), ["photos"])
    with pytest.raises(StartError, match=r"File name too long$"):
        embedding.similar(str(tmp_path / ("x" * 300)), ["photos"])
