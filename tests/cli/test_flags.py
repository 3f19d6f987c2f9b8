"""Every setting is a flag, and it is said which value holds and why."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app import environment
from app.cli.flags import GROUPS
from app.cli.main import cli
from app.config import SECRETS, Settings
from app.errors import StartError
from app.version import __version__


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder, with an environment and sources that are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "sources", {})
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def rows(*arguments: str) -> dict[str, tuple[str, str]]:
    """Return what `mobilenet settings` prints: for each setting its value and where it comes from."""
    done = CliRunner().invoke(cli, ["settings", *arguments], env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    found = re.findall(
        r"^ ?MOBILENET_(\S+) +(.*?) +(--\S+|environment|\.env|MOBILENET_\S+|default) *$", done.stdout, re.M
    )
    return {name: (value.strip(), source) for name, value, source in found}


def test_every_setting_but_the_keys_is_a_flag_with_its_help_its_default_and_its_variable() -> None:
    flags = [name for names in GROUPS.values() for name in names]
    assert sorted(flags) == sorted(set(Settings.model_fields) - set(SECRETS))
    shown = CliRunner().invoke(cli, ["serve", "--help"], env={"COLUMNS": "300", "TERM": "dumb"}).stdout
    for name in flags:
        assert f"--{name.replace('_', '-')}" in shown, name
        assert f"MOBILENET_{name.upper()}" in shown, name
    assert "MOBILENET_PORT, default: 8000" in shown
    for group in GROUPS:
        assert group in shown


def test_a_flag_counts_more_than_the_environment_that_more_than_the_file_and_that_more_than_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text(
        "MOBILENET_PORT=1\nMOBILENET_ALPHA=0.25\nMOBILENET_RESOLUTION=64\nOTHER=x\nMOBILENET_LABELS=\n"
    )
    monkeypatch.setenv("MOBILENET_PORT", "2")
    monkeypatch.setenv("MOBILENET_ALPHA", "0.75")
    found = rows("--port", "3", "--degrade", "--log-format", "JSON")
    assert set(found) == {name.upper() for name in Settings.model_fields}
    assert found["PORT"] == ("3", "--port")
    assert found["ALPHA"] == ("0.75", "environment")
    assert found["RESOLUTION"] == ("64", ".env")
    assert found["MAX_BATCH_SIZE"] == ("8", "default")
    assert found["DEGRADE"] == ("true", "--degrade")
    assert found["LOG_FORMAT"] == ("json", "--log-format")
    assert "OTHER" not in os.environ


def test_keys_are_counted_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows()["API_KEYS"] == ("0 keys", "default")
    monkeypatch.setenv("MOBILENET_API_KEYS", "secret-one,secret-two")
    assert rows()["API_KEYS"] == ("2 keys", "environment")


def test_the_password_of_an_address_is_not_shown() -> None:
    assert rows("--weights-url", "http://user:s3cret@host/")["WEIGHTS_URL"] == ("http://***@host/", "--weights-url")


def test_what_a_file_gives_is_said_to_come_from_the_setting_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("secret-one")
    (tmp_path / "card.json").write_text('{"alpha": 0.25, "resolution": 128}')
    found = rows("--weights", str(tmp_path), "--api-keys-file", str(tmp_path / "keys"), "--resolution", "192")
    assert found["ALPHA"] == ("0.25", "MOBILENET_WEIGHTS")
    assert found["RESOLUTION"] == ("192", "--resolution")
    assert found["API_KEYS"] == ("1 key", "MOBILENET_API_KEYS_FILE")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "x"], "--port=x: must be a whole number"),
        (["--alpha", "0.3"], "--alpha=0.3: "),
        (["--max-images", "500"], "MOBILENET_MAX_IMAGES=500 is over MOBILENET_MAX_QUEUE="),
    ],
)
def test_a_wrong_flag_is_named_as_it_was_given(arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(cli, ["settings", *arguments])
    assert isinstance(done.exception, StartError)
    assert done.exception.report.startswith(f"mobilenet: {says}")


def test_a_name_in_the_file_that_is_no_setting_is_refused_with_the_nearest() -> None:
    Path(".env").write_text("MOBILENET_PROT=1\n")
    with pytest.raises(StartError, match=r"MOBILENET_PROT is not a setting; the nearest is MOBILENET_PORT"):
        environment.load()


def test_the_version_is_printed() -> None:
    assert CliRunner().invoke(cli, ["--version"]).stdout == f"mobilenet {__version__}\n"
