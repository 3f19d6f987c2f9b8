"""An actor writes a row for each photo, good or bad; the same ones each time, and none twice. It needs no Ray."""

import json
import os
import pickle
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from pydantic import SecretStr

from app.batch import job, work
from app.batch.classifier import MOST_BYTES, NUMBER, TALLY, UNDONE, Classifier, groups
from app.batch.fetching import Photo
from app.batch.job import Order
from app.batch.sink import Form
from app.batch.source import Source
from app.batch.storage import reading
from app.batch.tally import Tally
from app.batch.work import Work
from app.config import Settings
from app.errors import StartError, Unreadable
from app.mobilenet.cost import cost
from app.runtime.pool import Pool
from tests.batch.far import URL, Far
from tests.support.images import WRITTEN, encoded, photo, png

SETTINGS = Settings(precision="int8", alpha=0.25, resolution=128)
LARGE = png(4000, 3001, depth=1, colour=0, rows=bytes(501 * 3001))
BAD = {"text.jpg": "unsupported_image", "empty.png": "empty_image", "huge.png": "too_many_pixels"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for form in WRITTEN:
        (folder / f"{form}.{form.lower()}").write_bytes(encoded(photo(), form))
    for turn in range(6):
        (folder / f"turned {turn}.png").write_bytes(encoded(photo().rotate(60 * turn), "PNG"))
    (folder / "large.png").write_bytes(LARGE)
    for name, content in zip(BAD, (b"text", b"", png(9000, 9000)), strict=True):
        (folder / name).write_bytes(content)
    return folder


def order(folder: Path, output: Path, form: Form = "parquet", **more: Any) -> Order:
    return Order(Source((str(folder),), 4), str(output), form, **more)


def classified(wanted: Order) -> tuple[Tally, Work]:
    """Do what Ray does, in this process: hand all pieces to an actor, here the last one first."""
    all_of_it = job.prepare(wanted, SETTINGS)
    total = Tally()
    actor = Classifier(all_of_it, SETTINGS)
    for number in reversed(range(len(all_of_it))):
        total.add(Tally.unpack(actor({NUMBER: number})[TALLY]))
    actor.close()
    return total, all_of_it


def rows(output: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table(output).to_pylist()
    return sorted(found, key=lambda row: str(row["path"]))


@pytest.fixture(scope="module")
def once(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tally]:
    output = tmp_path_factory.mktemp("once") / "out"
    return output, classified(order(folder, output, top_k=3, embedding=True))[0]


def test_each_photo_has_a_row_with_its_classes_or_its_error(folder: Path, once: tuple[Path, Tally]) -> None:
    found = {Path(row["path"]).name: row for row in rows(once[0])}
    assert set(found) == {path.name for path in folder.iterdir()}
    assert {name: found[name]["error"] for name in BAD} == BAD
    assert all(found[name]["detail"] and found[name]["predictions"] is None and not found[name]["macs"] for name in BAD)
    good = [row for name, row in found.items() if name not in BAD]
    assert all(row["error"] is None and len(row["predictions"]) == 3 and len(row["embedding"]) == 256 for row in good)
    assert {row["macs"] for row in good} == {cost(SETTINGS.variant, 10).macs}
    assert {(row["weights"], row["variant"], row["precision"], len(row["weights_sha256"])) for row in good} == {
        ("imagenette", "0.25/128", "int8", 64)
    }


def test_what_came_of_them_is_counted(folder: Path, once: tuple[Path, Tally]) -> None:
    tally = once[1]
    assert (tally.photos, tally.failed, tally.already) == (len(list(folder.iterdir())), len(BAD), 0)
    assert dict(tally.errors) == dict.fromkeys(BAD.values(), 1)
    assert tally.classes.total() == tally.photos - tally.failed
    assert tally.macs == sum(row["macs"] for row in rows(once[0]))
    assert tally.cpu_s > 0


def test_two_runs_give_the_same_rows(folder: Path, once: tuple[Path, Tally], tmp_path: Path) -> None:
    classified(order(folder, tmp_path / "again", top_k=3, embedding=True))
    assert rows(tmp_path / "again") == rows(once[0])


def test_json_lines_say_the_same(folder: Path, once: tuple[Path, Tally], tmp_path: Path) -> None:
    classified(order(folder, tmp_path / "lines", form="jsonl", top_k=3, embedding=True))
    lines = [line for path in (tmp_path / "lines").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert sorted(map(json.loads, lines), key=lambda row: str(row["path"])) == rows(once[0])


def test_what_is_written_is_not_classified_again_and_is_counted(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    _, all_of_it = classified(order(folder, output))
    before = {path: path.stat().st_mtime_ns for path in output.glob("part-*")}
    all_rows = rows(output)
    gone = Path(all_of_it.sink.file(1))
    left = output / f".{'1a' * 16}.part"  # as a process that is killed leaves it
    gone.rename(left)
    os.utime(left, (time.time() - 7200,) * 2)
    (folder / "new.jpg").write_bytes(encoded(photo(), "JPEG"))  # the list of photos was made once
    try:
        total, _ = classified(order(folder, output, resume=True))
    finally:
        (folder / "new.jpg").unlink()
    assert (total.photos, total.already) == (len(all_rows), len(all_rows) - 4)
    assert rows(output) == all_rows
    assert not list(output.glob(".*"))
    assert [path for path, time in before.items() if path.stat().st_mtime_ns != time] == [gone]


def test_an_output_that_has_something_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    job.prepare(order(folder, tmp_path / "out"), SETTINGS)
    with pytest.raises(StartError, match=r"has a job already; go on with --resume, or name another folder"):
        job.prepare(order(folder, tmp_path / "out"), SETTINGS)


@pytest.mark.parametrize("resume", [True, False])
def test_an_output_that_has_something_but_no_job_is_left_as_it_is(folder: Path, tmp_path: Path, resume: bool) -> None:
    mine = tmp_path / f".{'0' * 32}.part"
    mine.touch()
    os.utime(mine, (0, 0))
    with pytest.raises(StartError, match=rf"is not empty: it has {mine.name}, but no job; name another folder$"):
        job.prepare(order(folder, tmp_path, resume=resume), SETTINGS)
    assert mine.exists()


def test_another_job_does_not_go_on_with_an_output(folder: Path, tmp_path: Path) -> None:
    job.prepare(order(folder, tmp_path / "out"), SETTINGS)
    other = SETTINGS.model_copy(update={"resolution": 160, "max_pixels": 10**6} | other_labels(tmp_path))
    said = r"another job, .* top_k 5 there and 2 here; .*; variant .*; labels_.*; max_pixels 50331648 there and 1000000"
    with pytest.raises(StartError, match=said):
        job.prepare(order(folder, tmp_path / "out", top_k=2, resume=True), other)


def other_labels(folder: Path) -> dict[str, Any]:
    (folder / "labels.txt").write_text("\n".join(f"another name {index}" for index in range(10)))
    return {"labels": folder / "labels.txt"}


def test_a_job_that_was_killed_while_it_listed_photos_begins_anew(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    begun = job.prepare(order(folder, output), SETTINGS)
    Path(begun.sink.of_job(work.JOB)).unlink()
    again = job.prepare(order(folder, output, resume=True), SETTINGS)
    assert len(again) == len(begun)


@pytest.mark.parametrize("k", [0, 11])
def test_more_classes_than_there_are_are_refused(folder: Path, tmp_path: Path, k: int) -> None:
    with pytest.raises(StartError, match=rf"--top-k {k} is not between 1 and 10"):
        job.prepare(order(folder, tmp_path / "out", top_k=k), SETTINGS)


def test_an_output_that_cannot_be_is_said(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"--output .*file/out: Not a directory"):
        job.prepare(order(folder, tmp_path / "file" / "out"), SETTINGS)


def test_a_node_with_other_weights_or_names_of_classes_does_not_take_part(folder: Path, tmp_path: Path) -> None:
    all_of_it = job.prepare(order(folder, tmp_path / "out"), SETTINGS)
    for changed, said in (({"alpha": 0.5}, "weights_sha256"), (other_labels(tmp_path), "command: labels_sha256")):
        with pytest.raises(StartError, match=rf"^node .* has another model than the machine of the .*{said}"):
            Classifier(all_of_it, SETTINGS.model_copy(update=changed))


def test_an_actor_whose_model_ended_ends_without_a_row_so_that_ray_starts_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_of_it = job.prepare(order(folder, tmp_path / "out"), SETTINGS)
    actor = Classifier(all_of_it, SETTINGS)
    pool = actor._backend._pipeline
    assert isinstance(pool, Pool)
    os.kill(pool._template.pid, signal.SIGKILL)
    pool._template.wait()

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit) as ended:
        actor({NUMBER: 0})
    actor.close()
    assert ended.value.code == 1
    assert not list((tmp_path / "out").glob("part-*"))


def test_photos_that_cannot_be_fetched_now_get_no_rows_and_are_classified_on_resume(far: Far, tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"image": [encoded(photo(), "JPEG")]}), tmp_path / "photos.parquet")
    name = far.put("photos.parquet", (tmp_path / "photos.parquet").read_bytes())
    wanted = Order(Source((name,), 4), str(tmp_path / "out"))
    all_of_it = job.prepare(wanted, SETTINGS)
    actor = Classifier(all_of_it, SETTINGS)
    far.answers_bytes = 0
    undone = actor({NUMBER: 0})
    far.come_back()
    done = actor({NUMBER: 0})
    actor.close()
    assert undone == {TALLY: "", UNDONE: f"{name}: the line is dead"}
    assert len(rows(tmp_path / "out")) == 1
    found = job.tallies([done, undone, undone], 3)
    assert next(found).photos == 1
    with pytest.raises(StartError, match=rf"^2 of 3 files .* not written.*--resume.*: {name}: the line is dead$"):
        next(found)


def test_photos_of_storage_that_is_away_are_classified_on_resume_and_one_that_is_never_given_is_a_row(
    far: Far, tmp_path: Path
) -> None:
    content = encoded(photo(), "JPEG")
    for number in range(6):
        far.put(f"photos/{number}.jpg", content)
    all_of_it = job.prepare(Order(Source((f"{URL}/photos",), 2), str(tmp_path / "out")), SETTINGS)
    actor = Classifier(all_of_it, SETTINGS)
    far.answers_bytes = 0
    assert actor({NUMBER: 0})[UNDONE].endswith("the line is dead")
    assert not list((tmp_path / "out").glob("part-*"))
    far.come_back()
    far.dead = {name.removeprefix(f"{URL}/") for name in all_of_it.piece(0).files}
    assert dict(Tally.unpack(actor({NUMBER: 0})[TALLY]).errors) == {"unreachable": 2}
    actor.close()


def test_an_output_that_is_away_costs_no_row_and_does_not_end_the_job(folder: Path, far: Far) -> None:
    all_of_it = job.prepare(Order(Source((str(folder),), 100), f"{URL}/out"), SETTINGS)
    actor = Classifier(all_of_it, SETTINGS)
    far.answers_bytes = 0
    assert actor({NUMBER: 0}) == {TALLY: "", UNDONE: f"{all_of_it.sink.of_job(work.PIECES)}: the line is dead"}
    far.come_back()
    assert not actor({NUMBER: 0})[UNDONE]
    actor.close()


def test_a_job_whose_pieces_are_all_done_just_ends() -> None:
    assert list(job.tallies([{TALLY: Tally(photos=3).pack(), UNDONE: ""}], 1)) == [Tally(photos=3)]


def test_one_bad_url_of_a_list_is_a_row_and_not_the_end_of_the_job(folder: Path, tmp_path: Path) -> None:
    urls = ["nonsense://bucket/1.jpg", f"file://{folder}/turned 0.png"]
    parquet.write_table(pyarrow.table({"url": urls}), tmp_path / "list.parquet")
    total, _ = classified(Order(Source((str(tmp_path / "list.parquet"),), 4), str(tmp_path / "out")))
    assert (total.photos, dict(total.errors)) == (2, {"unreadable": 1})


def test_an_output_may_be_named_by_a_url_of_this_machine(folder: Path, tmp_path: Path) -> None:
    assert Order(Source((str(folder),), 4), f"file://{tmp_path}/out").sink.folder == f"{tmp_path}/out"


def test_an_output_that_does_not_answer_is_said_in_a_line(folder: Path, far: Far) -> None:
    output = f"{URL}/out"
    job.prepare(Order(Source((str(folder),), 4), output), SETTINGS)
    far.answers_bytes = 0
    with pytest.raises(StartError, match=rf"^--output {output}: {output}/_job/job.json: the line is dead$"):
        job.prepare(Order(Source((str(folder),), 4), output, resume=True), SETTINGS)


def test_large_photos_go_in_smaller_groups() -> None:
    small, large = b"s", b"l" * (MOST_BYTES // 2 + 1)
    found: list[Photo] = [("1", small), ("2", small), ("3", small), ("4", large), ("5", large), ("6", Unreadable("?"))]
    assert [[name for name, _ in group] for group in groups(found, 3)] == [["1", "2", "3"], ["4", "5"], ["6"]]


def test_no_key_of_the_service_goes_to_a_cluster(folder: Path, tmp_path: Path) -> None:
    sent: list[Any] = []
    numbers = SimpleNamespace(map=lambda *arguments, **more: sent.append((arguments, more)))
    ray = SimpleNamespace(
        cluster_resources=lambda: {"CPU": 1},
        data=SimpleNamespace(ActorPoolStrategy=dict, range=lambda *_, **__: numbers),
    )
    settings = SETTINGS.model_copy(
        update={"api_keys": (SecretStr("confidential"),), "api_keys_file": tmp_path / "keys"}
    )
    wanted = order(folder, tmp_path / "out")
    job._dataset(ray, wanted, settings, job.prepare(wanted, settings))
    assert b"confidential" in pickle.dumps(settings)
    ((_, more),) = sent
    work_of_it, its_settings = more["fn_constructor_args"]
    assert b"confidential" not in pickle.dumps((work_of_it, its_settings))
    assert its_settings.api_keys_file is None


def test_names_in_rows_are_text_whatever_they_are_on_disk(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "caf\udce9.jpg").write_bytes(encoded(photo(), "JPEG"))
    classified(order(tmp_path / "in", tmp_path / "out"))
    assert [row["path"] for row in rows(tmp_path / "out")] == [f"{tmp_path}/in/caf�.jpg"]
    assert reading.exists(str(tmp_path / "out" / "part-000000.parquet"))
