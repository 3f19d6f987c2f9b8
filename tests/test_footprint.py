"""What a service takes of the memory is added up from its processes and models."""

from app.config import Settings
from app.footprint import MB, OPENVINO_BYTES, PROCESS_BYTES, TEMPLATE_BYTES, WORKER_BYTES, needed_bytes
from app.mobilenet.variants import Variant

TWO = Settings(model_workers=2)


def test_processes_and_models_are_added_up() -> None:
    one, workers = needed_bytes(TWO), 3  # another for what is decoded beside the batches
    processes = PROCESS_BYTES + TEMPLATE_BYTES + workers * WORKER_BYTES
    assert processes < one < processes + 20 * MB
    assert needed_bytes(TWO.model_copy(update={"http_workers": 3})) == 3 * one
    assert needed_bytes(TWO.model_copy(update={"variants": (Variant(1, 224),)})) > one + 30 * MB
    assert needed_bytes(TWO.model_copy(update={"engine": "tensorflow"})) > one + 100 * MB
    assert needed_bytes(TWO.model_copy(update={"grpc_port": 0})) > one + 15 * MB


def test_with_openvino_each_process_that_runs_it_has_the_models_of_its_own() -> None:
    two = TWO.model_copy(update={"engine": "openvino"})
    assert needed_bytes(two) > needed_bytes(TWO) + 3 * OPENVINO_BYTES
    more = {workers: needed_bytes(two.model_copy(update={"model_workers": workers})) for workers in (0, 1, 2, 3)}
    assert more[3] - more[2] == more[2] - more[1] > WORKER_BYTES + OPENVINO_BYTES
    each = more[2] - more[1]
    assert more[0] == more[1] - each - WORKER_BYTES, "without workers the only process of the models is the HTTP one's"


def test_with_tensorflow_there_are_no_workers() -> None:
    one, many = (Settings(engine="tensorflow", model_workers=workers) for workers in (1, 16))
    assert needed_bytes(one) == needed_bytes(many)
