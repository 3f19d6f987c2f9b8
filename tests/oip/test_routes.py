"""The Open Inference Protocol over HTTP in one process, on a model of colours; its real clients are in e2e/."""

import base64
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.config import Settings
from app.errors import Draining, QueueFull, ServiceError
from app.main import create_app
from app.mobilenet.cost import cost
from app.mobilenet.variants import Variant
from app.observability.trace import Requests, Trace
from app.prediction.classifier import Classifier
from tests.api.test_routes import slow_model
from tests.support.client import Launch, check_problem, launching, samples, started
from tests.support.data import solid
from tests.support.fakes import COLOURS, HeldEngine, colour_model, mosaic_model, serving, serving_lineup

RED, BLUE = solid(COLOURS["red"]), solid(COLOURS["blue"])
BROKEN = RED[: len(RED) // 2]
SIDE = colour_model().variant.resolution
CLASSES = len(COLOURS)
MODEL = "/v2/models/mobilenet"
VERSION = f"{MODEL}/versions/0.25@{SIDE}"


@pytest.fixture
def launch() -> Iterator[Launch]:
    with launching() as launch:
        yield launch


@pytest.fixture
def client(launch: Launch) -> TestClient:
    return launch()


def files(*images: bytes, **rest: Any) -> dict[str, Any]:
    data = [base64.b64encode(image).decode() for image in images]
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data}], **rest}


def classification(k: int, **parameters: Any) -> dict[str, Any]:
    return {"outputs": [{"name": "probabilities", "parameters": {"classification": k, **parameters}}]}


def infer(client: TestClient, *images: bytes, **rest: Any) -> Any:
    return client.post(f"{MODEL}/infer", json=files(*images, **rest))


def binary(client: TestClient, tensor: dict[str, Any], raw: bytes, **rest: Any) -> Any:
    tensor |= {"parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [tensor], **rest}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return client.post(f"{MODEL}/infer", content=text + raw, headers=headers)


def sized(*elements: bytes) -> bytes:
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


check_error = partial(check_problem, protocol=True)


def test_the_server_says_what_it_is_and_knows(client: TestClient) -> None:
    body = client.get("/v2").json()
    assert set(body) == {"name", "version", "extensions"}
    assert body["extensions"] == ["binary_tensor_data", "classification"]


def test_the_model_says_what_it_takes_and_gives(client: TestClient) -> None:
    for path in (MODEL, VERSION):
        assert client.get(path).json() == {
            "name": "mobilenet",
            "versions": [f"0.25@{SIDE}"],
            "platform": "colour",
            "inputs": [
                {"name": "image", "datatype": "BYTES", "shape": [-1]},
                {"name": "pixels", "datatype": "UINT8", "shape": [-1, SIDE, SIDE, 3]},
            ],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, CLASSES]}],
        }


def test_a_service_that_answers_is_live_and_ready_and_so_is_its_model(client: TestClient) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for path in (MODEL, VERSION):
        assert client.get(f"{path}/ready").json() == {"name": "mobilenet", "ready": True}


@pytest.mark.parametrize("path", ["/v2/models/resnet", "/v2/models/mobilenet/versions/1"])
def test_another_model_or_version_is_not_found_and_the_error_names_the_served_one(
    client: TestClient, path: str
) -> None:
    served = f"served: 0.25@{SIDE}" if "versions" in path else "mobilenet is served"
    for response in (client.get(path), client.get(f"{path}/ready"), client.post(f"{path}/infer", json=files(RED))):
        assert served in check_error(response, 404, "not_found")


