"""Both clients, on real connections: what they send, what they raise, and that they wait for their turn."""

import asyncio
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

import numpy as np
import pytest
from PIL import Image

from app.api.predict import PredictQuery
from app.client import AsyncClient, Client, calls, retry
from app.config import Settings
from app.errors import QueueFull, ServiceError, UnexpectedAnswer, Unreachable, Unreadable
from app.schemas import Failure, Predictions
from app.server.server import uvicorn_config
from tests.support.client import ERRORS, launching
from tests.support.data import REPOSITORY, solid
from tests.support.fakes import COLOURS, mosaic_model
from tests.support.script import REQUEST_ID, Answer, playing, predicted, refused

Ask = Callable[..., Any]


def waiting(url: str, method: str, *arguments: Any, times: int = 1, named: Any = None, **options: Any) -> list[Any]:
    with Client(url, **options) as client:
        return [getattr(client, method)(*arguments, **named or {}) for _ in range(times)]


def awaited(url: str, method: str, *arguments: Any, times: int = 1, named: Any = None, **options: Any) -> list[Any]:
    async def ask() -> list[Any]:
        async with AsyncClient(url, **options) as client:
            return [await getattr(client, method)(*arguments, **named or {}) for _ in range(times)]

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [waiting, awaited])


@both
def test_one_image_is_the_body_and_several_are_a_form(ask: Ask) -> None:
    with playing(predicted("red"), predicted("red", "blue")) as script:
        (one,) = ask(script.url, "predict", b"first", named={"top_k": 3}, api_key="secret")
        (two,) = ask(script.url + "/behind/", "predict", b"first", b"second")
    assert [result.predictions[0].label for result in (*one.results, *two.results)] == ["red", "red", "blue"]
    raw, form = script.asked
    assert (raw.line, raw.body) == ("POST /predict?top_k=3 HTTP/1.1", b"first")
    assert raw.headers["Content-Type"] == "application/octet-stream"
    assert raw.headers["Authorization"] == "Bearer secret"
    assert (form.line, form.body.count(b'name="image"')) == ("POST /behind/predict HTTP/1.1", 2)
    assert form.body.index(b"first") < form.body.index(b"second")
    assert "Authorization" not in form.headers


@both
def test_a_key_may_come_from_a_file_with_its_line_break(ask: Ask) -> None:
    with playing(predicted("red")) as script:
        ask(script.url, "predict", b"photo", api_key="secret\n")
    assert script.asked[0].headers["Authorization"] == "Bearer secret"


@both
def test_a_user_in_the_address_does_not_replace_the_key(ask: Ask) -> None:
    """A proxy in front of the service may want the one, and the service the other."""
    with playing(predicted("red")) as script:
        ask(script.url.replace("//", "//user:word@"), "predict", b"photo", api_key="secret")
    headers = script.asked[0].headers
    assert (headers["Authorization"], headers["X-API-Key"]) == ("Basic dXNlcjp3b3Jk", "secret")


@both
@pytest.mark.parametrize("wrong", ["s3\ncret", "s3cret\u00e9", "s3 cret", "s3\x00cret"])
def test_what_a_header_does_not_hold_is_refused_by_its_name_and_not_shown(ask: Ask, wrong: str) -> None:
    says = "^{} must be printable ASCII without spaces$"
    with pytest.raises(ValueError, match=says.format("api_key")):
        ask("http://127.0.0.1:1", "labels", api_key=wrong)
    for name in ("request_id", "deadline_ms"):
        with pytest.raises(ValueError, match=says.format(name)):
            ask("http://127.0.0.1:1", "predict", b"photo", named={name: wrong})


@both
def test_a_connection_is_used_again(ask: Ask) -> None:
    with playing(predicted("red")) as script:
        ask(script.url, "predict", b"photo", times=5)
    assert len(script.asked) == 5
    assert len({asked.port for asked in script.asked}) == 1


@both
def test_what_is_refused_or_cut_off_is_sent_again_whole(ask: Ask) -> None:
    full = refused(QueueFull("full"), {"Retry-After": "0"})
    with playing(full, Answer(status=0), predicted("red", "blue")) as script:
        ask(script.url, "predict", b"first", b"second")
    assert len(script.asked) == 3
    assert len({asked.body for asked in script.asked}) == 1
    with playing(full) as script, pytest.raises(QueueFull):
        ask(script.url, "predict", b"photo", patience_s=0)
    assert len(script.asked) == 1


