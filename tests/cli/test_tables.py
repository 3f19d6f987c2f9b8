"""Tables on terminals and in pipes: no digit is cut off, however narrow the terminal is."""

import re
import sys
from collections.abc import Callable

import pytest
from rich.table import Table

from app.cli import tables
from app.config import Settings
from app.mobilenet.cost import cost
from app.mobilenet.variants import Variant

TOTAL = cost(Variant(0.5, 160), 1000)
ROW = "conv_dw_2 depthwise 2 80² × 32 40² × 32 460,800 0.6% 416 204,800 29,491,200 0.0156"
TERMINALS = {"80 columns": 80, "40 columns": 40}
Show = Callable[[Table], list[str]]


@pytest.fixture(params=["pipe", "pipe with colours", *TERMINALS])
def output(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    output = str(request.param)
    monkeypatch.setenv("COLUMNS", str(TERMINALS.get(output, 80)))
    monkeypatch.setenv("TERM", "xterm")
    if output == "pipe with colours":
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")  # which keeps the codes out of this output, but not its being a terminal
    return output


@pytest.fixture
def show(output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """Return a function that shows a table on this output, and returns its lines without codes of colours and fonts."""

    def show(table: Table) -> list[str]:
        # Only here, since pytest replaces `sys.stdout` between the fixtures and the test.
        monkeypatch.setattr(sys.stdout, "isatty", lambda: output in TERMINALS)
        tables.show(table)
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()

    return show


def test_every_row_of_the_layers_is_whole_and_on_a_line_of_its_own(show: Show) -> None:
    rows = [" ".join(line.split()) for line in show(tables.layers(TOTAL))]
    assert ROW in rows
    assert len([row for row in rows if row.startswith("conv_")]) == 27


def test_every_row_of_the_similar_networks_is_whole(show: Show) -> None:
    lines = show(tables.ablations(TOTAL, Variant(0.5, 160), 1000))
    assert "full convolution 622,592,000 8.136" in " ".join(" ".join(lines).split())


def test_a_setting_is_folded_only_where_it_is_wider_than_the_terminal(show: Show, output: str) -> None:
    lines = show(tables.settings(Settings(cors_origins=(f"https://{'long' * 60}.example",))))
    if output in TERMINALS:
        assert max(map(len, lines)) <= TERMINALS[output]
    else:
        assert any(f"https://{'long' * 60}.example" in line for line in lines)
