"""Measure the accuracy of a model on a folder that has a folder of photos for each class.

The settings of the service say which model; `--all` measures every variant of its weights in both precisions. `--url`
asks a running service instead. The folder of a class is named after its WordNet id or its label. `--cascade` computes
from the same answers how accurate any two of the variants would be as a cascade.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple

import httpx
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app import environment
from app.config import Settings
from app.engines.base import Pixels
from app.engines.weights import variants
from app.errors import ServiceError, StartError
from app.imaging.decode import decode
from app.machine import available_cpus
from app.measurements import Score
from app.mobilenet.variants import Precision, Variant
from app.model import labels, loading, scores
from app.model.scores import SCORES, calibration_error
from app.training.card import draw_confusion
from tools.weights import cascade
from tools.weights.cascade import VariantAnswers

BATCH = 32
CONNECTIONS = 8
TIMEOUT_S = 60
TOP = 5
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")

Best = list[tuple[int, float]]
"""The five most probable classes of a photo with their probabilities, best first; empty if there was no answer."""


class Class(NamedTuple):
    """The two names of a class, either of which may be the name of its folder."""

    wordnet_id: str | None
    label: str


class LabelledPhoto(NamedTuple):
    """A photo, and the index of its true class."""

    path: Path
    truth: int


class Subject(NamedTuple):
    """A model to evaluate: its identity, its classes, and a function that classifies photos in order."""

    weights: str
    weights_sha256: str
    alpha: float
    resolution: int
    precision: Precision
    classes: list[Class]
    classify: Callable[[list[LabelledPhoto]], Iterable[Best]]


def find_photos(folder: Path, classes: list[Class]) -> list[LabelledPhoto]:
    """Return the photos in the folders of the classes. Raises `StartError` for a folder that is not a class."""
    index = {name: number for number, names in enumerate(classes) for name in names if name}
    found = []
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
        if sub.name not in index:
            raise StartError(f"the folder {sub} is not a class of the model")
        found += [LabelledPhoto(path, index[sub.name]) for path in sorted(sub.iterdir())]
    if not found:
        raise StartError(f"there are no folders of photos in {folder}")
    return found


def in_process(settings: Settings) -> Subject:
    """Return the model that the settings name, which decodes and classifies as the service does."""
    model = loading.load(settings)

    def pixels(photo: LabelledPhoto) -> Pixels | None:
        try:
            data = photo.path.read_bytes()
            return decode(data, resolution=settings.resolution, max_pixels=settings.max_pixels)
        except (OSError, ServiceError) as exc:
            _no_answer(photo, exc)
            return None

    def classify(photos: list[LabelledPhoto]) -> Iterator[Best]:
        with ThreadPoolExecutor(available_cpus()) as pool:
            for start in range(0, len(photos), BATCH):
                decoded = list(pool.map(pixels, photos[start : start + BATCH]))
                good = [one for one in decoded if one is not None]
                rows = iter(model.engine.predict(good).probabilities) if good else iter(())
                yield from ([] if one is None else list(labels.top_k(next(rows), TOP)) for one in decoded)

    classes = [Class(label.wordnet_id, label.label) for label in model.labels]
    variant, precision = model.variant, model.engine.precision
    return Subject(model.weights, model.weights_sha256, variant.alpha, variant.resolution, precision, classes, classify)


def over_http(client: httpx.Client) -> Subject:
    """Return the model of a running service."""
    info = client.get("/model-info").raise_for_status().json()
    found = client.get("/labels").raise_for_status().json()

    def ask(photo: LabelledPhoto) -> Best:
        answer = client.post("/predict", params={"top_k": TOP}, content=photo.path.read_bytes())
        if answer.is_error:
            _no_answer(photo, answer.json()["detail"])
            return []
        predictions = answer.json()["results"][0]["predictions"]
        return [(item["class_id"], item["probability"]) for item in predictions]

    def classify(photos: list[LabelledPhoto]) -> Iterator[Best]:
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            yield from pool.map(ask, photos)

    classes = [Class(item["wordnet_id"], item["label"]) for item in found]
    return Subject(
        info["weights"],
        info["weights_sha256"],
        info["alpha"],
        info["resolution"],
        info["precision"],
        classes,
        classify,
    )


def _no_answer(photo: LabelledPhoto, reason: object) -> None:
    print(f"{photo.path}: {reason}; counted as wrong", file=sys.stderr)


def score(subject: Subject, photos: list[LabelledPhoto], answers: list[Best], data: str) -> Score:
    """Return the score of the answers. A photo without an answer counts as wrong."""
    truths = [photo.truth for photo in photos]
    pairs = list(zip(truths, answers, strict=True))
    return Score(
        weights=subject.weights,
        weights_sha256=subject.weights_sha256,
        alpha=subject.alpha,
        resolution=subject.resolution,
        precision=subject.precision,
        data=data,
        images=len(photos),
        top1=sum(truth in _classes(best[:1]) for truth, best in pairs) / len(pairs),
        top5=sum(truth in _classes(best) for truth, best in pairs) / len(pairs),
        calibration_error=calibration_error([(best[0][1], best[0][0] == truth) for truth, best in pairs if best]),
    )


def _classes(best: Best) -> list[int]:
    return [index for index, _ in best]


def confusion(photos: list[LabelledPhoto], answers: list[Best], count: int) -> NDArray[np.int64]:
    """Return the confusion matrix `[classes, classes]`: how many photos of class i were answered with class j."""
    matrix = np.zeros((count, count), np.int64)
    for photo, best in zip(photos, answers, strict=True):
        for index, _ in best[:1]:
            matrix[photo.truth, index] += 1
    return matrix


def for_cascade(subject: Subject, photos: list[LabelledPhoto], answers: list[Best]) -> VariantAnswers:
    """Return the answers of a model in the form that cascades are computed from."""
    variant = Variant(subject.alpha, subject.resolution)
    return VariantAnswers.of(variant, len(subject.classes), answers, [photo.truth for photo in photos])


def save(folder: Path, measured: list[Score]) -> None:
    """Write scores to those of a folder of weights, where they replace older ones of the same models."""
    merged = {score.key: score for score in [*scores.read(folder), *measured]}
    content = SCORES.dump_json(tuple(merged[key] for key in sorted(merged)), indent=1)
    (folder / scores.NAME).write_bytes(content + b"\n")


def table(measured: list[Score]) -> Table:
    """Return a table of the scores, in per cent."""
    shown = Table(title=f"{measured[0].weights}, {measured[0].images:,} photos, {measured[0].data}")
    for name in ("α", "resolution", "precision", "top-1 %", "top-5 %", "calibration error %"):
        shown.add_column(name, justify="right")
    for row in measured:
        shares = (f"{share * 100:.2f}" for share in (row.top1, row.top5, row.calibration_error))
        shown.add_row(f"{row.alpha:g}", str(row.resolution), row.precision, *shares)
    return shown


def subjects(every: bool, url: str | None) -> Iterator[Subject]:
    """Yield the models that the command line asks for: one, every variant, or that of a running service."""
    if url is not None:
        with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
            yield over_http(client)
        return
    settings = environment.load()
    if not every:
        yield in_process(settings)
        return
    for variant in variants(settings):
        for precision in PRECISIONS:
            update = {"alpha": variant.alpha, "resolution": variant.resolution, "precision": precision}
            yield in_process(settings.model_copy(update=update))


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with a folder of photos for each class.", exists=True)],
    every: Annotated[bool, typer.Option("--all", help="Every variant of the weights, in both precisions.")] = False,
    url: Annotated[str | None, typer.Option(help="Address of a running service to ask instead.")] = None,
    data: Annotated[str | None, typer.Option(help="What the photos are. Default: the name of the folder.")] = None,
    save_to: Annotated[Path | None, typer.Option("--save", help="Write the scores into this folder.")] = None,
    picture: Annotated[
        Path | None, typer.Option("--confusion", help="Draw the confusion matrix into this PNG file.")
    ] = None,
    cascades: Annotated[
        Path | None,
        typer.Option(
            "--cascade", help="Draw cascades of the float32 variants into this PNG file, with JSON beside it."
        ),
    ] = None,
) -> None:
    """Print the top-1 and top-5 accuracy and the calibration error."""
    if picture is not None and every:
        raise typer.BadParameter("--confusion goes without --all, as each model has a picture of its own")
    if cascades is not None and not every:
        raise typer.BadParameter("--cascade needs --all")
    console = Console(stderr=True)
    scores, singles = [], []
    for subject in subjects(every, url):
        photos = find_photos(folder, subject.classes)
        title = f"{subject.weights}, α {subject.alpha:g} @ {subject.resolution}, {subject.precision}"
        answers = list(track(subject.classify(photos), title, len(photos), console=console))
        scores.append(score(subject, photos, answers, data or folder.name))
        if picture is not None:
            names = [names.label for names in subject.classes]
            draw_confusion(confusion(photos, answers, len(names)), names, picture, title)
        if subject.precision == "float32":
            singles.append(for_cascade(subject, photos, answers))
    if cascades is not None:
        cascade.draw(singles, cascades)
        cascade.write(singles, cascades.with_suffix(".json"))
    if save_to is not None:
        save(save_to, scores)
    Console(width=None if sys.stdout.isatty() else 100).print(table(scores))


if __name__ == "__main__":
    try:
        typer.run(main)
    except (StartError, httpx.HTTPError) as exc:
        sys.exit(f"evaluate: {exc}")
