"""Photos are read from object storage and rows are written there, by a real server that speaks S3. It needs no Ray."""

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow
import pytest
from pyarrow import fs, parquet

from app.batch import job
from app.batch.classifier import NUMBER, TALLY, Classifier
from app.batch.job import Order
from app.batch.source import Source
from app.batch.storage import names
from app.batch.tally import Tally
from app.config import Settings
from app.errors import StartError
from tests.support import needs
from tests.support.images import encoded, photo
from tests.support.processes import free_port, wait_for

pytestmark = [pytest.mark.e2e, needs.MOTO.mark()]

SETTINGS = Settings(precision="int8", alpha=0.25, resolution=128)
GOOD = encoded(photo(), "JPEG")
START_S = 60


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a bucket with photos, a tar archive, and Parquet files of bytes and of paths."""
    port = free_port()
    server = needs.CLIENTS / "moto" / "bin" / "moto_server"
    popen = subprocess.Popen(
        [server, "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        wait_for(lambda: _answers(port), START_S)
        httpx.put(f"http://127.0.0.1:{port}/bucket").raise_for_status()
        _fill(fs.FileSystem.from_uri("s3://bucket")[0])
        yield "s3://bucket"
    popen.kill()
    popen.wait()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/").is_success
    except httpx.TransportError:
        return False


def _fill(system: Any) -> None:
    contents = {
        "photos/1.jpg": GOOD,
        "photos/of a day/2 ä.png": encoded(photo().rotate(90), "PNG"),
        "photos/cut.jpg": GOOD[:-500],
        "photos/notes.txt": b"none",
        "shards/0.tar": _tar(),
        "tables/bytes.parquet": _table(image=[GOOD, b"none"], id=["a", "b"]),
        "tables/paths.parquet": _table(url=["s3://bucket/photos/1.jpg", "s3://bucket/gone.jpg"]),
    }
    for name, content in contents.items():
        with system.open_output_stream(f"bucket/{name}") as stream:
            stream.write(content)


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size = len(GOOD)
        tar.addfile(info, io.BytesIO(GOOD))
    return buffer.getvalue()


def _table(**columns: list[Any]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def classified(order: Order) -> Tally:
    work = job.prepare(order, SETTINGS)
    total = Tally()
    actor = Classifier(work, SETTINGS)
    for number in range(len(work)):
        total.add(Tally.unpack(actor({NUMBER: number})[TALLY]))
    actor.close()
    return total


def test_every_kind_of_source_is_read_there_and_the_rows_are_written_there(bucket: str) -> None:
    sources = (f"{bucket}/photos", f"{bucket}/shards/*.tar", f"{bucket}/tables/paths.parquet")
    order = Order(Source(sources, 2), f"{bucket}/out/")
    tally = classified(order)
    assert (tally.photos, dict(tally.errors)) == (6, {"undecodable_image": 1, "unreadable": 1})
    table = parquet.read_table("bucket/out", filesystem=names.locate(bucket)[0])
    assert sorted(table.column("path").to_pylist()) == [
        "s3://bucket/gone.jpg",
        "s3://bucket/photos/1.jpg",
        "s3://bucket/photos/1.jpg",
        "s3://bucket/photos/cut.jpg",
        "s3://bucket/photos/of a day/2 ä.png",
        "s3://bucket/shards/0.tar/a.jpg",
    ]
    with pytest.raises(StartError, match="has a job already"):
        job.prepare(order, SETTINGS)
    again = classified(Order(order.source, order.output, resume=True))
    assert (again.photos, again.already) == (6, 6)


def test_bytes_of_a_table_are_named_by_a_column_and_rows_written_here(bucket: str, tmp_path: Path) -> None:
    source = Source((f"{bucket}/tables/bytes.parquet",), 2, names="id")
    tally = classified(Order(source, str(tmp_path / "out"), "jsonl"))
    assert (tally.photos, dict(tally.errors)) == (2, {"unsupported_image": 1})


def test_a_bucket_that_is_not_there_is_said_in_a_line(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"there are no photos in s3://nowhere/|s3://nowhere"):
        job.prepare(Order(Source(("s3://nowhere/photos/*.jpg",), 2), str(tmp_path / "out")), SETTINGS)
