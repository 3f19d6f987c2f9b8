"""The wire contract, over HTTP in one process, on a model of colours; the real process is in e2e/."""

import base64
import codecs
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette import requests

from app.config import Settings
from app.main import create_app, open_spans
from app.model.model import Model
from app.runtime.inline import Threads
from app.runtime.local import in_process
from app.runtime.pipeline import Job, JobResult, broken
from tests.support.asgi import Held
from tests.support.client import Launch, check_problem, samples, started
from tests.support.data import solid
from tests.support.fakes import COLOURS, ColourEngine, colour_model, familiarity, mosaic_model, serving
from tests.support.images import encoded as file_of

RED = solid(COLOURS["red"])
BROKEN = RED[: len(RED) // 2]


@pytest.fixture
def client(launch: Launch) -> TestClient:
    return launch()


def post(client: TestClient, image: bytes, **params: Any) -> Any:
    return client.post("/predict", content=image, headers={"Content-Type": "image/png"}, params=params)


def encoded(*images: bytes) -> dict[str, list[str]]:
    return {"images": [base64.b64encode(image).decode() for image in images]}


def best(result: dict[str, Any]) -> str:
    return str(result["predictions"][0]["label"])


@pytest.mark.parametrize(
    "content_type",
    [
        "image/png",
        "image/jpeg",
        "application/octet-stream",
        "IMAGE/PNG; q=1",
        None,
        "binary/octet-stream",  # of S3
        "application/x-octet-stream",
        "*/*",
        "application/x-www-form-urlencoded",  # of curl, wget and urllib, unless they are told another
        "text/plain",
    ],
)
def test_a_raw_body_is_one_image(client: TestClient, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = client.post("/predict", content=RED, headers=headers)
    assert response.status_code == 200
    assert best(response.json()["results"][0]) == "red"


def test_multipart_takes_several_files_and_answers_in_order(client: TestClient) -> None:
    files = [("image", (f"{name}.png", solid(colour), "image/png")) for name, colour in COLOURS.items()]
    response = client.post("/predict", files=[*files, ("note", (None, "a text field is ignored"))])
    assert [best(result) for result in response.json()["results"]] == list(COLOURS)


def test_json_takes_several_images_in_base64_and_data_urls(client: TestClient) -> None:
    body = encoded(*map(solid, COLOURS.values()))
    body["images"][1] = "data:image/png;base64," + body["images"][1]
    response = client.post("/predict", json=body)
    assert [best(result) for result in response.json()["results"]] == list(COLOURS)


def test_the_answer_has_the_contracts_fields_and_no_others(client: TestClient) -> None:
    response = post(client, RED, top_k=2)
    body = response.json()
    assert set(body) == {"model", "results", "cost", "timing", "batch_size", "request_id"}
    assert body["model"] == {"alpha": 0.25, "resolution": 64, "weights": "colours", "precision": "float32"}
    (result,) = body["results"]
    assert set(result) == {"predictions"}
    assert len(result["predictions"]) == 2
    assert result["predictions"][0] == {
        "class_id": 0,
        "wordnet_id": "n00000000",
        "label": "red",
        "probability": result["predictions"][0]["probability"],
    }
    assert set(body["timing"]) == {"decode_ms", "queue_ms", "inference_ms", "total_ms"}
    parts = sum(body["timing"][part] for part in ("decode_ms", "queue_ms", "inference_ms"))
    assert 0 < parts <= body["timing"]["total_ms"]
    assert body["batch_size"] == 1
    assert body["request_id"] == response.headers["x-request-id"]


def test_the_cost_receipt_is_that_of_model_info(client: TestClient) -> None:
    cost = post(client, RED).json()["cost"]
    info = client.get("/model-info").json()
    assert cost == {"macs": info["macs"], "flops": info["flops"], "parameters": info["parameters"]["total"]}
    assert cost["flops"] == 2 * cost["macs"] > 0


def test_model_info_names_the_classes_and_what_familiarity_is_measured_with(launch: Launch) -> None:
    model = replace(colour_model(), familiarity=familiarity(-9, 0))
    info = launch(model).get("/model-info").json()
    assert info["labels"] == list(COLOURS)
    assert info["familiarity"] == {"images": 100, "unfamiliar_below": 0.05}
    other = launch(model).get("/model-info", params={"alpha": 1, "resolution": 224}).json()
    assert (other["labels"], other["familiarity"]) == (list(COLOURS), None), "it is not served"
    assert launch(colour_model()).get("/model-info").json()["familiarity"] is None


def test_an_image_unlike_all_classes_is_unfamiliar_and_one_like_them_is_not(launch: Launch) -> None:
    client = launch(replace(colour_model(), familiarity=familiarity(-3, 0)))
    familiar, unfamiliar = (post(client, solid(colour)).json()["results"][0] for colour in ((220, 30, 30), (128,) * 3))
    assert familiar["familiarity"] > 0.9
    assert "unfamiliar" not in familiar
    assert (unfamiliar["familiarity"], unfamiliar["unfamiliar"]) == (0, True)


def test_top_k_is_5_or_all_classes_of_a_smaller_model_and_at_most_their_number(client: TestClient) -> None:
    assert len(post(client, RED).json()["results"][0]["predictions"]) == 5
    everything = post(client, RED, top_k=6).json()["results"][0]["predictions"]
    assert len(everything) == 6
    assert sum(item["probability"] for item in everything) == pytest.approx(1, abs=1e-5)
    for wrong in (0, -1, 7, 10**30):
        assert "between 1 and 6" in check_problem(post(client, RED, top_k=wrong), 422, "invalid_parameter")
    assert "top_k" in check_problem(post(client, RED, top_k="many"), 422, "invalid_parameter")


def test_a_single_image_that_fails_answers_its_error(client: TestClient) -> None:
    check_problem(post(client, b""), 400, "empty_image")
    check_problem(post(client, b"hello"), 415, "unsupported_image")
    check_problem(post(client, BROKEN), 422, "undecodable_image")
    check_problem(client.post("/predict", json={"images": ["@@@"]}), 422, "undecodable_image")
    check_problem(client.post("/predict", json=encoded(b"")), 400, "empty_image")
    check_problem(client.post("/predict", files={"image": b"hello"}), 415, "unsupported_image")


def test_images_that_fail_cost_the_others_of_their_request_nothing(client: TestClient) -> None:
    body = encoded(RED, b"hello", BROKEN, b"", RED)
    body["images"].insert(1, "no base64")
    response = client.post("/predict", json=body)
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result.get("error", {}).get("code") for result in results] == [
        None,
        "undecodable_image",
        "unsupported_image",
        "undecodable_image",
        "empty_image",
        None,
    ]
    assert best(results[0]) == best(results[-1]) == "red"
    assert results[2]["error"]["request_id"] == response.headers["x-request-id"]


class Broken(Threads):
    """A pipeline that only a restart helps."""

    async def run(self, jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        """Classify the first image, which was quick enough, and no other."""
        return [*await super().run(jobs[:1], large), *(broken("a fault") for _ in jobs[1:])]


@pytest.mark.parametrize("path", ["/predict", "/embed"])
def test_where_only_a_restart_helps_all_images_of_a_request_should_go_to_another_process(path: str) -> None:
    app = create_app(Settings(), lambda settings: Broken(in_process(settings, lambda _: mosaic_model())))
    with started(app) as client:
        response = client.post(path, json=encoded(RED, RED, RED))
    assert check_problem(response, 503, "unavailable") == "a fault"
    assert (response.headers["connection"], response.headers["retry-after"]) == ("close", "1")


def test_a_body_that_is_none_of_the_three_forms_is_refused_with_what_is(client: TestClient) -> None:
    response = client.post("/predict", content=b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"})
    detail = check_problem(response, 415, "unsupported_media_type")
    assert all(form in detail for form in ("image/*", "octet-stream", "multipart/form-data", "application/json"))


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "image/tiff", "text/plain", None])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"%PDF-1.7\n", "it looks like PDF"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isommp42", "it looks like an MP4 video"),
        (file_of(Image.new("F", (8, 8)), "TIFF"), "floating-point pixels have no fixed range"),
    ],
    ids=["PDF", "MP4", "TIFF"],
)
@pytest.mark.parametrize("path", ["/predict", "/preview"])
def test_a_file_of_a_known_format_is_refused_for_what_it_is_whatever_its_type(
    client: TestClient, path: str, body: bytes, says: str, kind: str | None
) -> None:
    response = client.post(path, content=body, headers={"Content-Type": kind} if kind else {})
    assert says in check_problem(response, 415, "unsupported_image")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain;charset=UTF-8", "image/png", None])
