from pathlib import Path

import pytest

from app import config
from app.config import OTLP_ENDPOINTS, PROCESS_BYTES, WORKER_BYTES, Settings, load, read_keys, spans_wanted
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


def test_settings_that_do_not_go_together_are_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENGINE": "tensorflow", "PRECISION": "int8", "MAX_IMAGES": "64", "MAX_QUEUE": "32"}.items():
        monkeypatch.setenv(f"MOBILENET_{name}", value)
    with pytest.raises(StartError) as caught:
        load()
    assert str(caught.value).splitlines() == [
        "MOBILENET_MAX_IMAGES=64 is over MOBILENET_MAX_QUEUE=32",
        "MOBILENET_PRECISION=int8 needs MOBILENET_ENGINE=litert or openvino",
    ]


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


@pytest.mark.parametrize("value", [",", " ", "\n", " ,, "])
def test_keys_that_are_none_stop_the_start_and_the_service_is_not_open_by_mistake(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILENET_API_KEYS", value)
    with pytest.raises(StartError, match=r"^MOBILENET_API_KEYS: contains no key$"):
        load()
    monkeypatch.setenv("MOBILENET_API_KEYS", "")
    assert load().api_keys == ()


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
        (b"", "contains no key"),
        (b" \n,\n", "contains no key"),
        (b"\xff\xfe", "is not text in UTF-8"),
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
    with pytest.raises(StartError, match=r"^MOBILENET_API_KEYS: a key must be printable ASCII without spaces$"):
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


def test_another_default_variant_changes_nothing_else() -> None:
    settings = Settings(alpha=0.25, resolution=128, max_queue=99, max_images=9)
    other = settings.serving(Variant(0.75, 192))
    assert (other.variant, settings.variant) == (Variant(0.75, 192), Variant(0.25, 128))
    assert other.model_copy(update={"alpha": 0.25, "resolution": 128}) == settings


@pytest.mark.parametrize(
    ("environment", "wanted"),
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
    environment: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*OTLP_ENDPOINTS, "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert spans_wanted() is wanted


def test_there_are_as_many_model_workers_as_cpus_and_as_the_memory_limit_has_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.config.available_cpus", lambda: 6)
    for limit, workers in (
        (None, 6),
        (PROCESS_BYTES + 100 * WORKER_BYTES, 6),
        (PROCESS_BYTES + 6 * WORKER_BYTES, 3),
        (PROCESS_BYTES + 6 * WORKER_BYTES - 1, 2),
        (PROCESS_BYTES, 1),
        (1, 1),
    ):
        monkeypatch.setattr("app.config.memory_limit_bytes", lambda limit=limit: limit)
        assert Settings().model_workers == workers
    monkeypatch.setattr("app.config.memory_limit_bytes", lambda: PROCESS_BYTES + 6 * WORKER_BYTES)
    assert Settings(engine="openvino").model_workers == 1
