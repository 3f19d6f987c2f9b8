"""What the real process tells those who run it: metrics of all workers, to a real Prometheus, spans, log lines."""

import base64
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support import needs
from tests.support.data import RED, REPOSITORY
from tests.support.processes import PATIENCE_S, Process, Serve, answers, free_port, half_sent, wait_for

pytestmark = pytest.mark.tensorflow

MONITORING = REPOSITORY / "deploy" / "monitoring"


def scrape(process: Process) -> dict[str, float]:
    """Return the sums of `/metrics` by name, over all labels; on a connection of its own, so by any of the workers."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(httpx.get(f"{process.url}/metrics", timeout=60).text):
        for sample in family.samples:
            if sample.labels.get("route", "/predict") == "/predict":
                sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums


def test_every_worker_tells_the_sum_of_all_and_what_a_killed_one_counted_stays(
    serve: Serve, own: dict[str, object]
) -> None:
    process = serve(**own, HTTP_WORKERS=2)
    for _ in range(20):
        assert httpx.post(f"{process.url}/predict", content=RED).status_code == 200
    counted = {
        "mobilenet_requests_total": 20,
        "mobilenet_images_total": 20,
        "mobilenet_request_duration_seconds_count": 20,
        "mobilenet_stage_duration_seconds_count": 60,
        "mobilenet_batch_images_sum": 20,
    }

    def sums() -> dict[str, float]:
        found = scrape(process)
        return {name: found[name] for name in counted}

    wait_for(lambda: sums() == counted)  # a request is counted when its answer has been sent
    for _ in range(20):
        assert sums() == counted
    under_way = [half_sent(process.url, RED) for _ in range(4)]
    wait_for(lambda: scrape(process)["mobilenet_requests_in_flight"] == 5)
    first = process.children()
    for killed in first:
        with suppress(ProcessLookupError):  # on a machine that is too busy uvicorn replaces one that lives
            os.kill(killed, signal.SIGKILL)
        wait_for(lambda: killed not in process.children() and len(process.children()) == 2)  # noqa: B023
    assert not set(first) & set(process.children())
    wait_for(lambda: scrape(process)["mobilenet_requests_in_flight"] == 1)
    assert sums() == counted
    assert scrape(process)["mobilenet_model_info"] == 1
    for connection in under_way:
        connection.close()
    assert process.stop() == 0
    assert not list(Path("/dev/shm").glob(f"mobilenet-metrics-{process.popen.pid}-*"))


@pytest.fixture
def prometheus(server: Process, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that asks a real Prometheus, which scrapes the service and has the alerts of `deploy/`."""
    needs.PROMETHEUS.check()
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / "alerts.yml")]
    config["scrape_configs"][0].pop("dns_sd_configs")
    config["scrape_configs"][0]["static_configs"] = [{"targets": [server.url.removeprefix("http://")]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "log").open("wb") as log:
        popen = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)

    def ask(path: str, **params: str) -> Any:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=params).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    # It opens its port, and says 503 there, before it has read its storage.
    wait_for(lambda: answers(f"http://127.0.0.1:{port}/-/ready"))
    yield ask
    popen.terminate()
    popen.wait(PATIENCE_S)


@pytest.fixture
def server(serve: Serve) -> Process:
    """Serve two variants, so that there is something to degrade to."""
    return serve(PRECISION="int8", VARIANTS="0.25/128")


