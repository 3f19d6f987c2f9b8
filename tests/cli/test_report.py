"""What is printed of results: for people, as JSON and as CSV, and where the errors go."""

import csv
import json

import pytest

from app.cli import report
from app.cli.photos import PhotoFile
from app.cli.streams import print_any_text
from app.errors import QueueFull, Unreadable
from app.prediction.blocking import PhotoResult
from app.schemas import Prediction, Predictions

TENCH = Prediction(class_id=0, wordnet_id="n01440764", label="tench, Tinca", probability=0.93)
OWN = Prediction(class_id=1, wordnet_id=None, label='"own"', probability=0.0625)
RESULTS: list[tuple[PhotoFile, PhotoResult]] = [
    (PhotoFile("good.jpg"), Predictions(predictions=[TENCH, OWN])),
    (PhotoFile("hand.jpg"), Predictions(predictions=[OWN], familiarity=0.0123, unfamiliar=True)),
    (PhotoFile("missing, alas.jpg"), Unreadable("No such file")),
    (PhotoFile("n\udcffme.jpg"), QueueFull("full")),  # a name that is no UTF-8
]


def printed(form: report.Form, capfdbinary: pytest.CaptureFixture[bytes]) -> tuple[str, str]:
    print_any_text()
    assert report.write(RESULTS, form, len(RESULTS)) == 2
    out, err = capfdbinary.readouterr()
    return out.decode(errors="surrogateescape"), err.decode(errors="surrogateescape")


def test_people_get_a_line_a_photo_and_errors_aside(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    out, err = printed(report.TEXT, capfdbinary)
    assert out == 'good.jpg: tench, Tinca 93.0%, "own" 6.2%\nhand.jpg: (unfamiliar) "own" 6.2%\n'
    assert err == "missing, alas.jpg: No such file\nn\udcffme.jpg: full\n"


def test_what_a_name_or_a_label_does_to_a_terminal_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "a\x1b]0;pwned\x07\n.jpg"
    named = Prediction(class_id=0, wordnet_id=None, label="te\x9bnch", probability=0.5)
    results: list[tuple[PhotoFile, PhotoResult]] = [
        (PhotoFile(evil), Predictions(predictions=[named])),
        (PhotoFile(evil), QueueFull("full\r\x1b[2K")),
    ]
    report.write(results, report.TEXT, len(results))
    out, err = capsys.readouterr()
    assert out == "a\\x1b]0;pwned\\x07\\n.jpg: te\\x9bnch 50.0%\n"
    assert err == "a\\x1b]0;pwned\\x07\\n.jpg: full\\r\\x1b[2K\n"


def test_programs_get_an_object_a_line_errors_included(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    out, err = printed(report.JSON, capfdbinary)
    assert not err
    assert [json.loads(line) for line in out.splitlines()] == [
        {"path": "good.jpg", "predictions": [TENCH.model_dump(), OWN.model_dump()]},
        {"path": "hand.jpg", "predictions": [OWN.model_dump()], "familiarity": 0.0123, "unfamiliar": True},
        {"path": "missing, alas.jpg", "error": {"code": "unreadable", "detail": "No such file"}},
        {"path": "n\udcffme.jpg", "error": {"code": "queue_full", "detail": "full"}},
    ]


def test_spreadsheets_get_a_row_a_class_errors_included(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    out, err = printed(report.CSV, capfdbinary)
    assert not err
    names = ["path", "rank", "class_id", "wordnet_id", "label", "probability", "familiarity", "error", "detail"]
    assert list(csv.reader(out.splitlines())) == [
        names,
        ["good.jpg", "1", "0", "n01440764", "tench, Tinca", "0.93", "", "", ""],
        ["good.jpg", "2", "1", "", '"own"', "0.0625", "", "", ""],
        ["hand.jpg", "1", "1", "", '"own"', "0.0625", "0.0123", "", ""],
        ["missing, alas.jpg", "", "", "", "", "", "", "unreadable", "No such file"],
        ["n\udcffme.jpg", "", "", "", "", "", "", "queue_full", "full"],
    ]
