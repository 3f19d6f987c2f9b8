"""What `/metrics` says adds up, is named as Prometheus recommends, and is what `docs/operations.md` lists."""

import base64
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app.observability import metrics
from app.observability.trace import Requests
from app.prediction.result import Classification
from tests.documents.test_docs import rows
from tests.support import needs
from tests.support.client import launching, parsed, samples
from tests.support.data import REPOSITORY, solid
from tests.support.fakes import COLOURS, colour_model, familiarity

Samples = dict[tuple[str, ...], float]

RED = solid(COLOURS["red"])
VARIANT = "0.25/64"
IMAGES = {"PNG": 4, "GIF": 1, "tensor": 1}
FAILED = {"unsupported_image": 2, "empty_image": 1}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A service that had known traffic: six images classified and three that failed."""
    with launching() as launch:
        client = launch(replace(colour_model(), familiarity=familiarity(-9, 0)))
        for _ in range(3):
            client.post("/predict", content=RED)
        several = [RED, b"text", solid(COLOURS["blue"], "GIF"), b""]
        client.post("/predict", json={"images": [base64.b64encode(image).decode() for image in several]})
        pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 64, 64, 3], "data": [200] * 64 * 64 * 3}
        client.post("/v2/models/mobilenet/infer", json={"inputs": [pixels]})
        client.post("/predict", content=b"text")
        client.get("/nowhere/1")
        client.get("/nowhere/2")
        yield client


@pytest.fixture(scope="module")
def found(client: TestClient) -> Samples:
    return samples(client)


def of(found: Samples, name: str) -> Samples:
    """Return the samples of this name by the values of their labels, in the order of the labels' names."""
    return {labels: value for (other, *rest), value in found.items() if other == name for labels in [tuple(rest)]}


def test_requests_are_counted_by_route_and_status(found: Samples) -> None:
    requests = of(found, "mobilenet_requests_total")
    assert requests["/predict", "200"] == 4
    assert requests["/predict", "415"] == 1
    assert requests["other", "404"] == 2
    assert of(found, "mobilenet_rejected_total")["unsupported_image",] == 1
    assert of(found, "mobilenet_dropped_total") == {("departed",): 0, ("deadline",): 0}


def test_images_are_counted_by_format_and_those_that_failed_by_reason(found: Samples) -> None:
    assert of(found, "mobilenet_images_total") == {(kind, VARIANT): count for kind, count in IMAGES.items()}
    assert of(found, "mobilenet_images_failed_total") == {(code, VARIANT): count for code, count in FAILED.items()}


def test_every_image_has_its_stages_and_every_request_that_was_not_refused_its_time(found: Samples) -> None:
    stages = of(found, "mobilenet_stage_duration_seconds_count")
    assert stages == {(stage, VARIANT): 6 for stage in ("decode", "queue", "inference")}
    took = of(found, "mobilenet_request_duration_seconds_count")
    assert (took["/predict", VARIANT], took["other", ""]) == (4, 2)
    parts = of(found, "mobilenet_stage_duration_seconds_sum")
    whole = of(found, "mobilenet_request_duration_seconds_sum")["/predict", VARIANT]
    assert 0 < parts["decode", VARIANT] + parts["inference", VARIANT] < 6 * whole


def test_how_familiar_images_are_is_counted_where_it_is_known() -> None:
    own = metrics.Metrics()
    known = replace(colour_model(), familiarity=familiarity(0, 1))
    row, times = np.ones(6, np.float32), (0.0, 0.0, 0.0)
    for model, energy in ((known, 0.04), (known, 0.05), (known, 0.5), (known, 2), (colour_model(), 0.5)):
        own.images.settled(Classification(model, row, energy, 1, 1, 1, 1, "PNG", times), VARIANT)
    found = of(parsed(own.render().decode()), "mobilenet_familiarity_bucket")
    shares = {bound: found[bound, VARIANT] for bound in ("0.01", "0.05", "0.1", "0.5", "1.0", "+Inf")}
    assert shares == {"0.01": 0, "0.05": 2, "0.1": 2, "0.5": 3, "1.0": 4, "+Inf": 4}


def test_durations_are_seconds_each_under_its_own_stage() -> None:
    own = metrics.Metrics()
    model = colour_model()
    row = np.ones(6, np.float32)
    own.images.settled(Classification(model, row, 0.0, 250, 500, 1250, 1, "PNG", (0.0, 0.0, 0.0)), VARIANT)
    requests = Requests(own)
    current = requests.begin({}, None)
    current.started -= 60
    requests.end(current, 200, method="GET", path="/labels", route="/labels")
    found = parsed(own.render().decode())
    stages = of(found, "mobilenet_stage_duration_seconds_sum")
    assert stages == {("decode", VARIANT): 0.25, ("queue", VARIANT): 0.5, ("inference", VARIANT): 1.25}
    assert found["mobilenet_request_duration_seconds_sum", "/labels", ""] == pytest.approx(60, abs=5)


def test_the_batches_and_the_macs_are_those_of_the_images(found: Samples) -> None:
    assert of(found, "mobilenet_batch_images_sum") == {(VARIANT,): 6}
    assert 5 <= found["mobilenet_batch_images_count", VARIANT] <= 6
    assert found["mobilenet_macs_total", VARIANT] == 6 * colour_model().cost.macs


def test_what_is_under_way_is_counted_while_it_is(found: Samples) -> None:
    assert found["mobilenet_queue_images",] == 0
    assert found["mobilenet_requests_in_flight",] == 1  # the one that reads this


def test_what_serves_and_what_is_served_is_in_labels(found: Samples) -> None:
    assert of(found, "mobilenet_model_info") == {("colour", "float32", VARIANT, "colours", "0" * 64): 1}
    assert len(of(found, "mobilenet_build_info")) == 1


def test_the_documents_have_every_metric_with_its_type_its_labels_and_what_it_means(client: TestClient) -> None:
    degrading = metrics.Metrics()
    degrading.degraded("0.5/160", "0.25/64")
    labels: dict[tuple[str, str, str], dict[str, None]] = {}
    for text in (client.get("/metrics").text, degrading.render().decode()):
        for family in text_string_to_metric_families(text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            seen = labels.setdefault((f"`{name}`", family.type, family.documentation), {})
            seen |= {label: None for sample in family.samples for label in sample.labels if label != "le"}
    expected = {
        (name, kind, ", ".join(f"`{label}`" for label in seen), what) for (name, kind, what), seen in labels.items()
    }
    table = rows((REPOSITORY / "docs" / "operations.md").read_text(), "Metrics")
    assert set(table) == expected
    assert len(table) == len(expected)


@needs.PROMETHEUS.mark()
def test_the_names_are_as_prometheus_recommends(client: TestClient) -> None:
    text = client.get("/metrics").content
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
