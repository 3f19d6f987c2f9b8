"""The spans of requests and of batches, in memory."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.main import open_spans
from app.model.model import Model
from app.prediction.result import Classification
from app.prediction.run import Run
from tests.support import needs
from tests.support.client import Launch, launching, samples
from tests.support.data import solid
from tests.support.fakes import COLOURS, Clock, ColourEngine, HeldEngine, colour_model

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason=needs.OPENTELEMETRY.reason)

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from app.observability.spans import Spans

RED, BLACK = solid(COLOURS["red"]), solid(COLOURS["black"])
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = f"{PARENT[:-2]}00"
STAGES = {"queue", "decode", "inference"}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def provider_of(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@pytest.fixture
def launch(exporter: InMemorySpanExporter) -> Iterator[Launch]:
    spans = Spans(provider_of(exporter))
    with launching() as launch:

        def start(model: Model | None = None, **settings: Any) -> TestClient:
            client = launch(model, spans, **settings)
            exporter.clear()
            return client

        yield start


@pytest.fixture
def client(launch: Launch) -> TestClient:
    return launch()


def named(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (span,) = [span for span in exporter.get_finished_spans() if span.name == name]
    return span


def identity(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def test_a_request_goes_on_with_the_trace_of_its_caller_and_says_its_own_place(
    client: TestClient, exporter: InMemorySpanExporter
) -> None:
    response = client.post("/predict", content=RED, headers={"traceparent": PARENT, "X-Request-ID": "abc"})
    span = named(exporter, "POST /predict")
    assert span.parent is not None
    assert f"00-{span.parent.trace_id:032x}-{span.parent.span_id:016x}-01" == PARENT
    trace, own = identity(span)
    assert response.headers["traceparent"] == f"00-{trace:032x}-{own:016x}-01"
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/predict",
        "url.path": "/predict",
        "mobilenet.request_id": "abc",
        "mobilenet.variant": "0.25/64",
    }


@pytest.mark.parametrize(
    "given", ["", "00-0-0-01", "x" * 1000, "00-00000000000000000000000000000000-00f067aa0ba902b7-01"]
)
def test_who_comes_without_a_sane_trace_begins_one(
    given: str, client: TestClient, exporter: InMemorySpanExporter
) -> None:
    response = client.get("/labels", headers={"traceparent": given})
    span = named(exporter, "GET /labels")
    assert span.parent is None
    assert f"{identity(span)[0]:032x}" in response.headers["traceparent"]


def test_every_image_has_its_stages_in_order_within_the_request(
    client: TestClient, exporter: InMemorySpanExporter
) -> None:
    images = [RED, b"text", RED]
    client.post("/predict", json={"images": [base64.b64encode(image).decode() for image in images]})
    request = named(exporter, "POST /predict")
    stages = [span for span in exporter.get_finished_spans() if span.name in STAGES]
    assert len(stages) == 6
    for image in (0, 1):
        spans = {span.name: span for span in stages if (span.attributes or {})["mobilenet.image"] == image}
        assert all(span.parent and span.parent.span_id == identity(request)[1] for span in spans.values())
        ends = [
            time for name in ("queue", "decode", "inference") for time in (spans[name].start_time, spans[name].end_time)
        ]
        times = [time or 0 for time in (request.start_time, *ends, request.end_time)]
        assert all(later - earlier > -1000 for earlier, later in pairwise(times)), times  # but for rounding


class Interrupted(Clock):
    """The clocks of a process that is kept from running for a second before it is told the time."""

    def monotonic_ns(self) -> int:
        """Return the time of the one clock."""
        self.now_s += 1
        return round(1e9 * self.now_s)

    def time_ns(self) -> int:
        """Return the time of the other."""
        return 10**18 + self.monotonic_ns()


def test_the_spans_of_stages_are_as_long_and_as_far_apart_as_the_stages_were(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Interrupted()
    monkeypatch.setattr("app.observability.spans.time", clock)
    span = Spans(provider_of(exporter)).begin({})
    now = clock.now_s
    began = (now, now + 3, now + 7)
    image = Classification(colour_model(), np.ones(6, np.float32), 0.0, 2000, 3000, 500, 1, "PNG", began)
    clock.now_s += 7.5
    said = {"http.request.method": "POST", "http.route": "/predict", "http.response.status_code": 200}
    span.end(said, [image])
    start = named(exporter, "POST /predict").start_time or 0
    expected = {"queue": (0, 3), "decode": (3, 5), "inference": (7, 7.5), "POST /predict": (0, 8.5)}
    for name, times in expected.items():
        found = named(exporter, name)
        assert [(at or 0) - start for at in (found.start_time, found.end_time)] == [1e9 * at for at in times], name


def test_a_batch_is_linked_to_the_requests_whose_images_ran_in_it(
    launch: Launch, exporter: InMemorySpanExporter
) -> None:
    engine = HeldEngine()
    client = launch(replace(colour_model(), engine=engine), max_batch_size=3)
    with ThreadPoolExecutor(3) as threads:
        for images in ([BLACK], [RED], [RED, RED]):  # the others are queued while the first one runs
            before = samples(client)["mobilenet_queue_images",]
            body = {"images": [base64.b64encode(image).decode() for image in images]}
            answer = threads.submit(client.post, "/predict", json=body)
            while samples(client)["mobilenet_queue_images",] == before:
                assert not answer.done()
        engine.released.set()
    spans = exporter.get_finished_spans()
    requests = [identity(span) for span in spans if span.name == "POST /predict"]
    alone, together = [span for span in spans if span.name == "batch"]
    links = [[(link.context.trace_id, link.context.span_id) for link in span.links] for span in (alone, together)]
    assert (len(links[0]), len(links[1])) == (1, 2)
    assert sorted(links[0] + links[1]) == sorted(requests)
    assert dict(together.attributes or {}) == {"mobilenet.batch_size": 3, "mobilenet.variants": ("0.25/64",)}


def test_a_batch_is_recorded_where_any_of_its_requests_is(exporter: InMemorySpanExporter) -> None:
    spans = Spans(provider_of(exporter))
    unsampled, sampled = (spans.begin({"traceparent": caller}) for caller in (UNSAMPLED, PARENT))
    spans.ran(Run({colour_model(): 3}, 1.0, 2.0, [unsampled, sampled, None]))
    batch = named(exporter, "batch")
    assert batch.parent == sampled.context
    assert [link.context for link in batch.links] == [batch.parent]
    assert (batch.end_time or 0) - (batch.start_time or 0) == pytest.approx(1e9, rel=0.01)


def test_a_failure_of_ours_is_an_error_and_a_callers_is_none(launch: Launch, exporter: InMemorySpanExporter) -> None:
    class Broken(ColourEngine):
        """Raises on dark images."""

        def predict(self, images: Any) -> Any:
            """Answer, or raise."""
            if any(image.max() < 10 for image in images):
                raise RuntimeError
            return super().predict(images)

    model = colour_model()
    client = launch(Model(Broken(), model.variant, model.labels, "broken", "0" * 64, published=False))
    for image, status, code in ((b"text", 415, StatusCode.UNSET), (BLACK, 500, StatusCode.ERROR)):
        exporter.clear()
        assert client.post("/predict", content=image).status_code == status
        assert named(exporter, "POST /predict").status.status_code is code


def test_what_a_caller_does_not_sample_is_not_recorded_and_still_named(
    client: TestClient, exporter: InMemorySpanExporter
) -> None:
    response = client.post("/predict", content=RED, headers={"traceparent": UNSAMPLED})
    assert response.headers["traceparent"].startswith(UNSAMPLED[:36])
    assert response.headers["traceparent"].endswith("-00")
    assert exporter.get_finished_spans() == ()


def test_a_log_line_names_the_trace(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="app.access"):
        client.get("/labels", headers={"traceparent": PARENT})
    (record,) = [record for record in caplog.records if record.name == "app.access"]
    assert record.__dict__["facts"]["trace_id"] == PARENT[3:35]


def test_a_malformed_tracestate_of_a_caller_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    span = Spans(TracerProvider()).begin({"traceparent": PARENT, "tracestate": "secret value, other"})
    assert span.trace_id == PARENT.split("-")[1]
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100000"), ("OTEL_ATTRIBUTE_COUNT_LIMIT", "x")]
)
def test_a_wrong_variable_of_opentelemetry_is_one_line_of_the_log_and_the_service_goes_on_without_spans(
    name: str, value: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv(name, value)
    assert open_spans() is None
    (record,) = [record for record in caplog.records if record.name == "app.main"]
    assert record.getMessage().startswith("a variable of OpenTelemetry is wrong, and there are no spans: ")
    assert "\n" not in record.getMessage()
