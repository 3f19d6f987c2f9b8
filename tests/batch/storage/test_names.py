"""A name is a path or a URL, and the same from any folder."""

from pathlib import Path

import pytest

from app.batch.storage import names
from tests.batch.far import URL


def test_a_name_is_the_same_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    absolute = {"out/": f"{tmp_path}/out", f"file://{tmp_path}/out": f"{tmp_path}/out", f"{URL}/out/": f"{URL}/out"}
    assert {name: names.absolute(name) for name in absolute} == absolute
