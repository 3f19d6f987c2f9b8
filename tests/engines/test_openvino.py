"""What is OpenVINO's own: it does not survive a fork, and it changes a precision that the processor does not have.

What it answers is compared with the other engines in `test_engines`.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from app import machine
from app.engines.base import patterns
from app.engines.bundle import BUNDLED
from app.engines.litert import LiteRTEngine
from app.errors import StartError
from app.machine import instructions
from tests.support import needs

pytestmark = needs.OPENVINO.mark()

MODEL = BUNDLED.compiled(0.25, "int8")
"""Its answers are right only where the processor has instructions for int8, and the same everywhere here."""

if needs.OPENVINO.met:
    from app.engines.openvino import OpenVINOEngine, _check_arithmetic


@pytest.fixture(scope="module")
def engine() -> "OpenVINOEngine":
    return OpenVINOEngine(MODEL, 1)


def test_importing_it_starts_no_thread_and_tells_nobody() -> None:
    code = """
import os, sys
import numpy
threads = len(os.listdir("/proc/self/task"))
import app.engines.openvino
print(len(os.listdir("/proc/self/task")) - threads, [name for name in sys.modules if "telemetry" in name])
"""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "[]"]


def test_an_engine_comes_through_a_pickle_and_answers_the_same(engine: "OpenVINOEngine", tmp_path: Path) -> None:
    images = list(patterns(3, 128))
    expected = engine.predict(images).probabilities
    for copy in (pickle.loads(pickle.dumps(engine)), engine.with_threads(2), engine.with_threads(2).with_threads(1)):
        again = pickle.loads(pickle.dumps(copy))
        np.testing.assert_allclose(copy.predict(images).probabilities, expected, atol=1e-6)
        np.testing.assert_allclose(again.predict(images).probabilities, expected, atol=1e-6)
        twice = pickle.loads(pickle.dumps(again))
        np.testing.assert_allclose(twice.predict(images).probabilities, expected, atol=1e-6)
        (small,) = patterns(1, 64)
        np.testing.assert_allclose(
            twice.predict([small]).probabilities, OpenVINOEngine(MODEL, 1).predict([small]).probabilities, atol=1e-6
        )


def test_a_signal_is_heard_after_engines_have_come_and_gone() -> None:
    code = f"""
import os, signal
from pathlib import Path
from app.engines.base import patterns
from app.engines.openvino import OpenVINOEngine

def answer():
    engine = OpenVINOEngine(Path({str(MODEL)!r}), 1)
    for side in (64, 96):
        engine.predict(list(patterns(1, side)))

answer()
signal.signal(signal.SIGHUP, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGHUP)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n")


@pytest.mark.parametrize("threads", [1, 2])
def test_it_runs_as_it_was_told_and_not_as_the_processor_suggests(threads: int) -> None:
    engine = OpenVINOEngine(MODEL, threads)
    for one in (engine, engine.with_threads(threads)):
        one.predict(list(patterns(1, 64)))
        assert one._opened is not None
        names = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "ENABLE_CPU_PINNING", "INFERENCE_PRECISION_HINT")
        found = [one._opened.compiled.get_property(name) for name in names]
        assert found[:3] == [threads, 1, False]
        assert found[3].to_string() == "f32"


def test_a_precision_that_openvino_replaced_without_a_word_is_refused(engine: "OpenVINOEngine") -> None:
    engine.predict(list(patterns(1, 64)))
    assert engine._opened is not None
    _check_arithmetic(engine._opened.compiled, "float32")
    with pytest.raises(StartError, match=r"^MOBILENET_PRECISION=bfloat16: this processor \(.+\) has no instructions"):
        _check_arithmetic(engine._opened.compiled, "bfloat16")


def test_bfloat16_is_what_is_computed_in_where_the_processor_can() -> None:
    if not instructions() & {"avx512_bf16", "amx_bf16"}:
        with pytest.raises(StartError, match=r"\(AVX512-BF16 or AMX\).*; set MOBILENET_PRECISION=float32$"):
            OpenVINOEngine(MODEL, 1, "bfloat16")
        return
    engine = OpenVINOEngine(MODEL, 1, "bfloat16")
    engine.predict(list(patterns(1, 64)))
    assert engine._opened is not None
    assert engine._opened.compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "bf16"


@pytest.mark.parametrize(
    ("flags", "allowed"), [("avx2 fma", False), ("avx2 avx_vnni", True), ("avx512f avx512_vnni", True), ("", False)]
)
def test_int8_needs_instructions_without_which_its_sums_overflow(
    flags: str, allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    monkeypatch.setattr(machine, "CPUS", tmp_path / "cpuinfo")
    if allowed:
        assert OpenVINOEngine(MODEL, 1, "int8").precision == "int8"
        return
    with pytest.raises(StartError, match=r"\(VNNI or AMX\).* MOBILENET_PRECISION=float32, or MOBILENET_ENGINE=litert$"):
        OpenVINOEngine(MODEL, 1, "int8")


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100])
def test_a_file_that_is_no_compiled_model_says_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(StartError, match=r"model.tflite is not a compiled model"):
        OpenVINOEngine(tmp_path / "model.tflite", 1)


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=rf"^cannot read {tmp_path}: Is a directory$"):
        OpenVINOEngine(tmp_path, 1)


def test_a_temporary_folder_that_cannot_be_written_is_named_and_not_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    says = rf"^cannot write temporary files in {tmp_path / 'gone'}: No such file or directory; set TMPDIR to"
    with pytest.raises(StartError, match=says):
        OpenVINOEngine(MODEL, 1)


def test_an_engine_runs_what_was_loaded_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    copy = tmp_path / "model.tflite"
    copy.write_bytes(MODEL.read_bytes())
    engine = OpenVINOEngine(copy, 1)
    copy.write_bytes(b"another model")
    np.testing.assert_array_equal(engine.head.kernel, LiteRTEngine(MODEL, 1, "int8").head.kernel)
    for side in (64, 96):
        assert engine.predict(list(patterns(2, side))).probabilities.shape == (2, engine.classes)
