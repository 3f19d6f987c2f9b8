"""A batch of images, from its start to the news of its end."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from app.model.model import Model
from app.runtime.pipeline import Job, JobResult, Pipeline

Task = tuple[Job, object]
"""A job, and the owner of its image."""


class Run(NamedTuple):
    """One batch: how many images each model ran on, two times of `time.monotonic`, and the owner of each image."""

    images: Mapping[Model, int]
    began: float
    ended: float
    owners: Sequence[object]


async def run(
    pipeline: Pipeline, on_run: Sequence[Callable[[Run], None]], tasks: Sequence[Task], large: bool = False
) -> list[JobResult]:
    """Run the jobs of a batch, and tell of it. The results are in the order of the jobs."""
    jobs, owners = [job for job, _ in tasks], [owner for _, owner in tasks]
    began = time.monotonic()
    results = await pipeline.run(jobs, large)
    ended = time.monotonic()
    ran = [job.variants for job, result in zip(jobs, results, strict=True) if isinstance(result, tuple)]
    images = {model: sum([model.variant in variants for variants in ran]) for model in pipeline.models}
    done = Run({model: count for model, count in images.items() if count}, began, ended, owners)
    for tell in on_run:
        tell(done)
    return results
