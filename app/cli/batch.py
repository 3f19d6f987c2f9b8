"""`mobilenet batch`: millions of photos, by Ray, with progress on standard error and a summary at the end."""

import time
from contextlib import closing, nullcontext
from importlib.util import find_spec
from typing import Annotated, Final, Literal

import typer

from app import environment
from app.cli.chatter import silenced
from app.cli.embedding import end
from app.errors import StartError, install

NEEDED: Final = ("ray", "pyarrow")


def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders, files or quoted patterns, here or in object storage (s3://, gs://, abfs://, hf://): photos, "
            "tar archives (WebDataset), and Parquet files with a column of bytes or of paths."
        ),
    ],
    *,
    output: Annotated[str, typer.Option(help="Folder to write, here or in object storage.")],
    form: Annotated[Literal["parquet", "jsonl"], typer.Option("--format", help="Form of the rows.")] = "parquet",
    top_k: Annotated[int | None, typer.Option(help="How many classes to write for each photo. Default: 5.")] = None,
    embedding: Annotated[bool, typer.Option("--embedding", help="Write the embedding of each photo, too.")] = False,
    column: Annotated[
        str | None,
        typer.Option(help="Column of the photos' bytes or paths in Parquet files. Default: the only one it can be."),
    ] = None,
    names: Annotated[
        str | None, typer.Option(help="Column that names the photos whose bytes are in Parquet files.")
    ] = None,
    rows: Annotated[
        int,
        typer.Option(
            min=1, help="Photos for each file of the output; if a node dies, the files it was writing are done again."
        ),
    ] = 256,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster; auto: the one that this runs on. Default: this machine's CPUs."),
    ] = None,
    gpus: Annotated[
        bool, typer.Option("--gpus", help="A model for each GPU instead of each CPU, with MOBILENET_ENGINE=tensorflow.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a job that was interrupted.")] = False,
    accept_errors: Annotated[
        bool, typer.Option("--accept-errors", help="End with the exit code 0 even if some photos failed.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what Ray says, too.")] = False,
) -> None:
    """Classify millions of photos with Ray, on this machine or on a cluster, and write a row for each.

    The exit code is 1 if some photos failed; these have an error in their row.
    """
    settings = environment.load()
    if gpus and settings.engine != "tensorflow":
        raise StartError("--gpus needs MOBILENET_ENGINE=tensorflow: LiteRT runs on CPUs")
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise StartError(f"batches need {' and '.join(missing)}; {install('ray')}")
    from app.batch import job
    from app.batch.source import Source
    from app.cli import tables
    from app.cli.progress import chart, summary, tracked

    order = job.Order(
        source=Source(tuple(sources), rows, column, names),
        output=output,
        form=form,
        top_k=top_k,
        embedding=embedding,
        address=address,
        gpus=gpus,
        resume=resume,
        verbose=verbose,
    )
    began = time.monotonic()
    with nullcontext() if verbose else silenced():
        work = job.prepare(order, settings)
        with tracked(work) as progress, closing(job.run(order, settings, work)) as tallies:
            for tally in tallies:
                progress.add(tally)
    total = progress.total
    tables.show(summary(total, time.monotonic() - began))
    tables.show(chart(total))
    if not accept_errors:
        end(total.failed, total.photos)
