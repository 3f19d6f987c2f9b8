"""The report takes the trainings that were asked for, and says which are missing."""

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.support import needs
from tools.experiments import results
from tools.experiments.results import ONE_FOR_ALL, TrainingResult

pytest.importorskip("torch", reason=needs.PYTORCH.reason)

from tools.experiments import trainings
from tools.experiments.__main__ import cli


def test_the_report_has_the_width_multipliers_that_were_asked_for(tmp_path: Path) -> None:
    for alpha in (0.25, 0.5, 1.0):
        for seed in (0, 1):
            found = [
                TrainingResult(name, alpha, 128, seed, 4, 1, 1, 10, top1, 0, 0)
                for name, top1 in (("trained at 128", 0.5), (ONE_FOR_ALL, 0.6))
            ]
            folder = tmp_path / f"resolution-{alpha:g}-seed-{seed}"
            folder.mkdir()
            results.write(folder / trainings.RESULTS, found)
    command = ["report", "--run", str(tmp_path), "--docs", str(tmp_path), "--experiment", "resolution"]
    done = CliRunner().invoke(cli, [*command, "--alpha", "0.25", "--alpha", "0.5"])
    assert done.exit_code == 0, done.output
    written = [(one.alpha, one.seed) for one in results.read(tmp_path / "resolutions.json")]
    assert sorted(set(written)) == [(0.25, 0), (0.25, 1), (0.5, 0), (0.5, 1)]
    with Image.open(tmp_path / "resolutions.png") as picture:
        assert picture.width > 2 * picture.height


def test_a_report_of_less_than_two_seeds_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["report", "--run", str(tmp_path), "--docs", str(tmp_path)], env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert "has results of 0 seeds at α 0.25; an error needs two or more" in done.output
    assert not list(tmp_path.iterdir())


def test_architectures_are_reported_at_one_width_multiplier(tmp_path: Path) -> None:
    command = ["report", "--run", str(tmp_path), "--docs", str(tmp_path), "--alpha", "0.25", "--alpha", "0.5"]
    done = CliRunner().invoke(cli, command, env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert "--alpha may be given once" in done.output
