"""The engine of OpenVINO, with Intel's kernels, which compute in bfloat16 too where the processor can."""

import sys
from collections.abc import Sequence
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# `import openvino` imports a converter, too, which tells its maker of the import over the internet, and leaves a thread
# behind. OpenVINO does without it where it cannot be imported.
sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402

from app.engines.base import Features, Head, Pixels, Predictions  # noqa: E402
from app.engines.files import content, temporary_folder  # noqa: E402
from app.engines.tflite.interface import predictions  # noqa: E402
from app.errors import StartError  # noqa: E402
from app.machine import instructions  # noqa: E402
from app.mobilenet.variants import Precision  # noqa: E402

DEVICE = "CPU"
ARITHMETIC = {"float32": ov.Type.f32, "int8": ov.Type.f32, "bfloat16": ov.Type.bf16}
"""What is computed in, apart from the layers that are quantised in the file."""
INT8 = {"avx512_vnni", "avx_vnni", "amx_int8"}
"""Instructions that add products of 8-bit integers in 32 bits."""
Shape = tuple[int, ...]


class _Opened(NamedTuple):
    """A model that is ready for images of one shape."""

    shape: Shape
    compiled: Any
    request: Any
    outputs: list[Any]


class OpenVINOEngine:
    """One OpenVINO request for a compiled model, which runs the images of a batch one after the other.

    It reads the same `.tflite` files as LiteRT and gives the same answers. Each resolution is compiled when its first
    image comes, which takes tenths of a second; the last one is kept.

    OpenVINO has threads of its own, which do not survive a fork. So an engine that has run must not be forked. It is
    pickled instead: whoever unpickles it has the model as it was compiled, and opens it at the first image, without
    compiling again (docs/decisions/0031).
    """

    name = "openvino"

    def __init__(self, model: Path, threads: int, precision: Precision = "float32") -> None:
        """Read a model that this project compiled; `bfloat16` is computed from one in float32.

        Raises `StartError` if the file cannot be read or is not a compiled model, if there is no room for a temporary
        file, or if this processor does not have the precision.
        """
        _check_processor(precision)
        self.precision = precision
        self._threads = threads
        self._exported: tuple[Shape, bytes] | None = None
        self._opened: _Opened | None = None
        self._model = content(model)  # what was tested is what runs, whatever becomes of the file
        try:
            answer, *features = _answer_first(self._read().outputs)
        except (RuntimeError, ValueError) as exc:
            raise StartError(f"{model} is not a compiled model; delete it and start again") from exc
        self.classes = _last_axis(answer)
        self.channels = _last_axis(features[0]) if features else 0

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process opens the model from: all but what is open here."""
        opened = self._opened
        # A model that was opened from an export is not exported again: nothing could be opened from that.
        if opened is not None and (self._exported is None or self._exported[0] != opened.shape):
            stream = BytesIO()
            opened.compiled.export_model(stream)
            self._exported = opened.shape, stream.getvalue()
        return self.__dict__ | {"_opened": None}

    def with_threads(self, threads: int) -> "OpenVINOEngine":
        """Return another engine for the same model, with another number of threads."""
        engine = object.__new__(OpenVINOEngine)
        engine.__dict__ |= self.__getstate__() | {"_threads": threads}
        return engine

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return the predictions for n images. Must not be called from two threads at once."""
        return predictions(np.stack([self._run(image)[0] for image in images]))

    def observe(self, images: Sequence[Pixels]) -> tuple[Predictions, Features]:
        """Return the predictions for n images, and their features. Must not be called from two threads at once.

        Raises `ValueError` if the model gives no features (`channels` is 0).
        """
        if not self.channels:
            raise ValueError("this model gives no features")
        logits, features = zip(*map(self._run, images), strict=True)
        return predictions(np.stack(logits)), np.stack(features)

    @cached_property
    def head(self) -> Head:
        """The classifier, read from the model when it is first asked for."""
        from app.engines.tflite.graph import Graph  # only who explains an answer needs it

        return Graph(self._model).head()

    def _run(self, image: Pixels) -> list[NDArray[np.float32]]:
        """Return the logits `[classes]` of an image and its features `[side, side, channels]`, if it has any."""
        opened = self._opened
        if opened is None or image.shape != opened.shape:
            opened = self._opened = self._open(image.shape)
        opened.request.get_input_tensor().data[0] = image
        opened.request.infer()
        # Copied, as the next run writes to the same memory.
        return [opened.request.get_tensor(output).data[0].copy() for output in opened.outputs]

    def _open(self, shape: Shape) -> "_Opened":
        """Make the model ready for images of this shape `[r, r, 3]`. Raises `StartError` or `RuntimeError`."""
        core = _core()
        if self._exported is not None and self._exported[0] == shape:
            compiled = core.import_model(self._exported[1], DEVICE, self._settings())
        else:
            network = self._read()
            network.reshape([1, *shape])  # not any: given images of another shape than it has, it may answer nonsense
            compiled = core.compile_model(network, DEVICE, self._settings())
        _check_arithmetic(compiled, self.precision)
        return _Opened(shape, compiled, compiled.create_infer_request(), _answer_first(compiled.outputs))

    def _settings(self) -> dict[str, Any]:
        """Return all settings that its own defaults, which depend on the processor, would decide otherwise."""
        return {
            "INFERENCE_PRECISION_HINT": ARITHMETIC[self.precision],  # its default is bfloat16 where the processor can
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # pinned threads of several workers may come to share a core
        }

    def _read(self) -> Any:
        """Return the network of the model. OpenVINO reads `.tflite` from files.

        Raises `RuntimeError` if it is none, and `StartError` if there is no room for a temporary file.
        """
        with temporary_folder() as folder:
            file = folder / "model.tflite"
            file.write_bytes(self._model)
            return _core().read_model(file)


