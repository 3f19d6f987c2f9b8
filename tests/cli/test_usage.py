"""What is wrong with a command line is one line, with the nearest name."""

import pytest
from typer.testing import CliRunner

from app import control
from app.cli.main import cli
from app.reload import Outcome


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("serve --prot 9000", "No such option: --prot. Did you mean --port? (see mobilenet serve --help)"),
        ("classify photo.jpg --jsno", "No such option: --jsno. Did you mean --json? (see mobilenet classify --help)"),
        ("serve --utterly-wrong", "No such option: --utterly-wrong (see mobilenet serve --help)"),
        ("clasify photo.jpg", "No such command 'clasify'. Did you mean 'classify'? (see mobilenet --help)"),
        ("classify", "Missing argument 'photos'. (see mobilenet classify --help)"),
        ("serve photo.jpg", "Got unexpected extra argument(s) (photo.jpg) (see mobilenet serve --help)"),
        (
            "serve --log-format jsn",
            "Invalid value for '--log-format': 'jsn' is not one of 'text', 'json'. (see mobilenet serve --help)",
        ),
    ],
)
def test_a_wrong_command_line_is_one_line_on_standard_error(arguments: str, says: str) -> None:
    done = CliRunner().invoke(cli, arguments.split(), prog_name="mobilenet", env={"COLUMNS": "20"})
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"mobilenet: {says}\n")


def test_a_command_line_without_a_command_is_answered_with_help() -> None:
    done = CliRunner().invoke(cli, [], prog_name="mobilenet")
    assert done.exit_code == 2
    assert "classify" in done.output
    assert "mobilenet: " not in done.output


def test_the_exit_code_of_a_command_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CliRunner().invoke(cli, ["info"]).exit_code == 0
    assert CliRunner().invoke(cli, ["--version"]).exit_code == 0
    monkeypatch.setattr(control, "ask", lambda _: Outcome(False, "the file is damaged"))
    done = CliRunner().invoke(cli, ["reload"])
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "mobilenet: not reloaded: the file is damaged\n")