@both
def test_a_refused_request_rests_before_it_is_sent_again(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_PAUSE_S", 0.4)  # of which a half at least is kept
    with playing(refused(QueueFull("full")), predicted("red")) as script:
        ask(script.url, "predict", b"photo")
    refused_at, answered_at = (asked.came for asked in script.asked)
    assert answered_at - refused_at >= 0.2


@both
@pytest.mark.timeout(20)  # without its only connection the client would wait for ever
def test_a_connection_that_was_lost_is_there_for_the_next_request(ask: Ask) -> None:
    with playing(Answer(status=0), predicted("red")) as script:
        assert ask(script.url, "predict", b"photo", connections=1)


@both
def test_a_connection_that_was_idle_for_long_is_not_used_again(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_KEEP_ALIVE_S", 0.0)
    with playing(predicted("red")) as script:
        ask(script.url, "predict", b"photo", times=3)
    assert len({asked.port for asked in script.asked}) == 3


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("name", ["timeout_s", "patience_s", "connections", "concurrency"])
def test_what_a_client_does_by_default_is_documented(kind: type[Client | AsyncClient], name: str) -> None:
    document = (REPOSITORY / "docs" / "clients.md").read_text(encoding="utf-8")
    documented = re.search(rf"`{name}`[\w\s]*\((\d+) (s|by default)\)", document)
    assert documented
    for takes in (kind.predict_many, kind.embed_many) if name == "concurrency" else (kind,):
        assert inspect.signature(takes).parameters[name].default == float(documented[1])


def test_a_client_lets_go_of_an_idle_connection_before_the_service_does() -> None:
    assert uvicorn_config("app", Settings()).timeout_keep_alive > calls._KEEP_ALIVE_S


@both
@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_of_the_service_is_raised_as_what_it_is(ask: Ask, kind: type[ServiceError]) -> None:
    with playing(refused(kind("why"))) as script, pytest.raises(kind) as caught:
        ask(script.url, "predict", b"photo", patience_s=0)
    assert type(caught.value) is kind
    assert (caught.value.detail, caught.value.request_id) == ("why", REQUEST_ID)


@both
def test_a_slow_answer_is_waited_for_as_long_as_the_timeout_says(ask: Ask) -> None:
    slow = predicted("red")._replace(delay_s=1)
    with playing(slow) as script:
        assert ask(script.url, "predict", b"photo")
        with pytest.raises(Unreachable, match=r"timed out|ReadTimeout"):
            ask(script.url, "predict", b"photo", timeout_s=0.1)


@both
@pytest.mark.parametrize("url", ["localhost:8000", "127.0.0.1", "ftp://host", "http://", "", "http://host:port"])
def test_what_is_no_address_is_said_before_anything_is_sent(ask: Ask, url: str) -> None:
    shown = url or "''"
    with pytest.raises(ValueError, match=rf"^{shown} is not an address of a service"):
        ask(url, "labels")


@both
def test_a_password_in_a_wrong_address_is_not_shown(ask: Ask) -> None:
    for url in ("ftp://user:s3cret@host", "http://user:s3cret@host:port", "http://user:s3cret/word@host:8000"):
        with pytest.raises(ValueError, match=r"^\w+://\*\*\*@host[^ ]* is not an address of a service") as caught:
            ask(url, "labels")
        assert "s3cret" not in str(caught.value)


@both
def test_a_client_without_a_connection_is_refused(ask: Ask) -> None:
    with pytest.raises(ValueError, match=r"^connections 0 is not 1 or more$"):
        ask("http://127.0.0.1:1", "labels", connections=0)


@both
def test_no_image_is_no_question(ask: Ask) -> None:
    with pytest.raises(ValueError, match="no image"):
        ask("http://127.0.0.1:1", "predict")
    with pytest.raises(ValueError, match="no image"):
        ask("http://127.0.0.1:1", "embed")


@both
def test_what_the_application_answers_is_read(ask: Ask) -> None:
    """Every route's real answer, played back."""
    with launching() as launch:
        app = launch()
        routes = {path: app.get(path) for path in ("/model-info", "/model-info?layers=true", "/labels", "/variants")}
        wrong = app.post("/predict", files=[("image", b"no image"), ("image", b"nor this")])
    with playing(*[Answer(one.text, one.status_code) for one in (*routes.values(), wrong)]) as script:
        (info,) = ask(script.url, "model_info")
        (layered,) = ask(script.url, "model_info", 0.5, 128, named={"layers": True})
        (labels,) = ask(script.url, "labels")
        (variants,) = ask(script.url, "variants")
        (answer,) = ask(script.url, "predict", b"no image", b"nor this")
    assert [asked.line.split()[1] for asked in script.asked[:2]] == [
        "/model-info",
        "/model-info?alpha=0.5&resolution=128&layers=true",
    ]
    assert (info.classes, info.layers, layered.layers[0].name) == (len(COLOURS), None, "conv1")
    assert [item.label for item in labels] == list(COLOURS)
    assert variants.classes == len(COLOURS)
    assert [result.error.code for result in answer.results if isinstance(result, Failure)] == ["unsupported_image"] * 2


@both
def test_a_picture_and_embeddings_are_asked_for_as_they_are_and_read_as_what_they_are(ask: Ask) -> None:
    with launching() as launch:
        app = launch(mosaic_model())
        picture = app.post("/explain", content=solid((9, 9, 9)))
        embedded = app.post("/embed?unit=true", content=solid((9, 9, 9)))
        explained = app.post("/predict?explain=true", content=solid((9, 9, 9)))
    script_of = [Answer(picture.content, 200), *[Answer(one.text, 200) for one in (embedded, explained)]]
    with playing(*script_of) as script:
        (drawn,) = ask(script.url, "explain", b"photo", "tench", named={"size": "photo", "alpha": 1, "resolution": 224})
        (vectors,) = ask(script.url, "embed", b"one", b"two", named={"unit": True, "alpha": 1, "resolution": 64})
        (answer,) = ask(script.url, "predict", b"photo", named={"explain": True})
    assert [asked.line.split()[1] for asked in script.asked] == [
        "/explain?class=tench&size=photo&alpha=1&resolution=224",
        "/embed?unit=true&alpha=1&resolution=64",
        "/predict?explain=true",
    ]
    assert drawn == picture.content
    assert vectors.results[0].embedding == embedded.json()["results"][0]["embedding"]
    evidence = answer.results[0].predictions[0].evidence
    assert evidence.model_dump() == explained.json()["results"][0]["predictions"][0]["evidence"]


@both
def test_everything_that_a_prediction_can_be_asked_is_an_argument(ask: Ask) -> None:
    """The arguments are those of the service, so that none is missing, and of the right kind."""
    given = {
        "top_k": 3,
        "explain": True,
        "alpha": 0.5,
        "resolution": 160,
        "max_macs": 10,
        "max_latency_ms": 5.5,
        "min_accuracy": 0.9,
        "degrade": "never",
        "variants": "all",
        "cascade": ["0.25/128", "0.5/160"],
        "threshold": 0.8,
    }
    assert given.keys() == PredictQuery.model_fields.keys()
    assert given.keys() | {"deadline_ms", "request_id"} == get_type_hints(calls.PredictOptions).keys()
    with playing(predicted("red")) as script:
        ask(script.url, "predict", b"photo", named={**given, "deadline_ms": 500, "request_id": "mine"})
        ask(script.url, "predict", b"photo", named=dict.fromkeys(given) | {"explain": False, "deadline_ms": None})
    asked, plain = script.asked
    read = PredictQuery.model_validate(dict(parse_qsl(asked.line.split()[1].partition("?")[2])))
    assert read.model_dump() == given | {"cascade": "0.25/128,0.5/160"}
    assert (asked.headers["X-Request-Timeout-Ms"], asked.headers["X-Request-ID"]) == ("500", "mine")
    assert plain.line == "POST /predict HTTP/1.1"
    assert not {"X-Request-Timeout-Ms", "X-Request-ID"} & plain.headers.keys()


@both
def test_arguments_may_be_numbers_of_numpy_and_several_may_be_of_any_kind(ask: Ask) -> None:
    named = {
        "top_k": np.int64(3),
        "explain": np.True_,
        "alpha": np.float32(0.25),
        "variants": [0.25, "0.5/160"],
        "cascade": {"all": 1}.keys(),
        "deadline_ms": np.int64(500),
    }
    with playing(predicted("red")) as script:
        ask(script.url, "predict", b"photo", named=named)
        ask(script.url, "predict", b"photo", named={"explain": np.False_})
        ask(script.url, "predict", b"photo", named={"variants": "True"})
    asked, *others = script.asked
    assert dict(parse_qsl(asked.line.split()[1].partition("?")[2])) == {
        "top_k": "3",
        "explain": "true",
        "alpha": "0.25",
        "variants": "0.25,0.5/160",
        "cascade": "all",
    }
    assert asked.headers["X-Request-Timeout-Ms"] == "500"
    assert [other.line.split()[1] for other in others] == ["/predict?explain=false", "/predict?variants=True"]


@both
def test_an_image_may_be_a_path_a_picture_or_an_array(ask: Ask, tmp_path: Path) -> None:
    array = np.zeros((4, 4, 3), np.uint8)
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    with playing(predicted("red")) as script:
        for image in (tmp_path / "photo.jpg", str(tmp_path / "photo.jpg"), array, Image.fromarray(array)):
            ask(script.url, "predict", image)
    assert [asked.body for asked in script.asked[:2]] == [b"photo"] * 2
    assert all(asked.body.startswith(b"\x89PNG") for asked in script.asked[2:])
    for method in ("predict", "explain", "embed", "preview"):
        with pytest.raises(Unreadable, match=r"missing\.jpg: No such file"):
            ask("http://127.0.0.1:1", method, tmp_path / "missing.jpg")


@both
def test_what_the_network_sees_is_asked_for(ask: Ask) -> None:
    with playing(Answer(solid((1, 2, 3)), 200)) as script:
        assert ask(script.url, "preview", b"photo", 128) == ask(script.url, "preview", b"photo") == [solid((1, 2, 3))]
        ask(script.url, "preview", b"photo", named={"deadline_ms": 500, "request_id": "mine"})
    assert [asked.line.split()[1] for asked in script.asked] == ["/preview?resolution=128", "/preview", "/preview"]
    headers = script.asked[2].headers
    assert (headers["X-Request-Timeout-Ms"], headers["X-Request-ID"]) == ("500", "mine")


@both
def test_what_is_no_picture_is_no_answer_of_the_service(ask: Ask) -> None:
    with playing(Answer("<html>", 200)) as script, pytest.raises(UnexpectedAnswer):
        ask(script.url, "explain", b"photo")


@both
def test_fields_that_are_not_known_yet_do_no_harm(ask: Ask) -> None:
    answer = {**json.loads(predicted("red").body), "newer": {"field": 1}}
    with playing(Answer(json.dumps(answer))) as script:
        assert ask(script.url, "predict", b"photo")[0].results[0].predictions[0].label == "red"


def test_threads_share_a_client_and_its_connections() -> None:
    with (
        playing(predicted("red")) as script,
        Client(script.url, connections=3) as client,
        ThreadPoolExecutor(20) as pool,
    ):
        answers = list(pool.map(client.predict, [b"photo"] * 60))
    assert all(isinstance(answer.results[0], Predictions) for answer in answers)
    assert script.most_at_once <= 3


def test_calls_beyond_the_connections_wait_for_their_turn() -> None:
    async def ask(url: str) -> list[Any]:
        async with AsyncClient(url, connections=3) as client:
            return await asyncio.gather(*(client.predict(b"photo") for _ in range(60)))

    with playing(predicted("red")) as script:
        assert len(asyncio.run(ask(script.url))) == 60
    assert script.most_at_once <= 3


def test_importing_the_client_imports_nothing_of_what_serves() -> None:
    program = "import app.client, sys, json; print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not {"fastapi", "starlette", "uvicorn", "PIL", "numpy", "tensorflow", "ai_edge_litert"} & set(
        json.loads(done.stdout)
    )
