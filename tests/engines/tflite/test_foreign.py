"""A `.tflite` file of others: served with the interpreter's own answers, or refused in a line that says why."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.config import MODEL_WEIGHTS
from app.engines.bundle import BUNDLED as BUNDLE
from app.engines.litert import LiteRTEngine
from app.engines.tflite import foreign
from app.engines.tflite.compile import compiled
from app.engines.tflite.graph import Kernel
from app.engines.tflite.interface import softmax
from app.engines.weights import locate, variants
from app.errors import StartError
from app.mobilenet.architecture import layers
from app.mobilenet.variants import Precision, Variant
from app.model import loading
from app.model.selftest import self_test
from tests.support.foreign import interpreted
from tests.support.networks import images
from tests.support.weights import CLASSES, VARIANT, settings

BUNDLED = BUNDLE.compiled(0.25, "int8")
BUNDLED_VARIANT = Variant(0.25, 160)


def load(path: Path, variant: Variant = VARIANT, precision: Precision = "float32") -> LiteRTEngine:
    return foreign.load(path, variant, precision, threads=1)


def tensor(dtype: Any, *shape: int, scale: float = 0.0, zero: int = 0) -> dict[str, Any]:
    return {"dtype": dtype, "shape_signature": np.array(shape), "quantization": (scale, zero)}


def table(variant: Variant = VARIANT, classes: int = 12) -> list[Kernel]:
    return [foreign._expected(layer)[0] for layer in layers(variant.alpha, variant.resolution, classes)]


@dataclass
class Drawing:
    """What is looked at in a graph, without a file: a MobileNetV1 of α 0.25 @ 64 of 12 classes, unless changed."""

    inputs: list[dict[str, Any]] = field(default_factory=lambda: [tensor(np.float32, -1, 64, 64, 3)])
    outputs: list[dict[str, Any]] = field(default_factory=lambda: [tensor(np.float32, -1, 12)])
    table: list[Kernel] = field(default_factory=table)
    ends_in: str = "SOFTMAX"
    factor: float = 1.0
    offset: float = 0.0

    def kernels(self) -> Iterator[tuple[Kernel, Any]]:
        yield from ((kernel, np.float32) for kernel in self.table)

    def last(self) -> tuple[str, Any]:
        return self.ends_in, np.float32

    def seen(self, ends: tuple[float, float]) -> tuple[float, float]:
        low, high = (self.factor * end + self.offset for end in ends)
        return low, high


def drawn(monkeypatch: pytest.MonkeyPatch, drawing: Drawing) -> LiteRTEngine:
    """Load a real file that is taken for what is drawn."""
    monkeypatch.setattr(foreign, "Graph", lambda _: drawing)
    return load(BUNDLED)


def test_a_file_that_this_project_compiled_is_served_as_if_it_were_bundled() -> None:
    pixels = list(images(3, 160))
    engine, bundled = load(BUNDLED, BUNDLED_VARIANT, "int8"), LiteRTEngine(BUNDLED, 1, "int8")
    for one in (engine, engine.with_threads(2)):
        for found, expected in zip(one.predict(pixels), bundled.predict(pixels), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert (engine.precision, engine.classes, engine.name) == ("int8", 10, "litert")


def test_the_precision_is_that_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(BUNDLED, BUNDLED_VARIANT, "float32").precision == "int8"
    monkeypatch.setattr(foreign, "Graph", lambda _: Drawing())
    with pytest.raises(StartError, match=r"tflite is a model in float32, but MOBILENET_PRECISION=int8$"):
        load(BUNDLED, precision="int8")


@pytest.mark.parametrize("variant", [Variant(0.25, 128), Variant(0.5, 160), Variant(1.0, 224)])
def test_a_file_of_another_variant_says_which_it_is(variant: Variant) -> None:
    wanted = f"MOBILENET_ALPHA={variant.alpha:g} and MOBILENET_RESOLUTION={variant.resolution}$"
    with pytest.raises(StartError, match=rf"0\.25\.int8\.tflite is a MobileNetV1 of α 0\.25 @ 160, but {wanted}"):
        load(BUNDLED, variant)


def changed(number: int, **values: tuple[int, ...]) -> list[Kernel]:
    found = table()
    found[number] = found[number]._replace(**values)
    return found


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Drawing(inputs=[]), "has 0 inputs and 1 outputs, expected one of each"),
        (Drawing(inputs=[tensor(np.float32, 4, 64, 64, 3)]), r"takes \[4, 64, 64, 3\], expected one image"),
        (Drawing(inputs=[tensor(np.float32, 1, 3, 64, 64)]), r"takes \[1, 3, 64, 64\], expected one image"),
        (Drawing(inputs=[tensor(np.float32, 1, 64, 64, 1)]), r"takes \[1, 64, 64, 1\], expected one image"),
        (Drawing(inputs=[tensor(np.float32, 1, 100, 100, 3)]), "with r a multiple of 32"),
        (Drawing(inputs=[tensor(np.float32, -1, -1, -1, 3)]), r"takes \[-1, -1, -1, 3\], expected one image"),
        (Drawing(table=[]), "is not a MobileNetV1: it has 0 layers with weights, expected 28"),
        (Drawing(table=[*table(), table()[-1]]), "it has 29 layers with weights, expected 28"),
        (
            Drawing(table=changed(3, output=(32, 32, 16))),
            r"is not a MobileNetV1: at conv_dw_2 it has weights \[1, 3, 3, 16\] and gives \[32, 32, 16\], expected "
            r"\[1, 3, 3, 16\] and \[16, 16, 16\]",
        ),
        (Drawing(table=changed(-1, weights=(12, 255))), "is not a MobileNetV1: at conv_preds it has"),
        (Drawing(ends_in="LOGISTIC"), "ends in a sigmoid, which gives each class a probability of its own"),
        (Drawing(ends_in="LOG_SOFTMAX"), "ends in log_softmax; expected a softmax, or nothing"),
        (Drawing(inputs=[tensor(np.float16, 1, 64, 64, 3)]), "takes float16, expected float32, uint8"),
        (Drawing(inputs=[tensor(np.int8, 1, 64, 64, 3)]), "takes int8, expected float32, uint8, or a quantised int8"),
        (Drawing(inputs=[tensor(np.uint8, 1, 64, 64, 3, scale=0.02, zero=114)]), "takes pixels from -2.28 to 2.82"),
        (Drawing(factor=1 / 58, offset=-2), "scales its input to something else than -1 to 1"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_reason(
    wrong: Drawing, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StartError, match=message) as caught:
        drawn(monkeypatch, wrong)
    assert str(caught.value).startswith("imagenette_0.25.int8.tflite ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("alpha", [1.0, 0.75, 0.5, 0.25])
def test_every_width_is_known_by_its_layers_and_its_classifier_may_be_dense(alpha: float) -> None:
    variant = Variant(alpha, 96)
    kernels = table(variant, 1001)
    drawing = Drawing([tensor(np.float32, 1, 96, 96, 3)], [tensor(np.float32, 1, 1, 1, 1001)], kernels)
    assert foreign._variant(drawing) == variant  # type: ignore[arg-type]
    kernels[-1] = Kernel((1001, int(1024 * alpha)), (1001,))
    assert foreign._variant(drawing) == variant  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("taken", "scaling", "ends"),
    [
        (tensor(np.float32, 1, 64, 64, 3), (1, 0), (-1, 1)),
        (tensor(np.float32, 1, 64, 64, 3), (2, -1), (0, 1)),
        (tensor(np.float32, 1, 64, 64, 3), (1 / 127.5, -1), (0, 255)),
        (tensor(np.uint8, 1, 64, 64, 3, scale=0.0078125, zero=128), (1, 0), (0, 255)),  # as Google published them
        (tensor(np.int8, 1, 64, 64, 3, scale=2 / 255, zero=-1), (1, 0), (-128, 127)),
        (tensor(np.int8, 1, 64, 64, 3, scale=1 / 255, zero=-128), (1, 0), (-128, 127)),
        (tensor(np.uint8, 1, 64, 64, 3, scale=1.0, zero=0), (1, 0), (0, 255)),
    ],
)
def test_black_and_white_are_what_the_file_takes_them_for(
    taken: dict[str, Any], scaling: tuple[float, float], ends: tuple[float, float]
) -> None:
    drawing = Drawing(inputs=[taken], factor=scaling[0], offset=scaling[1])
    values = foreign._values(drawing)  # type: ignore[arg-type]
    found = np.arange(256, dtype=np.uint8) if values is None else values
    assert found.dtype == taken["dtype"]
    np.testing.assert_allclose(found, np.linspace(*ends, 256), atol=1e-4 if found.dtype == np.float32 else 1)


@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_damaged(part: float, tmp_path: Path) -> None:
    whole = BUNDLED.read_bytes()
    (tmp_path / "own.tflite").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(StartError, match=r"^own\.tflite is not a TensorFlow Lite model, or it is damaged: .+$"):
        load(tmp_path / "own.tflite")


def test_one_file_is_one_variant_and_needs_litert() -> None:
    given = settings(BUNDLED_VARIANT, weights=BUNDLED)
    weights = locate(given)
    assert (weights.name, weights.path, weights.published) == (BUNDLED.name, BUNDLED, False)
    assert variants(given) == [BUNDLED_VARIANT]
    with pytest.raises(StartError, match=r"^MOBILENET_VARIANTS=0\.5/160: .*tflite is one variant"):
        locate(settings(BUNDLED_VARIANT, weights=BUNDLED, variants="0.5/160"))
    with pytest.raises(StartError, match=r"^MOBILENET_ENGINE=tensorflow: cannot run .*tflite"):
        locate(settings(BUNDLED_VARIANT, weights=BUNDLED, engine="tensorflow"))


def test_the_labels_are_those_of_the_setting(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"tflite has 10 classes; set MOBILENET_LABELS"):
        loading.load(settings(BUNDLED_VARIANT, weights=BUNDLED))
    model = loading.load(settings(BUNDLED_VARIANT, weights=BUNDLED, labels=MODEL_WEIGHTS / "imagenette.labels.txt"))
    assert (model.engine.classes, model.top1, model.cost.macs) == (10, None, 20_805_760)


def test_compiling_checks_the_file_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    weights = locate(settings(BUNDLED_VARIANT, weights=BUNDLED))
    assert compiled(weights, BUNDLED_VARIANT, tmp_path) == (BUNDLED, None)
    with pytest.raises(StartError, match=r"is a MobileNetV1 of α 0\.25 @ 160"):
        compiled(weights, VARIANT, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.tensorflow
@pytest.mark.timeout(600)  # the first has seven models converted
@pytest.mark.parametrize(("name", "ends"), [("float32", (-1, 1)), ("scaled", (0, 255)), ("int8", (-1, 1))])
def test_the_answers_are_those_of_the_interpreter(foreign: Path, name: str, ends: tuple[float, float]) -> None:
    path = foreign / f"{name}.tflite"
    engine, pixels = load(path), list(images(6, VARIANT.resolution, seed=3))
    expected = np.stack([interpreted(path, image, *ends) for image in pixels])
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.ptp(expected, axis=0).max() > 0.1
    found = engine.predict(pixels)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert np.isnan(found.energies).all()
    assert (engine.precision, engine.classes) == ("int8" if name == "int8" else "float32", CLASSES)
    self_test(engine, VARIANT.resolution, 4)


@pytest.mark.tensorflow
def test_logits_get_their_softmax(foreign: Path) -> None:
    path, image = foreign / "uint8.tflite", images(1, VARIANT.resolution)[0]
    found, logits = load(path).predict([image]), interpreted(path, image)
    np.testing.assert_allclose(found.probabilities, softmax(logits[None]), atol=1e-6)
    np.testing.assert_allclose(found.energies, [np.log(np.exp(logits).sum())], rtol=1e-5)


@pytest.mark.tensorflow
def test_the_answers_of_a_classifier_without_a_bias_are_explained_by_its_kernel_alone(foreign: Path) -> None:
    engine = load(foreign / "unbiased.tflite")
    found, features = engine.observe(list(images(6, VARIANT.resolution, seed=3)))
    assert np.ptp(found.probabilities, axis=0).max() > 0.1
    assert not engine.head.bias.any()
    logits = features.mean(axis=(1, 2)) @ engine.head.kernel + engine.head.bias
    np.testing.assert_allclose(found.probabilities, softmax(logits), atol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize(("name", "message"), [("sigmoid", "ends in a sigmoid"), ("other", "is not a MobileNetV1: at")])
def test_other_networks_are_refused(foreign: Path, name: str, message: str) -> None:
    with pytest.raises(StartError, match=rf"^{name}\.tflite {message}"):
        load(foreign / f"{name}.tflite")