@cache
def _core() -> Any:
    """Return what opens models, which a process has once and for good.

    It gives the thread that first opens a model a stack for signals, and frees that when it ends. If there were several
    and the last one had ended, the next signal would kill the process (OpenVINO's `SigAltStackSetup`).
    """
    return ov.Core()


def _check_processor(precision: Precision) -> None:
    """Raise `StartError` if this processor has no instructions for the precision.

    In bfloat16 OpenVINO would compute in float32. In int8 it would give wrong answers: without these instructions its
    kernels add products in 16 bits, which overflow (docs/decisions/0031).
    """
    if precision == "bfloat16" and "BF16" not in _core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
        raise _lacking(precision)
    if precision == "int8" and not instructions() & INT8:
        raise _lacking(precision)


def _check_arithmetic(compiled: Any, precision: Precision) -> None:
    """Raise `StartError` if OpenVINO computes in something else than it was asked to, which it does without a word."""
    if compiled.get_property("INFERENCE_PRECISION_HINT") != ARITHMETIC[precision]:
        raise _lacking(precision)


def _lacking(precision: Precision) -> StartError:
    processor = _core().get_property(DEVICE, "FULL_DEVICE_NAME")
    wanted = "VNNI or AMX" if precision == "int8" else "AVX512-BF16 or AMX"
    instead = ", or MOBILENET_ENGINE=litert" if precision == "int8" else ""
    return StartError(
        f"MOBILENET_PRECISION={precision}: this processor ({processor}) has no instructions for it ({wanted}), which "
        f"OpenVINO needs; set MOBILENET_PRECISION=float32{instead}"
    )


def _answer_first(outputs: Sequence[Any]) -> list[Any]:
    """Return the outputs of a model, its answer before its features, which have more axes."""
    return sorted(outputs, key=lambda output: len(output.partial_shape))


def _last_axis(output: Any) -> int:
    return int(output.partial_shape[-1].get_length())
