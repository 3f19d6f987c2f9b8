from pathlib import Path

import pytest

from app.config import Settings, load
from app.errors import StartError
from app.mobilenet.variants import Variant


def test_the_defaults_are_valid_and_frozen() -> None:
    settings = load()
    assert settings.port == 8000
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 9000  # type: ignore[misc]


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_ALPHA", "0.75")
    monkeypatch.setenv("MOBILENET_RESOLUTION", "192")
    monkeypatch.setenv("MOBILENET_CORS_ORIGINS", "https://a.example, https://b.example")
    monkeypatch.setenv("MOBILENET_LOG_LEVEL", "WARNING")
    monkeypatch.setenv("MOBILENET_LABELS", "")
    settings = load()
    assert (settings.variant.alpha, settings.variant.resolution) == (0.75, 192)
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert (settings.log_level, settings.labels) == ("warning", None)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("ALPHA", "0.3", "is not one of 1, 0.75, 0.5, 0.25"),
        ("ALPHA", "wide", "valid number"),
        ("RESOLUTION", "100", "is not a multiple of 32 from 32 up"),
        ("VARIANTS", "0.5/160,0.3/128", "is not one of 1, 0.75, 0.5, 0.25"),
        ("VARIANTS", "0.5", "such as 0.5/160"),
        ("DEGRADE", "sometimes", "valid boolean"),
        ("PRECISION", "int4", "'float32' or 'int8'"),
        ("WEIGHTS_URL", "mirror", "URL"),
        ("ENGINE", "onnx", "'litert' or 'tensorflow'"),
        ("MAX_BATCH_SIZE", "0", "greater than 0"),
        ("MAX_WAIT_MS", "-1", "greater than or equal to 0"),
        ("MAX_WAIT_MS", "nan", "finite number"),
        ("PORT", "70000", "less than or equal to 65535"),
        ("LOG_FORMAT", "xml", "'text' or 'json'"),
        ("THREADS", "two", "valid integer"),
    ],
)
def test_a_bad_value_is_one_line_with_the_variable_the_value_and_what_is_allowed(
    name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MOBILENET_{name}", value)
    with pytest.raises(StartError) as caught:
        load()
    message = str(caught.value)
    assert message.startswith(f"MOBILENET_{name}={value}: ")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "nearest"), [("ALHPA", "ALPHA"), ("MAX_PIXEL", "MAX_PIXELS"), ("api_key", "API_KEYS")]
)
def test_a_variable_that_is_no_setting_is_refused_and_the_nearest_is_named(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MOBILENET_{name}", "secret")
    with pytest.raises(
        StartError, match=rf"MOBILENET_{name} is no setting; the nearest is MOBILENET_{nearest}"
    ) as caught:
        load()
    assert "secret" not in str(caught.value)


def test_several_bad_values_are_all_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_ALPHA", "2")
    monkeypatch.setenv("MOBILENET_PORT", "-1")
    with pytest.raises(StartError, match=r"MOBILENET_ALPHA=2: .*; MOBILENET_PORT=-1: .*") as caught:
        load()
    assert "\n" not in str(caught.value)


def test_a_request_may_not_have_more_images_than_the_queue_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_MAX_IMAGES", "64")
    monkeypatch.setenv("MOBILENET_MAX_QUEUE", "32")
    with pytest.raises(StartError, match="MOBILENET_MAX_IMAGES=64 is over MOBILENET_MAX_QUEUE=32"):
        load()


def test_every_setting_says_what_it_does() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_without_processes_for_the_model_there_is_a_queue_and_the_engine_is_litert(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOBILENET_THREADS", "0")
    assert (load().max_queue, load().model_threads) == (64, 1)
    monkeypatch.setenv("MOBILENET_ENGINE", "tensorflow")
    with pytest.raises(StartError, match="MOBILENET_THREADS=0 needs MOBILENET_ENGINE=litert"):
        load()


@pytest.mark.parametrize("text", ["one-key\nanother\n", "one-key, another", "\n one-key\r\n\nanother"])
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
        (b"", "there is no key in it"),
        (b" \n,\n", "there is no key in it"),
        (b"\xff\xfe", "is no text"),
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


def test_a_bad_key_in_a_file_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    path.write_text("two words")
    monkeypatch.setenv("MOBILENET_API_KEYS_FILE", str(path))
    with pytest.raises(StartError, match=r"^MOBILENET_API_KEYS: a key is printable ASCII without spaces$"):
        load()


def test_int8_on_an_engine_that_cannot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_PRECISION", "INT8")
    assert load().precision == "int8"
    monkeypatch.setenv("MOBILENET_ENGINE", "tensorflow")
    with pytest.raises(StartError, match="MOBILENET_PRECISION=int8 needs MOBILENET_ENGINE=litert"):
        load()


def test_the_lineup_is_the_default_variant_and_the_others_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().lineup == (Variant(0.5, 160),)
    monkeypatch.setenv("MOBILENET_VARIANTS", "0.25/128, 0.5/160,0.75/192,0.25/128")
    assert load().lineup == (Variant(0.5, 160), Variant(0.25, 128), Variant(0.75, 192))
