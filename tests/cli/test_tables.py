"""Tables on terminals and in pipes: no digit is cut off, however narrow the terminal is."""

import sys

import pytest

from app.cli import tables
from app.config import Settings
from app.mobilenet.cost import cost
from app.mobilenet.variants import Variant

TOTAL = cost(Variant(0.5, 160), 1000)
ROW = "conv_dw_2 depthwise 2 80² × 32 40² × 32 460,800 0.6% 416 204,800 29,491,200 0.0156"


@pytest.fixture(params=["pipe", "pipe with colours", "80 columns", "40 columns"])
def output(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40" if request.param == "40 columns" else "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: "columns" in request.param)
    if request.param == "pipe with colours":
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")  # which keeps the codes out of this output, but not its being a terminal


@pytest.mark.usefixtures("output")
def test_every_row_of_the_layers_is_whole_and_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show(tables.layers(TOTAL))
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert ROW in rows
    assert len([row for row in rows if row.startswith("conv_")]) == 27


@pytest.mark.usefixtures("output")
def test_every_row_of_the_similar_networks_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show(tables.ablations(TOTAL, Variant(0.5, 160), 1000))
    assert "full convolution 622,592,000 8.136" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("output")
def test_a_setting_is_folded_only_where_it_is_wider_than_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show(tables.settings(Settings(cors_origins=(f"https://{'long' * 60}.example",))))
    lines = capsys.readouterr().out.splitlines()
    if sys.stdout.isatty():
        assert max(map(len, lines)) <= 80
    else:
        assert any(f"https://{'long' * 60}.example" in line for line in lines)
