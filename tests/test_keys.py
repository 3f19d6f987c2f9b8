"""Keys of callers, from a setting or a file: a mistake stops the start, and shows none of them."""

import os
from pathlib import Path

import pytest

from app.config import Settings
from app.environment import load, read_keys
from app.errors import StartError


@pytest.mark.parametrize("value", [",", " ", "\n", " ,, "])
def test_keys_that_are_none_stop_the_start_and_the_service_is_not_open_by_mistake(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILENET_API_KEYS", value)
    with pytest.raises(StartError, match=r"^MOBILENET_API_KEYS: contains no key$"):
        load()
    monkeypatch.setenv("MOBILENET_API_KEYS", "")
    assert load().api_keys == ()


@pytest.mark.parametrize(
    "text", ["one-key\nanother\n", "\ufeffone-key\nanother", "one-key, another", "\n one-key\r\n\nanother"]
)
def test_keys_may_be_in_a_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    monkeypatch.setenv("MOBILENET_API_KEYS_FILE", str(path))
    assert [key.get_secret_value() for key in load().api_keys] == ["one-key", "another"]
    assert "one-key" not in repr(load())
    monkeypatch.setenv("MOBILENET_API_KEYS", "a-third")
    with pytest.raises(StartError, match="MOBILENET_API_KEYS and MOBILENET_API_KEYS_FILE exclude each other") as caught:
        load()
    assert "key-" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        (b"", "contains no key"),
        (b" \n,\n", "contains no key"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (b"two words", "a key must be printable ASCII without spaces"),
    ],
)
def test_a_file_without_keys_stops_the_start(
    content: bytes | None, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("MOBILENET_API_KEYS_FILE", str(path))
    with pytest.raises(StartError, match=f"^MOBILENET_API_KEYS_FILE={path}: {problem}$"):
        load()


def test_keys_are_read_again_and_what_is_wrong_with_their_file_is_one_line_that_shows_none(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("first")
    settings = Settings(api_keys_file=path)
    path.write_text("second,\nthird\n")
    assert [key.get_secret_value() for key in read_keys(settings)] == ["second", "third"]
    path.write_text("two words")
    with pytest.raises(StartError, match=f"^MOBILENET_API_KEYS_FILE={path}: a key must be printable ASCII without sp"):
        read_keys(settings)
    path.unlink()
    with pytest.raises(StartError, match=f"^MOBILENET_API_KEYS_FILE={path}: No such file or directory$"):
        read_keys(settings)
    assert read_keys(Settings()) == ()


def test_a_pipe_with_keys_is_read_once_also_where_a_memory_limit_decides_on_other_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.config.memory_limit_bytes", lambda: 900_000_000)
    reading, writing = os.pipe()
    os.write(writing, b"from-a-pipe")
    os.close(writing)
    try:
        settings = Settings(api_keys_file=Path(f"/dev/fd/{reading}"))
    finally:
        os.close(reading)
    assert [key.get_secret_value() for key in settings.api_keys] == ["from-a-pipe"]