def test_every_loaded_variant_is_a_version_and_the_default_needs_no_name() -> None:
    small, middle = Variant(0.25, 32), Variant(0.5, 64)
    settings = Settings(alpha=0.5, resolution=64, variants=(small,))
    with started(create_app(settings, serving_lineup())) as client:
        for path, variant in (
            (MODEL, middle),
            (f"{MODEL}/versions/0.5@64", middle),
            (f"{MODEL}/versions/0.25@32", small),
        ):
            model = client.get(path).json()
            assert (model["versions"], model["inputs"][1]["shape"][1]) == (["0.5@64", "0.25@32"], variant.resolution)
            assert client.get(f"{path}/ready").status_code == 200
            answer = client.post(f"{path}/infer", json=files(BLUE)).json()
            assert answer["model_version"] == f"{variant.alpha:g}@{variant.resolution}"
            assert answer["parameters"]["macs"] == cost(variant, CLASSES).macs
            assert int(np.argmax(answer["outputs"][0]["data"])) == list(COLOURS).index("blue")
            side = variant.resolution
            tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, side, side, 3], "data": [0] * side**2 * 3}
            assert client.post(f"{path}/infer", json={"inputs": [tensor]}).status_code == 200
        found = samples(client)
        assert found["mobilenet_images_total", "PNG", small.name] == 1
        assert found["mobilenet_images_total", "PNG", middle.name] == 2
        check_error(client.get(f"{MODEL}/versions/1@224"), 404, "not_found")


def test_json_gives_the_probabilities_that_predict_gives(client: TestClient) -> None:
    response = infer(client, RED, BLUE, id="mine")
    body = response.json()
    assert set(body) == {"model_name", "model_version", "id", "parameters", "outputs"}
    assert (body["model_name"], body["model_version"], body["id"]) == ("mobilenet", f"0.25@{SIDE}", "mine")
    assert body["parameters"] == {"macs": client.get("/model-info").json()["macs"], "batch_size": 2}
    (output,) = body["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [2, CLASSES])
    (result,) = client.post("/predict", content=RED, params={"top_k": CLASSES}).json()["results"]
    expected = [item["probability"] for item in sorted(result["predictions"], key=lambda item: item["class_id"])]
    assert output["data"][:CLASSES] == pytest.approx(expected, abs=1e-6)
    assert int(np.argmax(output["data"][CLASSES:])) == list(COLOURS).index("blue")


def test_without_an_id_the_answer_has_that_of_the_request(client: TestClient) -> None:
    response = infer(client, RED)
    assert response.json()["id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("column", [False, True])
def test_files_in_binary_and_in_json_give_the_same(client: TestClient, column: bool) -> None:
    shape = [2, 1] if column else [2]
    tensor = {"name": "image", "datatype": "BYTES", "shape": shape}
    response = binary(client, tensor, sized(RED, BLUE))
    assert response.json()["outputs"] == infer(client, RED, BLUE).json()["outputs"]
    nested = files(RED, BLUE)
    nested["inputs"][0] |= {"shape": [2, 1], "data": [[text] for text in nested["inputs"][0]["data"]]}
    assert client.post(f"{MODEL}/infer", json=nested).json()["outputs"] == response.json()["outputs"]


def test_pixels_are_the_networks_input_in_binary_and_in_json_flat_or_nested(client: TestClient) -> None:
    pixels = np.stack([np.full((SIDE, SIDE, 3), COLOURS[name], np.uint8) for name in ("red", "blue")])
    expected = infer(client, RED, BLUE).json()["outputs"]
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape)}
    assert binary(client, dict(tensor), pixels.tobytes()).json()["outputs"] == expected
    for data in (pixels.tolist(), pixels.ravel().tolist()):
        answer = client.post(f"{MODEL}/infer", json={"inputs": [tensor | {"data": data}]})
        assert answer.json()["outputs"] == expected


@pytest.mark.parametrize(
    "wanted",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]},
    ],
)
def test_probabilities_in_binary_are_those_in_json_to_the_bit(client: TestClient, wanted: dict[str, Any]) -> None:
    response = infer(client, RED, BLUE, **wanted)
    size = int(response.headers["inference-header-content-length"])
    (output,) = json.loads(response.content[:size])["outputs"]
    assert "data" not in output
    assert output["parameters"] == {"binary_data_size": len(response.content) - size}
    given = np.frombuffer(response.content[size:], "<f4")
    assert given.tolist() == [
        float(np.float32(value)) for value in infer(client, RED, BLUE).json()["outputs"][0]["data"]
    ]


def test_an_output_that_says_so_is_in_json_though_the_others_are_binary(client: TestClient) -> None:
    outputs = [{"name": "probabilities", "parameters": {"binary_data": False}}]
    response = infer(client, RED, outputs=outputs, parameters={"binary_data_output": True})
    assert response.json()["outputs"][0]["data"]


