import re
from pathlib import Path

import pytest

from app import config
from app.config import Settings
from app.environment import load, read_keys
from app.errors import StartError
from app.machine import available_cpus
from app.mobilenet.variants import Variant

CPUS = available_cpus()


def test_the_defaults_are_valid_and_frozen() -> None:
    settings = load()
    assert settings.port == 8000
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 9000  # type: ignore[misc]


def test_grpc_needs_its_extra_and_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_GRPC_PORT", "9000")
    assert load().grpc_port == 9000
    monkeypatch.setenv("MOBILENET_HOST", "unix:/run/mobilenet.sock")
    with pytest.raises(StartError, match="GRPC_PORT=9000 needs an address as MOBILENET_HOST, which is unix:/run"):
        load()
    monkeypatch.setenv("MOBILENET_HOST", "127.0.0.1")
    monkeypatch.setattr(config, "find_spec", lambda name: None if name == "grpc_health" else name)
    with pytest.raises(StartError, match=r"install the extra `grpc`: .*--editable '\.\[grpc\]'$"):
        load()


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
        ("ALPHA", "wide", "must be a number"),
        ("RESOLUTION", "100", "is not a multiple of 32 from 32 to 2048"),
        ("RESOLUTION", "2080", "is not a multiple of 32 from 32 to 2048"),
        ("VARIANTS", "0.5/160,0.3/128", "is not one of 1, 0.75, 0.5, 0.25"),
        ("VARIANTS", "0.5", "such as 0.5/160"),
        ("VARIANTS", " , ", "contains no variant"),
        ("CORS_ORIGINS", ",", "contains no origin"),
        ("DEGRADE", "sometimes", "must be true or false"),
        ("PRECISION", "int4", "'float32', 'int8' or 'bfloat16'"),
        ("WEIGHTS_URL", "mirror", "URL"),
        ("ENGINE", "onnx", "'litert', 'openvino' or 'tensorflow'"),
        ("MAX_BATCH_SIZE", "0", "must be more than 0"),
        ("MAX_WAIT_MS", "-1", "must be at least 0"),
        ("MAX_WAIT_MS", "nan", "finite number"),
        ("MAX_WAIT_MS", "1000.1", "must be at most 1000"),
        ("ROOT_PATH", "vision", "must begin with a slash and not end with one, such as /vision"),
        ("ROOT_PATH", "/vision/", "must begin with a slash and not end with one, such as /vision"),
        ("HOST", "unix:", "unix: needs a path, such as unix:/run/mobilenet.sock"),
        ("PORT", "70000", "must be at most 65535"),
        ("LOG_FORMAT", "xml", "'text' or 'json'"),
        ("MODEL_WORKERS", "two", "must be a whole number"),
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


def test_settings_that_do_not_go_together_are_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENGINE": "tensorflow", "PRECISION": "int8", "MAX_IMAGES": "64", "MAX_QUEUE": "32"}.items():
        monkeypatch.setenv(f"MOBILENET_{name}", value)
    with pytest.raises(StartError) as caught:
        load()
    assert str(caught.value).splitlines() == [
        "MOBILENET_MAX_IMAGES=64 is over MOBILENET_MAX_QUEUE=32",
        "MOBILENET_PRECISION=int8 needs MOBILENET_ENGINE=litert or openvino",
    ]


def test_a_request_may_not_have_more_images_than_the_queue_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_MAX_IMAGES", "64")
    monkeypatch.setenv("MOBILENET_MAX_QUEUE", "32")
    with pytest.raises(StartError, match="MOBILENET_MAX_IMAGES=64 is over MOBILENET_MAX_QUEUE=32"):
        load()


def test_every_setting_says_what_it_does() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("given", "workers", "threads", "queue"),
    [
        ({}, CPUS, CPUS, 64 * CPUS),
        ({"MODEL_WORKERS": 2}, 2, 2, 128),  # an image that is alone has the threads of all workers
        ({"MODEL_WORKERS": 0}, 0, 1, 64),  # the HTTP process runs the model, and there is one of it
        ({"MODEL_WORKERS": 2, "MODEL_THREADS": 1}, 2, 1, 128),
        ({"ENGINE": "tensorflow"}, CPUS, CPUS, 64 * CPUS),
        ({"ENGINE": "tensorflow", "MODEL_WORKERS": 1}, 1, CPUS, 64),  # it has no workers of its own
        ({"MODEL_WORKERS": 2, "MAX_QUEUE": 50}, 2, 2, 50),
    ],
    ids=str,
)
def test_threads_and_queue_follow_the_model_workers(
    given: dict[str, object], workers: int, threads: int, queue: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"MOBILENET_{name}", str(value))
    found = load()
    assert (found.model_workers, found.model_threads, found.max_queue) == (workers, threads, queue)


@pytest.mark.parametrize(
    ("timeout_ms", "patience_s"),
    [(1, 5), (2500, 5), (3000, 6), (10_000, 20)],  # a decoder of a large image may be slow where a client is in a hurry
)
def test_a_run_hangs_after_twice_the_deadline_and_at_least_five_seconds(timeout_ms: int, patience_s: float) -> None:
    found = Settings(request_timeout_ms=timeout_ms)
    assert found.patience_s == patience_s
    assert found.stalled_after_s > found.patience_s, "a worker that hangs is replaced before the process is at fault"


def test_tensorflow_needs_threads_of_the_http_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_MODEL_WORKERS", "0")
    monkeypatch.setenv("MOBILENET_ENGINE", "tensorflow")
    with pytest.raises(StartError, match=r"^MOBILENET_MODEL_WORKERS=0 needs MOBILENET_ENGINE=litert or openvino$"):
        load()


