"""What is tried of which packages."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from tests.support.data import REPOSITORY
from tools.mutants import __main__ as mutants


def test_a_package_that_is_not_there_is_refused_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "FOLDER", tmp_path)
    with pytest.raises(
        typer.BadParameter, match=r"^--package imagin: there is no such package; allowed are .*, imaging, "
    ):
        mutants.main(package=["api", "imagin"])
    assert list(tmp_path.iterdir()) == []


def test_packages_without_a_place_for_a_fault_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutants, "FOLDER", tmp_path)
    monkeypatch.setattr(mutants, "Copy", lambda *_: SimpleNamespace(folder=REPOSITORY))
    monkeypatch.setattr(mutants, "sites", lambda _, path: [path])
    monkeypatch.setattr(mutants, "_score", lambda package, found, *_: f"{package.name}: {', '.join(found)}")
    mutants.main(only="payload")
    assert set(capsys.readouterr().out.splitlines()) == {"api: app/api/payload.py"}
    with pytest.raises(
        typer.BadParameter, match=r"^--only payloads: no such file of imaging, oip has a place for a fault$"
    ):
        mutants.main(package=["oip", "imaging"], only="payloads")