def test_a_classification_is_the_most_probable_classes_with_their_labels(client: TestClient) -> None:
    (output,) = infer(client, RED, BLUE, **classification(2)).json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    probability, index, label = output["data"][2].split(":")
    assert (index, label) == ("2", "blue")
    assert 0.5 < float(probability) <= 1
    response = infer(client, RED, BLUE, **classification(2, binary_data=True))
    raw = response.content[int(response.headers["inference-header-content-length"]) :]
    assert raw == sized(*(text.encode() for text in output["data"]))
    for wrong in (0, -1, CLASSES + 1, 10**30):
        detail = check_error(infer(client, RED, **classification(wrong)), 422, "invalid_parameter")
        assert f"between 1 and {CLASSES}" in detail


def test_an_image_that_fails_fails_the_request_which_says_the_image(client: TestClient) -> None:
    assert "image 1 of 3: " in check_error(infer(client, RED, BROKEN, b"text"), 422, "undecodable_image")
    assert "image 1 of 2: " in check_error(infer(client, RED, b"text"), 415, "unsupported_image")
    assert "image 0" not in check_error(infer(client, b"text"), 415, "unsupported_image")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "picture"}, "image and pixels are the inputs"),
        ({"datatype": "FP32"}, "BYTES"),
        ({"shape": [2]}, "2 elements"),
        ({"shape": [0]}, "n at least 1"),
        ({"shape": [-1]}, "n at least 1"),
        ({"shape": []}, "[n] or [n, 1]"),
        ({"shape": [1, 2]}, "[n] or [n, 1]"),
        ({"shape": ["1"]}, "inputs.0.shape.0"),
        ({"shape": [1.5]}, "inputs.0.shape.0"),
        ({"data": [1]}, "base64"),
        ({"data": [["x"], "y"], "shape": [2]}, "not nested as its shape"),
        ({"data": None}, "binary_data_size"),
        ({"data": []}, "1 elements"),
        ({"data": ["x", "y"]}, "1 elements"),
        ({"parameters": {"binary_data_size": 3}}, "either data or"),
        ({"data": None, "parameters": {"binary_data_size": 3}}, "0 bytes follow the JSON"),
        ({"data": None, "parameters": {"binary_data_size": -1}}, "binary_data_size"),
        ({"data": None, "parameters": {"shared_memory_region": "x"}}, "shared memory is not supported"),
        ({"name": "pixels"}, "UINT8"),
        ({"name": "pixels", "datatype": "UINT8"}, f"[n, {SIDE}, {SIDE}, 3]"),
        ({"name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": [0]}, "1 values"),
        ({"name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": [256]}, "0 to 255"),
        ({"name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": [0.5]}, "0 to 255"),
        ({"name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": [float("nan")]}, "0 to 255"),
        ({"name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": ["x"]}, "0 to 255"),
    ],
)
def test_a_tensor_that_is_wrong_is_refused_with_what_is_right(
    client: TestClient, change: dict[str, Any], says: str
) -> None:
    body = files(RED)
    body["inputs"][0] |= change
    response = client.post(f"{MODEL}/infer", content=json.dumps(body))
    assert says in check_error(response, 400, "malformed_request")


def test_an_output_that_cannot_be_given_and_more_than_one_tensor_are_refused(client: TestClient) -> None:
    assert "probabilities" in check_error(infer(client, RED, outputs=[{"name": "logits"}]), 400, "malformed_request")
    shared = [{"name": "probabilities", "parameters": {"shared_memory_region": "x"}}]
    assert "shared memory is not" in check_error(infer(client, RED, outputs=shared), 400, "malformed_request")
    twice = files(RED)["inputs"] * 2
    assert "inputs" in check_error(infer(client, RED, inputs=twice), 400, "malformed_request")
    for outputs in ([{"name": "probabilities"}] * 2, [{"name": "probabilities"}] * 3):
        assert "outputs" in check_error(infer(client, RED, outputs=outputs), 400, "malformed_request")


