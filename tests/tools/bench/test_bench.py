"""The comparison with other servers: what counts as the same answer, medians and spread, goals, tables."""

import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from io import BytesIO
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.imaging import decode
from app.imaging.codecs import jpeg
from tools.bench import disturbance
from tools.bench.__main__ import photos_of
from tools.bench.contenders import CONTENDERS, TOLERANCE, ContenderFailed, difference, ours_in, pinned, probabilities
from tools.bench.disturbance import Others
from tools.bench.peers import classify
from tools.bench.results import Goal, Report, Run, Summary, goals, knee, markdown, overview, spread
from tools.load.messages import make_photos

ROW = np.array([0.1, 0.5, 0.02, 0.3, 0.05, 0.02, 0.01], np.float32)


def run(
    contender: str, requests_per_s: float, *, number: int = 1, connections: int | None = 32, p50: float = 10
) -> Run:
    return Run(number, contender, "small", connections, None, 0, requests_per_s, p50, p50 * 2, p50 * 3, 1)


RUNS = [
    *(run("this service, float32", rate, number=n) for n, rate in enumerate((900, 1000, 980))),
    run("this service, float32", 400, connections=1, p50=2),
    run("mosec", 800),
    run("mosec", 300, connections=1, p50=4),
    run("LitServe", 500),
    run("bare loop, float32", 800, connections=1),
    run("bare loop, float32", 1400, connections=2),
]


@pytest.mark.parametrize("size", [(224, 224), (500, 375), (1600, 1200)])
def test_a_peer_sees_the_pixels_that_the_service_sees_by_pillow(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jpeg, "read", lambda *_: None)
    for photo in make_photos(2, *size):
        ours = decode.decode(photo, resolution=128, max_pixels=10**8)
        assert (classify.decode(photo, 128)[0] == ours).all()


def test_a_peers_answer_has_the_five_most_probable_classes() -> None:
    found = probabilities(classify.answer(ROW))
    assert list(found) == [1, 3, 0, 4, 5] or list(found) == [1, 3, 0, 4, 2]
    assert difference(found, ROW) == 0


def test_another_probability_another_class_or_no_answer_is_another_answer() -> None:
    found = probabilities(classify.answer(ROW))
    assert difference(found | {1: 0.5 + TOLERANCE / 2}, ROW) < TOLERANCE
    assert difference(found | {1: 0.5 + TOLERANCE * 2}, ROW) > TOLERANCE
    assert difference({index: ROW[index] for index in (0, 2, 3, 4, 5)}, ROW) == 1
    assert difference({}, ROW) == 1


def test_a_peer_has_the_decoder_and_the_runtime_of_the_service() -> None:
    assert pinned(["a==2", "pillow"]) == ["a==2", f"pillow=={version('pillow')}"]
    for contender in CONTENDERS:
        assert not contender.packages or {"numpy", "pillow"} < set(contender.packages)


def test_an_earlier_version_runs_in_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "__main__.py").write_text("import os, sys; print(os.getcwd(), __file__, sys.argv[1])")
    contender = ours_in(tmp_path)
    command = [part.format(python=sys.executable) for part in contender.command]
    done = subprocess.run(command, cwd=contender.folder, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == [str(tmp_path), str(tmp_path / "app" / "__main__.py"), "serve"]
    assert contender.variables["PYTHONPATH"] == str(tmp_path)  # for its workers, too


def test_photos_are_a_kind_or_come_from_all_over_a_folder(tmp_path: Path) -> None:
    assert [Image.open(BytesIO(photo)).size for photo in photos_of("small")] == [(224, 224)] * 16
    (tmp_path / "notes.txt").write_text("none")
    for number in range(32):
        (tmp_path / f"{number:02}.JPEG").write_bytes(bytes((number,)))
    assert [photo[0] for photo in photos_of(str(tmp_path))] == list(range(0, 32, 2))
    with pytest.raises(ContenderFailed, match="nowhere is neither one of small, large, phone nor a folder"):
        photos_of("nowhere")


def test_repeated_runs_count_as_their_median_and_their_spread() -> None:
    assert Summary(RUNS).median("this service, float32", "small", 32) == 980
    assert isnan(Summary(RUNS).median("this service, float32", "large", 32))
    assert spread([900, 1000, 980]) == pytest.approx(100 / 980)
    assert isnan(spread([900]))


def test_the_service_is_held_against_the_fastest_peer_and_the_loop_in_all_processes() -> None:
    found = {goal.name.split(": ")[1]: goal for goal in goals(Summary(RUNS))}
    assert found["answers/s ÷ those of mosec"].value == pytest.approx(980 / 800)
    assert found["answers/s ÷ those of mosec"].status == "**missed**"
    assert found["p50 alone ÷ that of mosec"].value == 0.5
    assert found["p50 alone ÷ that of mosec"].status == "met"
    assert found["answers/s ÷ images/s of the bare loop"].value == pytest.approx(980 / 1400)
    assert "**missed**" in found["spread of 3 runs"].status


def test_each_way_of_running_the_service_has_its_goals() -> None:
    inline = run("this service, float32, inline", 1200)
    found = {goal.name: goal for goal in goals(Summary([*RUNS, inline]))}
    assert found["float32, inline, small photo: answers/s ÷ those of mosec"].value == pytest.approx(1200 / 800)
    assert found["float32, small photo: answers/s ÷ those of mosec"].value == pytest.approx(980 / 800)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert Goal("p50", float("nan"), most=1).status == "not measured"
    alone = {goal.name: goal.status for goal in goals(Summary([run("this service, int8", 100)]))}
    assert set(alone.values()) == {"not measured"}
    assert list(goals(Summary([run("mosec", 100)]))) == []


def test_what_others_disturbed_counts_only_if_there_is_nothing_else() -> None:
    disturbed = replace(RUNS[0], requests_per_s=10, others=0.5)
    assert Summary([*RUNS, disturbed, disturbed]).median("this service, float32", "small", 32) == 980
    assert Summary([disturbed]).median("this service, float32", "small", 32) == 10


def test_the_work_of_others_is_told_from_our_own() -> None:
    spinning = "import time\nwhile True: time.process_time()"
    with subprocess.Popen([sys.executable, "-c", spinning]) as child:
        others = Others()
        time.sleep(0.5)
        spent = disturbance._own_s()
        time.sleep(0.5)
        ours = disturbance._own_s() - spent
        child.kill()
    assert 0 < ours < 1
    assert 0 <= others.share(1) <= 1


def test_a_rate_is_too_much_once_answers_fail_or_come_late() -> None:
    assert not knee(1.0, 99, 100)
    assert knee(0.98, 99, 100)
    assert knee(1.0, 90, 100)


def test_the_tables_have_every_contender_and_every_rate() -> None:
    offered = replace(RUNS[0], connections=None, offered=0.7, offered_per_s=686, requests_per_s=681)
    report = Report("2026-01-01", "a machine", "a command", "a model", {"small": 13_000}, {}, [*RUNS, offered])
    assert "| this service, float32 | 980 | 2.00 |" in overview(report)
    assert "| bare loop, float32 | 1,400 | 10.00 |" in overview(report)
    text = markdown(report)
    assert "| this service, float32 | 400 | 980 | 10% | 2.00 | 30.0 |" in text
    assert "| LitServe | – | 500 | – | – | 30.0 |" in text
    assert "| float32, small | 800 | 1,400 | 10.00 |" in text
    assert "| this service, float32, small | 70% | 686 | 681 | 10.0 | 20.0 | 30.0 | 100.0% |" in text
    assert "p99 ÷ p50 at 70% load | 3.00 | ≤ 5 | met |" in text