def test_json_that_is_sent_as_something_else_is_told_the_header_to_send(client: TestClient, kind: str | None) -> None:
    text = json.dumps(encoded(RED)).encode()
    for body in (b"\n " + text, codecs.BOM_UTF8 + text, json.dumps(encoded(RED)["images"]).encode()):
        response = client.post("/predict", content=body, headers={"Content-Type": kind} if kind else {})
        detail = check_problem(response, 415, "unsupported_media_type")
        assert detail == "the body looks like JSON; send it with the header Content-Type: application/json"


@pytest.mark.parametrize(
    ("kind", "status"), [("application/json", 400), ("image/jpeg", 415), ("text/plain", 415), (None, 415)]
)
def test_a_form_that_is_sent_as_something_else_is_told_the_header_to_send(
    client: TestClient, kind: str | None, status: int
) -> None:
    for name in (b"Content-Disposition: form-data", b"content-type: image/jpeg"):
        body = b"--boundary\r\n" + name + b'; name="image"\r\n\r\nphoto\r\n--boundary--\r\n'
        response = client.post("/predict", content=body, headers={"Content-Type": kind} if kind else {})
        code = "malformed_request" if status == 400 else "unsupported_media_type"
        detail = check_problem(response, status, code)
        assert "looks like a form; its header Content-Type must be multipart/form-data with the boundary" in detail