def test_embeddings_are_an_output_that_is_answered_where_it_is_asked_for(launch: Launch) -> None:
    client = launch(mosaic_model())
    assert client.get(MODEL).json()["outputs"][1] == {"name": "embedding", "datatype": "FP32", "shape": [-1, 3]}
    expected = [client.post("/embed", content=image).json()["results"][0]["embedding"] for image in (RED, BLUE)]
    (output,) = infer(client, RED, BLUE, outputs=[{"name": "embedding"}]).json()["outputs"]
    assert (output["name"], output["shape"]) == ("embedding", [2, 3])
    np.testing.assert_allclose(np.reshape(output["data"], (2, 3)), expected, rtol=1e-6)
    assert [one["name"] for one in infer(client, RED).json()["outputs"]] == ["probabilities"]


def test_outputs_that_follow_the_json_lie_one_after_the_other(launch: Launch) -> None:
    client = launch(mosaic_model())
    outputs = [{"name": "embedding"}, {"name": "probabilities"}]
    response = infer(client, RED, BLUE, outputs=outputs, parameters={"binary_data_output": True})
    size = int(response.headers["Inference-Header-Content-Length"])
    values = np.frombuffer(response.content[size:], "<f4")
    plain = infer(client, RED, BLUE, outputs=outputs).json()["outputs"]
    np.testing.assert_array_equal(values, np.float32(plain[0]["data"] + plain[1]["data"]))


def test_a_model_without_features_has_no_embeddings_and_no_classification_is_made_of_one(launch: Launch) -> None:
    detail = check_error(infer(launch(), RED, outputs=[{"name": "embedding"}]), 400, "malformed_request")
    assert "outputs are probabilities" in detail
    wrong = [{"name": "embedding", "parameters": {"classification": 2}}]
    check_error(infer(launch(mosaic_model()), RED, outputs=wrong), 422, "invalid_parameter")


def test_a_body_that_is_no_request_is_refused(client: TestClient) -> None:
    for body in (b"{", b"[]", b"{}", b"\xff", b"[" * 10_000, b'{"inputs": []}'):
        check_error(client.post(f"{MODEL}/infer", content=body), 400, "malformed_request")
    said = "the body is empty; send the JSON of an inference request"
    assert check_error(client.post(f"{MODEL}/infer"), 400, "malformed_request") == said


def test_a_length_of_the_json_that_is_wrong_is_refused(client: TestClient) -> None:
    def ask(length: str) -> Any:
        headers = {"Inference-Header-Content-Length": length}
        return client.post(f"{MODEL}/infer", content=json.dumps(files(RED)), headers=headers)

    assert "the body has" in check_error(ask("99999999"), 400, "malformed_request")
    for short in ("0", "1"):
        check_error(ask(short), 400, "malformed_request")
    for wrong in ("-1", "x"):
        check_error(ask(wrong), 422, "invalid_parameter")


def test_a_compressed_body_is_refused_as_such(client: TestClient) -> None:
    response = client.post(f"{MODEL}/infer", content=b"x", headers={"Content-Encoding": "gzip"})
    assert "gzip" in check_error(response, 415, "unsupported_media_type")


def test_the_limits_of_a_request_are_those_of_predict(launch: Launch) -> None:
    client = launch(max_images=2, max_body_bytes=100_000)
    assert infer(client, RED, BLUE).status_code == 200
    assert "has 3 images or more, and 2 is" in check_error(infer(client, RED, BLUE, RED), 413, "too_many_images")
    tensor = {"name": "image", "datatype": "BYTES", "shape": [10**4000]}
    assert "has 3 images or more, and 2 is" in check_error(binary(client, tensor, sized(RED)), 413, "too_many_images")
    check_error(client.post(f"{MODEL}/infer", content=b"x" * 100_001), 413, "body_too_large")
    values = files(RED) | {"padding": [0] * (2 * SIDE * SIDE * 3 + 2000)}
    assert "values" in check_error(client.post(f"{MODEL}/infer", json=values), 413, "body_too_large")


def test_a_request_has_the_deadline_that_it_asks_for(launch: Launch) -> None:
    client = launch(slow_model(0.3), max_batch_size=1)
    headers = {"X-Request-Timeout-Ms": "50"}
    check_error(client.post(f"{MODEL}/infer", json=files(RED), headers=headers), 504, "deadline_exceeded")
    headers = {"X-Request-Timeout-Ms": "60000"}
    check_error(client.post(f"{MODEL}/infer", json=files(RED), headers=headers), 422, "invalid_parameter")


