"""A name is a path or a URL, and the same from any folder."""

from pathlib import Path

import pytest

from app.batch.storage import names
from app.errors import StartError
from tests.batch.far import URL


def test_a_name_is_the_same_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    absolute = {"out/": f"{tmp_path}/out", f"file://{tmp_path}/out": f"{tmp_path}/out", f"{URL}/out/": f"{URL}/out"}
    assert {name: names.absolute(name) for name in absolute} == absolute


def test_a_password_in_a_url_is_not_said() -> None:
    with pytest.raises(StartError, match=r"^nonsense://\*\*\*@host: ") as raised:
        names.locate("nonsense://user:secret@host/1.jpg")
    assert "secret" not in str(raised.value)