def test_a_real_prometheus_reads_it_and_can_answer_what_dashboard_and_alerts_ask(
    server: Process, prometheus: Callable[..., Any]
) -> None:
    def value(query: str) -> float:
        found = prometheus("query", query=query)
        return float(found["result"][0]["value"][1]) if found.get("result") else -1

    before = scrape(server).get("mobilenet_images_total", 0)
    for _ in range(5):
        httpx.post(f"{server.url}/predict", content=RED)
    wait_for(lambda: value("sum(mobilenet_images_total)") == before + 5)
    for _ in range(4):  # a rate is that of several scrapes
        httpx.post(f"{server.url}/predict", content=RED)
        httpx.post(f"{server.url}/predict", content=b"text")
        time.sleep(1)
    dashboard = json.loads((MONITORING / "grafana" / "dashboards" / "mobilenet.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for query in (query.replace("$__rate_interval", "1m") for query in asked):
        assert prometheus("query", query=query)["result"], query
    (group,) = prometheus("rules")["groups"]
    wait_for(lambda: all(rule["health"] == "ok" for rule in prometheus("rules")["groups"][0]["rules"]))
    assert {rule["state"] for rule in group["rules"]} == {"inactive"}, group


class Receiver(ThreadingHTTPServer):
    """Receives spans by OTLP over HTTP and keeps them, with the resource that they are of."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), Received)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Received(BaseHTTPRequestHandler):
    """One export."""

    server: Receiver

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        assert self.path == "/v1/traces"
        export = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in export.resource_spans:
            facts = {fact.key: fact.value.string_value for fact in resource.resource.attributes}
            self.server.resources.append(facts)
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_receiver_of_otlp_gets_the_spans_of_every_worker_the_last_ones_too(
    serve: Serve, own: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs.OPENTELEMETRY.check()
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.server_port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")  # so that all are sent at the end
        process = serve(**own, HTTP_WORKERS=2)
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        for query in ["", "?top_k=1"] * 5:  # straight to the classifier, and through the application
            headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
            answer = httpx.post(f"{process.url}/predict{query}", content=RED, headers=headers)
            assert answer.headers["traceparent"].startswith(f"00-{trace}-")
        assert process.stop() == 0
        receiver.shutdown()
    spans = [span for span in receiver.spans if span.trace_id.hex() == trace]
    names = [span.name for span in spans]
    assert {name: names.count(name) for name in names} == dict.fromkeys(
        ("POST /predict", "queue", "decode", "inference", "batch"), 10
    )
    requests = {span.span_id for span in spans if span.name == "POST /predict"}
    assert {link.span_id for span in spans if span.name == "batch" for link in span.links} == requests
    assert {span.parent_span_id for span in spans if span.name == "decode"} == requests
    assert all(span.start_time_unix_nano < span.end_time_unix_nano for span in spans)
    assert {facts["service.name"] for facts in receiver.resources} == {"mobilenet"}


def test_a_receiver_that_never_answers_keeps_nobody_waiting(
    serve: Serve, own: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs.OPENTELEMETRY.check()
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
        process = serve(**own)
        for _ in range(20):
            assert httpx.post(f"{process.url}/predict", content=RED).status_code == 200
        assert process.stop() == 0


KEY = "a-key-that-nobody-may-read"


def test_a_json_line_a_request_says_what_happened_and_never_a_key_or_a_byte_of_an_image(
    serve: Serve, own: dict[str, object]
) -> None:
    process = serve(**own, LOG_FORMAT="json", LOG_LEVEL="debug", API_KEYS=KEY)
    marked = RED + b"bytes-of-an-image"  # what is behind the end of a PNG is not looked at
    text = base64.b64encode(marked).decode()
    with httpx.Client(base_url=process.url, headers={"X-API-Key": KEY, "X-Request-ID": "mine"}) as client:
        client.post("/predict", content=marked)
        client.post("/predict", json={"images": [text, "bytes-of-no-image"]})
        client.post("/predict", files={"image": ("name.png", marked, "image/png")})
        client.post("/predict", content=b"bytes-of-no-image", headers={"X-Request-ID": "not sane"})
        client.get("/labels", headers={"X-API-Key": f"wrong-{KEY}"})
        client.get("/labels", headers={"X-API-Key": "", "Authorization": f"Bearer {KEY}"})
    assert process.stop() == 0
    log = process.log.read_text()
    for secret in (KEY, "bytes-of", text[:24], text[-24:], repr(RED[:8])[2:-1]):
        assert secret not in log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    requests = [line for line in lines if line["logger"] == "app.access" and "readyz" not in line["message"]]
    assert [line["status"] for line in requests] == [200, 200, 200, 415, 401, 200]
    first, several, _, wrong, *_ = requests
    assert first["message"] == "POST '/predict'"
    assert (first["request_id"], first["variant"], first["images"], first["batch_size"]) == ("mine", "0.25/64", 1, 1)
    assert first["total_ms"] >= first["decode_ms"] + first["queue_ms"] + first["inference_ms"] > 0
    assert (several["images"], several["failed"]) == (2, 1)
    assert re.fullmatch("[0-9a-f]{32}", wrong["request_id"])
    assert wrong["code"] == "unsupported_image"