def test_a_deadline_counts_from_the_head_of_the_request(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Requests.begin

    def an_hour_ago(self: Requests, *request: Any) -> Trace:
        current = begin(self, *request)
        current.started -= 3600
        return current

    monkeypatch.setattr(Requests, "begin", an_hour_ago)
    check_error(infer(client, RED), 504, "deadline_exceeded")


def test_a_full_queue_refuses_before_the_body_is_read_with_when_to_come_again(launch: Launch) -> None:
    engine = HeldEngine()
    client = launch(replace(colour_model(), engine=engine), max_queue=1, max_images=1)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(infer, client, solid(COLOURS["black"]))
        while not samples(client)["mobilenet_queue_images",]:
            assert not answer.done()
        response = client.post(f"{MODEL}/infer", content=b"no request")
        check_error(response, 429, "queue_full")
        assert response.headers["retry-after"] == "1"
        engine.released.set()
        assert answer.result().status_code == 200


@pytest.mark.parametrize(
    "error",
    [
        QueueFull("no room", {"Retry-After": "3"}, {"queue_depth": 7, "estimated_wait_ms": 2500}),
        Draining("the service is stopping", {"Retry-After": "1"}),
    ],
)
@pytest.mark.parametrize("images", [1, 2])
def test_who_is_refused_late_is_told_when_to_come_again_too(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, error: ServiceError, images: int
) -> None:
    async def image_refused(_: Classifier, payloads: Sequence[Any], *__: object) -> list[ServiceError]:
        return [error] * len(payloads)

    async def all_refused(*_: object) -> None:
        raise error

    for classify in (image_refused, all_refused):
        monkeypatch.setattr(Classifier, "classify", classify)
        response = infer(client, *[RED] * images)
        check_error(response, error.status, error.code)
        assert response.headers["retry-after"] == error.headers["Retry-After"]
        assert response.json().items() >= error.facts.items()


def test_a_model_that_hangs_is_neither_live_nor_ready(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    client = launch()
    monkeypatch.setattr(Classifier, "fault", "the model hangs")
    for path in ("/v2/health/live", "/v2/health/ready", f"{MODEL}/ready", f"{VERSION}/ready"):
        assert check_error(client.get(path), 503, "unavailable") == "the model hangs"


def test_where_keys_are_set_they_are_needed_but_by_probes(launch: Launch) -> None:
    client = launch(api_keys=("secret",))
    for response in (client.get("/v2"), client.get(MODEL), infer(client, RED)):
        check_error(response, 401, "unauthorized")
    for path in ("/v2/health/live", "/v2/health/ready", f"{MODEL}/ready"):
        assert client.get(path).status_code == 200
    client.headers["X-API-Key"] = "secret"
    assert infer(client, RED).status_code == 200


def test_before_the_model_is_loaded_the_process_is_live_and_nothing_is_ready() -> None:
    import threading

    loading = threading.Event()

    def opening(settings: Settings) -> Any:
        loading.wait(10)
        return serving(colour_model())(settings)

    with TestClient(create_app(Settings(), opening)) as client:
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2").status_code == 200
        for path in ("/v2/health/ready", MODEL, f"{MODEL}/ready"):
            check_error(client.get(path), 503, "starting")
        check_error(infer(client, RED), 503, "starting")
        loading.set()


def test_inferences_are_counted_by_the_template_of_their_route_and_logged(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="app.access"):
        response = infer(client, RED, BLUE)
    assert [part.split(";")[0] for part in response.headers["server-timing"].split(", ")][:3] == [
        "decode",
        "queue",
        "inference",
    ]
    (record,) = (record for record in caplog.records if record.name == "app.access")
    assert record.__dict__["facts"].items() >= {"status": 200, "images": 2, "failed": 0}.items()
    client.get("/v2/models/1")
    counted = samples(client)
    assert counted["mobilenet_requests_total", "/v2/models/{name}/infer", "200"] == 1
    assert counted["mobilenet_requests_total", "/v2/models/{name}", "404"] == 1