def test_an_image_as_numbers_is_told_to_be_a_text(client: TestClient) -> None:
    response = client.post("/predict", json={"images": [list(RED) * 9]})
    assert "each image is one text in base64" in check_problem(response, 413, "body_too_large")


def test_json_may_begin_with_a_byte_order_mark(client: TestClient) -> None:
    body = codecs.BOM_UTF8 + json.dumps(encoded(RED)).encode()
    response = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        (b"", 400, "empty_image", "empty"),
        (b"{", 400, "malformed_request", "the body is not valid JSON: EOF while parsing"),
        (b"\xff\xfe", 400, "malformed_request", "JSON"),
        (b"[]", 422, "invalid_parameter", "the body must be a JSON object"),
        (b"{}", 422, "invalid_parameter", "images is missing"),
        (b'{"image": ["x"]}', 422, "invalid_parameter", "images is missing; did you write image instead?"),
        (b'{"images": []}', 422, "invalid_parameter", "images is empty"),
        (b'{"images": [1]}', 422, "invalid_parameter", "images.0 must be a string; each image is one text in base64"),
        (b'{"images": "x"}', 422, "invalid_parameter", "images must be a list"),
        (b'{"images": ["x"], "top_k": 3}', 422, "invalid_parameter", "top_k is not a member"),
        (b'{"images": ["x"], "' + b"x" * 5_000 + b'": 3}', 422, "invalid_parameter", f"{'x' * 80} is not a member"),
    ],
)
def test_wrong_json_says_what_is_wrong(client: TestClient, body: bytes, status: int, code: str, says: str) -> None:
    response = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert says in check_problem(response, status, code)


@pytest.mark.parametrize("encoding", ["gzip", "br", "ZSTD", "deflate, gzip"])
def test_a_compressed_body_is_refused_by_the_name_of_its_encoding(client: TestClient, encoding: str) -> None:
    for path in ("/predict", "/preview", "/v2/models/mobilenet/infer"):
        response = client.post(path, content=b"x", headers={"Content-Encoding": encoding})
        detail = check_problem(response, 415, "unsupported_media_type", protocol=path.startswith("/v2"))
        assert encoding.lower() in detail
        assert response.headers["accept-encoding"] == "identity"
    assert client.post("/predict", content=RED, headers={"Content-Encoding": "identity"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "wrong", "nearest"),
    [
        ("/predict", "topk", "top_k"),
        ("/predict", "alfa", "alpha"),
        ("/model-info", "layer", "layers"),
    ],
)
def test_a_misspelt_parameter_is_refused_with_the_nearest(
    client: TestClient, path: str, wrong: str, nearest: str
) -> None:
    response = client.request("GET" if path == "/model-info" else "POST", path, params={wrong: "1"}, content=b"")
    detail = check_problem(response, 422, "invalid_parameter")
    assert wrong in detail
    assert detail.endswith(f"the nearest is {nearest}")


