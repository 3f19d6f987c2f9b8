"""A whole job: what is asked for is checked and written down, then Ray has every piece of it classified."""

import os
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from app.batch import work
from app.batch.classifier import TALLY, UNDONE, Classifier, about, alone
from app.batch.cluster import joined
from app.batch.row import About
from app.batch.sink import Form, Sink
from app.batch.source import Source
from app.batch.storage import finding, names
from app.batch.tally import Tally
from app.batch.work import Wanted, Work
from app.config import Settings
from app.errors import ClientError, StartError, without_password
from app.prediction.blocking import LocalBackend, top_k_or_default

CALLS: Final = 2
"""How many pieces an actor works on at a time: one is read while another is classified."""
REMOTE_CALLS: Final = 16
"""The same where photos come from object storage, whose answers take longer."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for. `top_k` is None for as many classes as there are, at most 5."""

    source: Source
    output: str
    form: Form = "parquet"
    top_k: int | None = None
    embedding: bool = False
    address: str | None = None
    gpus: bool = False
    resume: bool = False
    verbose: bool = False

    @property
    def sink(self) -> Sink:
        """Where the rows go."""
        return Sink(names.absolute(self.output), self.form)


def prepare(order: Order, settings: Settings) -> Work:
    """Check the order, and write down its work in its output, or read there what was begun. Raises `StartError`."""
    try:
        return _prepared(order, settings)
    except (OSError, ClientError) as exc:
        raise StartError(f"--output {without_password(order.output)}: {getattr(exc, 'strerror', None) or exc}") from exc


def _prepared(order: Order, settings: Settings) -> Work:
    sink, shown = order.sink, without_password(order.output)
    begun = work.exists(sink)
    if not begun and (other := work.foreign(sink)):
        raise StartError(f"--output {shown} is not empty: it has {other}, but no job; name another folder")
    if not order.resume and next(finding.inside(sink.folder), None):
        raise StartError(f"--output {shown} has a job already; go on with --resume, or name another folder")
    wanted = _wanted(order, settings)
    if not begun:
        return work.begin(wanted, sink, order.source.pieces())
    return work.resume(wanted, sink)


def _wanted(order: Order, settings: Settings) -> Wanted:
    source = order.source
    shared, classes = _about(settings, order.embedding)
    return Wanted(
        sources=list(source.arguments),
        folder=os.getcwd(),
        size=source.size,
        column=source.column,
        names=source.names,
        top_k=top_k_or_default(order.top_k, classes),
        form=order.form,
        about=shared,
    )


def _about(settings: Settings, embedding: bool) -> tuple[About, int]:
    """Load the model, so that wrong weights are reported here; return what rows share, and the number of classes.

    This compiles the weights, if needed, so that the actors do not each do it.
    """
    with closing(LocalBackend(alone(settings))) as backend:
        return about(backend, settings, embedding), backend.classes


def run(order: Order, settings: Settings, all_of_it: Work) -> Generator[Tally]:
    """Have all pieces classified that are not, and yield what came of each, in any order.

    Raises `StartError` for what is wrong with Ray or its nodes, or in the end if photos could not be fetched. Rows that
    are written stay.
    """
    with joined(order.address, max(1, settings.model_workers), order.verbose) as ray:
        try:
            yield from tallies(_dataset(ray, order, settings, all_of_it).iter_rows(), len(all_of_it))
        except ray.exceptions.RayError as exc:
            raise StartError(f"the job ended early, and --resume goes on with it: {_reason(exc)}") from exc


def tallies(found: Iterable[dict[str, str]], count: int) -> Generator[Tally]:
    """Yield what came of each piece. Raises `StartError` in the end if some of the `count` pieces are not done."""
    done, why = 0, ""
    for row in found:
        if row[UNDONE]:
            why = why or row[UNDONE]
            continue
        done += 1
        yield Tally.unpack(row[TALLY])
    if done < count:
        raise StartError(f"{count - done:,} of {count:,} files of rows are not written, and --resume goes on: {why}")


def _dataset(ray: Any, order: Order, settings: Settings, all_of_it: Work) -> Any:
    """Return the numbers of the pieces, each a block of its own, mapped to tallies by actors."""
    count = len(all_of_it)
    cpus = int(ray.cluster_resources().get("GPU" if order.gpus else "CPU", 0))
    if not cpus and not order.address:
        raise StartError("there is no GPU on this machine")
    pool = ray.data.ActorPoolStrategy(
        min_size=1,
        initial_size=max(1, min(cpus, count)),
        max_size=None if order.address else cpus,
        max_concurrent_calls_per_actor=REMOTE_CALLS if order.source.far else CALLS,
        enable_true_multi_threading=True,
    )
    return ray.data.range(count, override_num_blocks=count).map(
        Classifier,
        fn_constructor_args=(all_of_it, settings.without_keys()),
        compute=pool,
        **({"num_gpus": 1} if order.gpus else {"num_cpus": 1}),
    )


def _reason(error: BaseException) -> str:
    """Return what went wrong first, in a line, without the traces of a node."""
    told = [line for line in str(error).splitlines() if line and not line.startswith((" ", "\x1b", "ray::"))]
    return told[0] if told else type(error).__name__
