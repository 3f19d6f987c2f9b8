"""What is read from the environment and from `.env`, and what is said of names that are wrong."""

import os
from pathlib import Path

import pytest

from app import environment
from app.environment import OTLP_ENDPOINTS, load, spans_wanted
from app.errors import StartError


def test_the_password_of_a_wrong_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_WEIGHTS_URL", "ftp://user:s3cret@host")
    with pytest.raises(StartError, match=r"^MOBILENET_WEIGHTS_URL=ftp://\*\*\*@host: [^\n]+$") as caught:
        load()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "nearest"), [("ALHPA", "ALPHA"), ("MAX_PIXEL", "MAX_PIXELS"), ("api_key", "API_KEYS")]
)
def test_a_variable_that_is_no_setting_is_refused_and_the_nearest_is_named(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MOBILENET_{name}", "secret")
    with pytest.raises(
        StartError,
        match=rf"MOBILENET_{name} is not a setting; the nearest is MOBILENET_{nearest} \(the README lists all\)",
    ) as caught:
        load()
    assert "secret" not in str(caught.value)


def test_a_variable_that_is_like_no_setting_is_refused_without_a_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_GIF", "1")
    with pytest.raises(StartError, match=r"^MOBILENET_GIF is not a setting \(the README lists all\)$"):
        load()


def test_several_wrong_settings_are_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ALPHA": "2", "PORT": "-1", "ALFA": "1", "WORKERS": "2"}.items():
        monkeypatch.setenv(f"MOBILENET_{name}", value)
    with pytest.raises(StartError) as caught:
        load()
    names = [
        line.removeprefix("mobilenet: MOBILENET_").split(maxsplit=1)[0] for line in caught.value.report.split("\n")
    ]
    assert names == ["ALFA", "WORKERS", "ALPHA=2:", "PORT=-1:"]


@pytest.mark.parametrize(
    ("name", "now"),
    [
        ("THREADS", "MOBILENET_MODEL_WORKERS (processes that decode and classify); "),
        ("WORKERS", "MOBILENET_HTTP_WORKERS (processes that take HTTP requests)"),
    ],
)
def test_a_setting_that_was_renamed_is_refused_and_its_new_name_is_said(
    name: str, now: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MOBILENET_{name}", "2")
    with pytest.raises(StartError) as caught:
        load()
    assert str(caught.value).startswith(f"MOBILENET_{name} is now {now}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["MOBILENET_PORT", "mobilenet_port"])
def test_the_environment_counts_more_than_the_file_whatever_the_case_of_a_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "DOTENV", tmp_path / "env")
    (tmp_path / "env").write_text("MOBILENET_PORT=9000\nmobilenet_port=9001\nMobilenet_Grpc_Port=9002\n")
    monkeypatch.setattr(environment, "sources", {})
    monkeypatch.setattr(os, "environ", {name: "8000"})
    found = load()
    assert (found.port, found.grpc_port) == (8000, 9002)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "false"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_SDK_DISABLED": "false"}, False),
    ],
    ids=str,
)
def test_spans_are_sent_where_the_environment_says_where_and_does_not_forbid_it(
    given: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*OTLP_ENDPOINTS, "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert spans_wanted() is wanted


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, and an environment that nothing is taken over into for other tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(environment, "sources", {})
    return tmp_path


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('\nMOBILENET_API_KEYS="s3cret\n', "line 2 cannot be read; write NAME=VALUE, and close quotes"),
        ("MOBILENET_PORT: 9000\n", "line 1 cannot be read; write NAME=VALUE, and close quotes"),
        ("# keys\nMOBILENET_API_KEYS:s3cret\n", "line 2 cannot be read; write NAME=VALUE, and close quotes"),
        ("MOBILENET_PORT=90\x0001\n", "line 1 cannot be read; write NAME=VALUE, and close quotes"),
        ("MOBILENET_API_KEYS=ä".encode("latin-1"), "is not text in UTF-8"),
    ],
)
def test_what_cannot_be_read_in_the_file_stops_the_start_and_the_service_is_not_open_by_mistake(
    text: str | bytes, problem: str, folder: Path
) -> None:
    (folder / ".env").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StartError, match=f"^\\.env: {problem}$"):
        load()


def test_a_folder_called_like_the_file_is_none_of_ours(folder: Path) -> None:
    (folder / ".env").mkdir()
    assert load().port == 8000


def test_an_empty_variable_leaves_it_to_the_file(folder: Path) -> None:
    (folder / ".env").write_text("MOBILENET_PORT=9000\n")
    os.environ["MOBILENET_PORT"] = ""
    assert load().port == 9000