@pytest.mark.parametrize(
    ("path", "query", "says"),
    [
        ("/preview", "size=1", "size: there is no such parameter; this route has resolution"),
        ("/labels", "size=1", "size: there is no such parameter; this route has none"),
        ("/model-info", "alpha=1&layers=true&alpha=1", "alpha is given twice; once is allowed"),
        ("/explain", "size=photo&size=input", "size is given twice; once is allowed"),
        ("/model-info", "layers=perhaps", "layers must be true or false"),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_refused_with_what_is_allowed(
    client: TestClient, path: str, query: str, says: str
) -> None:
    response = client.request("POST" if path in ("/preview", "/explain") else "GET", f"{path}?{query}", content=b"")
    assert check_problem(response, 422, "invalid_parameter") == says


@pytest.mark.parametrize("path", ["/predict/", "/labels/", "/healthz/"])
def test_a_trailing_slash_is_a_problem_that_names_the_route(client: TestClient, path: str) -> None:
    response = client.request("POST" if "predict" in path else "GET", path, content=RED, follow_redirects=False)
    assert path.rstrip("/") + ";" in check_problem(response, 404, "not_found")


@pytest.mark.parametrize(
    "path",
    ["/", "/healthz", "/readyz", "/docs", "/redoc", "/metrics", "/labels", "/openapi.json", "/web/page.js", "/v2"],
)
def test_head_is_answered_as_get_without_a_body(client: TestClient, path: str) -> None:
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    own = {"x-request-id", "server-timing", "content-length", "date"}
    assert {name: value for name, value in head.headers.items() if name not in own} == {
        name: value for name, value in get.headers.items() if name not in own
    }


def test_head_of_what_is_not_there_or_takes_no_get_is_a_status_without_a_body(client: TestClient) -> None:
    for path, status in (("/nothing", 404), ("/predict", 405)):
        response = client.head(path)
        assert (response.status_code, response.content) == (status, b"")
    assert samples(client)["mobilenet_requests_total", "/predict", "405"] == 1


def test_wrong_multipart_says_what_is_wrong(client: TestClient) -> None:
    assert "image" in check_problem(client.post("/predict", files={"photo": RED}), 400, "malformed_request")
    check_problem(client.post("/predict", files={"image": (None, "text")}), 415, "unsupported_image")
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=x"):
        response = client.post("/predict", content=b"garbage", headers={"Content-Type": content_type})
        check_problem(response, 400, "malformed_request")


def test_more_images_than_allowed_are_refused_in_every_form(launch: Launch) -> None:
    client = launch(max_images=3)
    assert "3 is the most" in check_problem(client.post("/predict", json=encoded(*[RED] * 4)), 413, "too_many_images")
    files = [("image", RED)] * 4
    assert "3 is the most" in check_problem(client.post("/predict", files=files), 413, "too_many_images")
    assert client.post("/predict", files=files[:3]).status_code == 200


def test_a_body_over_the_limit_is_refused_announced_or_not(launch: Launch) -> None:
    client = launch(max_body_bytes=len(RED))
    assert post(client, RED).status_code == 200
    assert f"{len(RED)} bytes" in check_problem(post(client, RED + b"!"), 413, "body_too_large")
    chunks = client.post("/predict", content=iter([RED, b"!"]), headers={"Content-Type": "image/png"})
    check_problem(chunks, 413, "body_too_large")
    check_problem(client.post("/predict", files={"image": RED}), 413, "body_too_large")


class Slow(ColourEngine):
    """Answers only after its delay."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s

    def predict(self, images: Any) -> Any:
        """Wait, then answer."""
        time.sleep(self.delay_s)
        return super().predict(images)


def slow_model(delay_s: float) -> Model:
    model = colour_model()
    return Model(Slow(delay_s), model.variant, model.labels, "slow", "0" * 64, published=False)


def test_a_request_past_its_deadline_answers_504(launch: Launch) -> None:
    engine = Held()
    client = launch(replace(colour_model(), engine=engine), request_timeout_ms=1000, max_batch_size=1)
    engine.armed = True
    with ThreadPoolExecutor(1) as thread:
        late = thread.submit(post, client, RED)
        assert engine.running.wait(10)
        check_problem(late.result(), 504, "deadline_exceeded")
        engine.gate.set()
    assert samples(client)["mobilenet_dropped_total", "deadline"] == 0, "it was run, in vain"


def test_a_request_may_ask_for_an_earlier_deadline_and_for_no_later_one(launch: Launch) -> None:
    client = launch(slow_model(0.3), request_timeout_ms=5000, max_batch_size=1)

    def ask(timeout: str) -> Any:
        return client.post("/predict", content=RED, headers={"X-Request-Timeout-Ms": timeout})

    check_problem(ask("50"), 504, "deadline_exceeded")
    assert ask("5000").status_code == 200
    for timeout, says in (
        ("0", "0 is not between 1 and 5000"),
        ("5001", "5001 is not between"),
        ("soon", "must be a whole number"),
    ):
        assert says in check_problem(ask(timeout), 422, "invalid_parameter")


def test_an_image_past_its_deadline_is_not_run_and_counted(launch: Launch) -> None:
    engine = Held()
    client = launch(replace(colour_model(), engine=engine), max_batch_size=1)
    engine.armed = True
    headers = {"X-Request-Timeout-Ms": "2000"}  # in which all three are admitted, on a busy machine, too
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(post, client, RED)
        assert engine.running.wait(10)
        late = [threads.submit(client.post, "/predict", content=RED, headers=headers) for _ in range(3)]
        for response in late:
            assert "not run" in check_problem(response.result(), 504, "deadline_exceeded")
        engine.gate.set()
        assert first.result().status_code == 200
    assert post(client, RED).status_code == 200
    assert engine.ran == 2
    assert samples(client)["mobilenet_dropped_total", "deadline"] == 3


def test_a_model_that_fails_is_our_error_and_the_process_lives_on(launch: Launch) -> None:
    model = colour_model()

    class Failing(ColourEngine):
        """Fails on dark images, after the self-test."""

        def predict(self, images: Any) -> Any:
            """Answer, or raise."""
            if any(image.max() < 10 for image in images):
                raise RuntimeError("secret path /srv")
            return super().predict(images)

    client = launch(Model(Failing(), model.variant, model.labels, "failing", "0" * 64, published=False))
    detail = check_problem(post(client, solid(COLOURS["black"])), 500, "internal_error")
    assert "secret" not in detail
    results = client.post("/predict", json=encoded(RED, solid(COLOURS["black"]))).json()["results"]
    assert best(results[0]) == "red"
    assert results[1]["error"]["status"] == 500
    assert client.get("/healthz").status_code == 200


def test_unknown_routes_and_methods_are_problems_too(client: TestClient) -> None:
    assert "/nowhere" in check_problem(client.get("/nowhere"), 404, "not_found")
    response = client.get("/predict")
    assert "POST" in check_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    for path in ("/labels", "/web/page.js"):
        response = client.delete(path)
        detail = check_problem(response, 405, "method_not_allowed")
        assert detail == f"DELETE is not allowed on {path}; GET and HEAD are"
        assert response.headers["allow"] == "GET, HEAD"
    for path in ("/docs-assets/nothing.js", "/web/nothing", "/web/v2/nothing"):
        nothing = client.get(path)
        assert check_problem(nothing, 404, "not_found") == f"there is nothing at {path}; /docs lists what there is"
        assert "error" not in nothing.json(), "which only what is below /v2 has"


PATHS = [
    "/", "/predict", "/explain", "/healthz", "/metrics", "/docs", "/openapi.json", "/web/page.js",
    "/v2", "/v2/health/live", "/v2/models/mobilenet/ready", "/v2/models/mobilenet/infer",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_with_a_line_break_at_its_end_is_another_path(client: TestClient, path: str) -> None:
    for method in ("GET", "POST", "HEAD"):
        response = client.request(method, f"{path}%0A", content=RED)
        assert response.status_code == 404
    detail = check_problem(client.get(f"{path}%0A"), 404, "not_found", protocol=path.startswith("/v2/"))
    assert detail == f"there is nothing at {path}%0A; /docs lists what there is"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/caf%C3%A9", "/café"),
        ("/a%3Fb", "/a?b"),
        ("/a%1B%5B2J%0Db", "/a%1B[2J%0Db"),
        ("/" + "a" * 60_000, "/" + "a" * 199 + "…"),
        ("/" + "a" * 199, "/" + "a" * 199),
    ],
)
def test_a_path_that_leads_nowhere_is_shown_readably_and_cut(client: TestClient, path: str, shown: str) -> None:
    detail = check_problem(client.get(path), 404, "not_found")
    assert detail == f"there is nothing at {shown}; /docs lists what there is"
    hinted = check_problem(client.get(f"{path}/"), 404, "not_found")
    assert f"though there may be at {shown};" in hinted
    assert len(hinted) < 600


def test_a_path_of_nothing_but_slashes_has_no_shorter_one_to_try(client: TestClient) -> None:
    detail = check_problem(client.get("http://testserver//"), 404, "not_found")
    assert detail == "there is nothing at //; /docs lists what there is"


def test_a_long_path_that_takes_another_method_is_cut(client: TestClient) -> None:
    detail = check_problem(client.delete("/web/" + "a" * 60_000), 405, "method_not_allowed")
    assert detail == f"DELETE is not allowed on /web/{'a' * 195}…; GET and HEAD are"


def test_cookies_are_not_read(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "cookie_parser", None)
    for path in ("/healthz", "/labels", "/v2/health/live"):
        assert client.get(path, headers={"Cookie": 'a="' + "\\" * 1000 + '"'}).status_code == 200, (
            "some Pythons take seconds for them"
        )


def test_a_bug_of_ours_is_a_problem_that_tells_nothing(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    client = launch()
    monkeypatch.setattr("app.api.describe.model_info", lambda *_, **__: 1 / 0)
    response = client.get("/model-info")
    assert "division" not in check_problem(response, 500, "internal_error")
    assert "server-timing" in response.headers
    with pytest.raises(ZeroDivisionError):  # the server gets it too, and writes its traceback into the log
        TestClient(client.app).get("/model-info")


def test_every_answer_has_a_request_id_and_its_timing(client: TestClient) -> None:
    for response in (client.get("/healthz"), client.get("/nowhere"), post(client, b""), client.get("/docs")):
        assert len(response.headers["x-request-id"]) == 32
        assert response.headers["server-timing"].startswith("total;dur=")
    predicted = post(client, RED)
    fields = (field.split(";dur=") for field in predicted.headers["server-timing"].split(", "))
    header = {f"{name}_ms": float(duration) for name, duration in fields}
    timing = predicted.json()["timing"]
    assert [*header] == [*timing] == ["decode_ms", "queue_ms", "inference_ms", "total_ms"]
    assert header.pop("total_ms") >= timing.pop("total_ms"), "its head is written last"
    assert header == timing


def test_a_sane_request_id_is_kept_and_another_is_replaced(client: TestClient) -> None:
    for method, path in (("GET", "/healthz"), ("POST", "/predict")):
        for given in ("trace-42", "x" * 128, "a b", "x" * 129, "<script>", ""):
            taken = client.request(method, path, headers={"X-Request-ID": given}).headers["x-request-id"]
            assert (taken == given) == (given in ("trace-42", "x" * 128))


def test_labels_lists_every_class(client: TestClient) -> None:
    labels = client.get("/labels").json()
    assert [label["label"] for label in labels] == list(COLOURS)
    assert labels[2] == {"class_id": 2, "wordnet_id": "n00000002", "label": "blue"}


def test_model_info_describes_the_served_variant(client: TestClient) -> None:
    info = client.get("/model-info").json()
    assert (info["served"], info["alpha"], info["resolution"], info["classes"]) == (True, 0.25, 64, 6)
    assert info["rho"] == pytest.approx(64 / 224)
    assert (info["weights"], info["weights_sha256"], info["engine"]) == ("colours", "0" * 64, "colour")
    assert info["batching"] == {"max_batch_size": 8, "max_wait_ms": 0.0, "max_queue": Settings().max_queue}
    assert "2 × MACs" in info["flops_in_words"]
    assert (info["layers"], info["separable"], info["ablations"]) == (None, None, None)
    assert info["accuracy"] == {"measured": None, "published": None}
    assert {"python", "fastapi", "mobilenet-service"} <= set(info["versions"])


def test_model_info_answers_for_any_variant_with_its_layers(client: TestClient) -> None:
    info = client.get("/model-info", params={"alpha": 0.5, "resolution": 160, "layers": True}).json()
    assert (info["served"], info["weights"], info["engine"]) == (False, None, None)
    # 1,000 classes cost 76,524,800; the model of colours has 6.
    assert info["macs"] == 76_524_800 - 994 * 512
    assert sum(layer["macs"] for layer in info["layers"]) == info["macs"]
    assert sum(layer["share"] for layer in info["layers"]) == pytest.approx(1)
    assert info["layers"][1]["name"] == "conv_dw_1"
    assert info["layers"][1]["input_shape"] == [80, 80, 16]
    assert len(info["separable"]) == 13
    assert info["separable"][0]["ratio"] == pytest.approx(1 / 32 + 1 / 9)
    assert (info["layers"][1]["ratio"], info["layers"][2]["ratio"]) == (1 / 32, pytest.approx(1 / 9))
    assert info["layers"][1]["standard_macs"] == info["separable"][0]["standard_macs"] == 9 * 16 * 32 * 80 * 80


def test_model_info_compares_the_variant_with_its_ablations(client: TestClient) -> None:
    def ablations(**variant: float) -> dict[str, Any]:
        info = client.get("/model-info", params={"layers": True, **variant}).json()
        return {item["name"]: item | {"variant_macs": info["macs"]} for item in info["ablations"]}

    base = ablations(alpha=1, resolution=224)
    assert [item["paper_top1"] for item in base.values()] == [71.7, 65.3, None]
    assert base["full convolution"]["macs"] == 4_867_293_184 - 994 * 1024
    for item in base.values():
        assert item["macs_ratio"] == pytest.approx(item["macs"] / item["variant_macs"])
    assert {item["paper_top1"] for item in ablations(alpha=0.5, resolution=224).values()} == {None}


def test_model_info_refuses_what_is_no_variant_with_what_is(client: TestClient) -> None:
    wrong: list[tuple[dict[str, float | str], str]] = [
        ({"alpha": "nan"}, "1, 0.75, 0.5, 0.25"),
        ({"resolution": 100}, "multiple of 32"),
        ({"resolution": "big"}, "resolution"),
    ]
    for params, allowed in wrong:
        assert allowed in check_problem(client.get("/model-info", params=params), 422, "invalid_parameter")


def test_published_weights_have_their_published_accuracy() -> None:
    from app.api.describe import model_info
    from app.mobilenet.variants import Variant

    class Thousand(ColourEngine):
        """Claims the classes of ImageNet."""

        classes = 1000

    def accuracy(variant: Variant, *, published: bool) -> Any:
        model = Model(Thousand(), Variant(0.5, 160), (), "w", "0", published=published)
        return model_info([model], variant, Settings(), layers=False).accuracy.published

    assert accuracy(Variant(0.5, 160), published=True).checkpoint_top1 == 59.1
    assert accuracy(Variant(1.0, 224), published=False).paper_top1 == 70.6
    assert accuracy(Variant(0.5, 160), published=False) is None, "own weights have no published accuracy"
    assert accuracy(Variant(0.5, 96), published=True) is None


def test_before_the_model_is_loaded_only_the_process_is_alive() -> None:
    import threading

    loading = threading.Event()

    def load(_: Settings) -> Model:
        loading.wait(10)
        return colour_model()

    with TestClient(create_app(Settings(), lambda settings: Threads(in_process(settings, load)))) as client:
        assert client.get("/healthz").json() == {"status": "alive"}
        for response in (client.get("/readyz"), post(client, RED), client.get("/labels"), client.get("/model-info")):
            check_problem(response, 503, "starting")
            assert response.headers["retry-after"] == "1"
        loading.set()


def test_a_model_that_fails_its_self_test_is_never_ready_and_says_why() -> None:
    class Constant(ColourEngine):
        """Says the same of everything."""

        def predict(self, images: Any) -> Any:
            """Return equal probabilities."""
            found = super().predict(images)
            return found._replace(probabilities=found.probabilities * 0 + 1 / self.classes)

    model = colour_model()
    broken = Model(Constant(), model.variant, model.labels, "constant", "0" * 64, published=False)
    with TestClient(create_app(Settings(), serving(broken))) as client:
        while "loading" in client.get("/readyz").json()["detail"]:
            time.sleep(0.01)
        assert "the same answer whatever the image" in check_problem(client.get("/readyz"), 503, "starting")
        check_problem(post(client, RED), 503, "starting")


def test_a_load_that_fails_for_a_bug_of_ours_fails_the_health_check(caplog: pytest.LogCaptureFixture) -> None:
    def load(_: Settings) -> Model:
        raise ZeroDivisionError

    with TestClient(create_app(Settings(), lambda settings: Threads(in_process(settings, load)))) as client:
        while client.get("/healthz").status_code == 200:
            time.sleep(0.01)
        check_problem(client.get("/healthz"), 503, "unavailable")
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


def test_a_model_that_would_end_the_process_fails_one_image_and_goes_on(launch: Launch) -> None:
    class Lethal(ColourEngine):
        """Ends its thread on dark images."""

        def predict(self, images: Any) -> Any:
            """Answer, or end the thread."""
            if any(image.max() < 10 for image in images):
                raise SystemExit
            return super().predict(images)

    model = colour_model()
    client = launch(Model(Lethal(), model.variant, model.labels, "lethal", "0" * 64, published=False))
    check_problem(post(client, solid(COLOURS["black"])), 500, "internal_error")
    assert client.get("/readyz").status_code == 200
    assert post(client, RED).status_code == 200


def test_a_model_that_hangs_fails_both_probes(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.config.STALLED_AT_LEAST_S", 0.1)
    monkeypatch.setattr("app.config.STALL_GRACE_S", 0.0)
    engine = Held()
    client = launch(replace(colour_model(), engine=engine), request_timeout_ms=50)
    engine.armed = True
    while not engine.running.is_set():
        check_problem(post(client, RED), 504, "deadline_exceeded")
    while client.get("/healthz").status_code == 200:
        time.sleep(0.01)
    for path in ("/healthz", "/readyz"):
        assert check_problem(client.get(path), 503, "unavailable") == "the model hangs"
    engine.gate.set()


def test_browsers_may_call_only_from_the_origins_that_are_set(launch: Launch) -> None:
    origin = {"Origin": "https://a.example"}
    assert "access-control-allow-origin" not in launch().get("/labels", headers=origin).headers
    client = launch(cors_origins=("https://a.example",))
    assert client.get("/labels", headers=origin).headers["access-control-allow-origin"] == "https://a.example"
    predicted = client.post("/predict", content=RED, headers=origin)
    refused = client.post("/predict", content=b"", headers=origin)
    for answer, status in ((predicted, 200), (refused, 400)):
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, "https://a.example")
    for path, method in (("/labels", "GET"), ("/predict", "POST")):
        other = client.request(method, path, headers={"Origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers


def test_the_pages_ask_no_other_host_for_anything(client: TestClient) -> None:
    for path in ("/docs", "/redoc"):
        page = client.get(path).text
        assert "http://" not in page
        assert "https://" not in page
        for asset in [part.split('"')[0] for part in page.replace('href="', 'src="').split('src="')[1:]]:
            assert client.get(asset).status_code == 200, asset


def test_a_log_line_a_request_says_what_happened(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="app.access"):
        client.post("/predict", json=encoded(RED, b"hello"), headers={"X-Request-ID": "abc"})
        client.get("/no%0Awhere")
    first, second = (record for record in caplog.records if record.name == "app.access")
    facts = first.__dict__["facts"]
    assert first.getMessage() == "POST '/predict'"
    assert (facts["status"], facts["request_id"], facts["images"], facts["failed"]) == (200, "abc", 2, 1)
    assert "\n" not in second.getMessage()
    assert second.__dict__["facts"]["code"] == "not_found"


def test_spans_are_wanted_where_their_receiver_is_named_and_missed_without_the_extra(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "app.observability.spans", None)
    assert open_spans() is None
    assert caplog.text == ""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert open_spans() is None
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set, and there are no spans: install the extra `otel`" in caplog.text
    caplog.clear()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "True")
    assert open_spans() is None
    assert caplog.text == "", "nothing is missed"


def test_log_lines_are_readable_or_json() -> None:
    import logging

    from app.logs import JsonFormatter, TextFormatter

    record = logging.LogRecord("app", logging.INFO, "", 0, "POST %r", ("/predict",), None)
    record.facts = {"status": 200, "total_ms": 1.5}
    assert TextFormatter().format(record).endswith(" INFO    POST '/predict' status=200 total_ms=1.5")
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["level"], line["status"], line["total_ms"]) == ("POST '/predict'", "info", 200, 1.5)