@pytest.mark.parametrize(
    ("precision", "engines"),
    [("float32", "litert openvino tensorflow"), ("int8", "litert openvino"), ("bfloat16", "openvino")],
)
def test_a_precision_on_an_engine_that_cannot_is_refused(
    precision: str, engines: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILENET_PRECISION", precision.upper())
    allowed = " or ".join(engines.split())
    for engine in ("litert", "openvino", "tensorflow"):
        monkeypatch.setenv("MOBILENET_ENGINE", engine)
        if engine in engines.split():
            assert load().precision == precision
        else:
            with pytest.raises(StartError, match=f"^MOBILENET_PRECISION={precision} needs MOBILENET_ENGINE={allowed}$"):
                load()


def test_the_lineup_is_the_default_variant_and_the_others_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().lineup == (Variant(0.5, 160),)
    monkeypatch.setenv("MOBILENET_VARIANTS", "0.25/128, 0.5/160,0.75/192,0.25/128")
    assert load().lineup == (Variant(0.5, 160), Variant(0.25, 128), Variant(0.75, 192))


def test_a_folder_of_weights_says_what_variant_it_was_trained_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "card.json").write_text('{"alpha": 0.25, "resolution": 128}')
    monkeypatch.setenv("MOBILENET_WEIGHTS", str(tmp_path))
    assert load().variant == Variant(0.25, 128)
    monkeypatch.setenv("MOBILENET_RESOLUTION", "192")
    assert load().variant == Variant(0.25, 192)


@pytest.mark.parametrize("card", ["", "{", "[]", '{"alpha": 0.25}'])
def test_a_folder_whose_card_says_nothing_of_it_has_the_usual_variant(
    card: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "card.json").write_text(card)
    monkeypatch.setenv("MOBILENET_WEIGHTS", str(tmp_path))
    assert load().variant == Variant(0.5, 160)


def test_a_folder_whose_card_is_too_deep_has_the_usual_variant(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("[" * 200_000)
    assert Settings(weights=str(tmp_path)).variant == Variant(0.5, 160)


def test_in_every_path_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "keys").write_text("key")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "card.json").write_text('{"alpha": 0.25, "resolution": 128}')
    for name, path in {"LABELS": "~/l.txt", "CACHE": "~/c", "API_KEYS_FILE": "~/keys", "WEIGHTS": "~/own"}.items():
        monkeypatch.setenv(f"MOBILENET_{name}", path)
    found = load()
    assert (found.labels, found.cache, found.api_keys_file) == (tmp_path / "l.txt", tmp_path / "c", tmp_path / "keys")
    assert (found.weights, found.variant, len(found.api_keys)) == (str(tmp_path / "own"), Variant(0.25, 128), 1)
    assert len(read_keys(found)) == 1


def test_the_home_folder_of_a_user_that_does_not_exist_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LABELS", "CACHE", "WEIGHTS"):
        monkeypatch.setenv(f"MOBILENET_{name}", "~nosuch/x")
    found = load()
    assert (str(found.labels), str(found.cache), found.weights) == ("~nosuch/x", "~nosuch/x", "~nosuch/x")
    monkeypatch.setenv("MOBILENET_API_KEYS_FILE", "~nosuch/x")
    with pytest.raises(StartError, match=r"^MOBILENET_API_KEYS_FILE=~nosuch/x: No such file or directory$"):
        load()


def test_another_default_variant_changes_nothing_else() -> None:
    settings = Settings(alpha=0.25, resolution=128, max_queue=99, max_images=9)
    other = settings.serving(Variant(0.75, 192))
    assert (other.variant, settings.variant) == (Variant(0.75, 192), Variant(0.25, 128))
    assert other.model_copy(update={"alpha": 0.25, "resolution": 128}) == settings


def test_threads_and_queue_follow_the_model_workers_that_a_memory_limit_has_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.config.available_cpus", lambda: 6)
    for limit, workers in ((None, 6), (10**12, 6), (1, 1)):
        monkeypatch.setattr("app.config.memory_limit_bytes", lambda limit=limit: limit)
        found = Settings()
        assert (found.model_workers, found.model_threads, found.max_queue) == (workers, workers, 64 * workers)


def test_the_model_workers_of_a_memory_limit_follow_settings_that_stand_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.config.available_cpus", lambda: 16)
    monkeypatch.setattr("app.config.memory_limit_bytes", lambda: 2**30)
    monkeypatch.setenv("MOBILENET_HTTP_WORKERS", "2")
    two = load().model_workers
    monkeypatch.setenv("MOBILENET_HTTP_WORKERS", "1")
    assert 1 < two < load().model_workers / 2
    monkeypatch.setenv("MOBILENET_MAX_IMAGES", "1000")
    with pytest.raises(StartError, match=r"^MOBILENET_MAX_IMAGES=1000 is over MOBILENET_MAX_QUEUE=384$"):
        load()


@pytest.mark.parametrize(
    "origin", ["https://a.example/", "a.example", "https://A.example", "https://*.a.example", "https://a.example:443"]
)
def test_what_no_browser_says_of_an_origin_is_refused(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_CORS_ORIGINS", f"http://localhost:8080,{origin}")
    with pytest.raises(
        StartError, match=rf"^MOBILENET_CORS_ORIGINS=.*: {re.escape(origin)} is not an origin; write a "
    ):
        load()


@pytest.mark.parametrize("origin", ["*", "null", "https://a.example:80", "http://[::1]:8080", "chrome-extension://abc"])
def test_what_browsers_say_of_an_origin_is_taken(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_CORS_ORIGINS", origin)
    assert load().cors_origins == (origin,)
