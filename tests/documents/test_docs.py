"""The documents say what the code does: settings, routes, error codes, dependencies, links."""

import json
import re
import tomllib
from pathlib import Path

from pydantic_core import PydanticUndefined

from app import errors
from app.api.middleware.cors import RESPONSE_HEADERS
from app.config import MODEL_WEIGHTS, PREFIX, Settings
from app.engines.bundle import BUNDLED
from app.engines.files import entries
from app.errors import ServiceError
from app.main import create_app
from app.model import scores
from tests.support.data import REPOSITORY
from tests.support.fakes import colour_model, serving
from tools.bench import results, tables
from tools.load import batching
from tools.load.batching import Served, Speed

README = (REPOSITORY / "README.md").read_text()
CARD = (MODEL_WEIGHTS / "README.md").read_text()
API = (REPOSITORY / "docs" / "api.md").read_text()


def rows(text: str, heading: str) -> list[tuple[str, ...]]:
    """Return the cells of the first table under a heading, which there must be."""
    section = re.split(r"^#+ ", text.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.M)[0]
    lines = [line.strip("| \n").split(" | ") for line in section.splitlines() if line.startswith("|")]
    assert lines[2:], f"there is no table under {heading}"
    return [tuple(cell.strip() for cell in line) for line in lines[2:]]


COMPUTED = {
    "model_workers": "available CPUs",
    "model_threads": "as many as model workers",
    "max_queue": "64 per model worker",
}


def default(name: str) -> str:
    value = Settings.model_fields[name].default
    if value is PydanticUndefined:
        return COMPUTED[name]
    if value in (None, ()):
        return ""
    if isinstance(value, Path):
        return f"`{value.relative_to(MODEL_WEIGHTS.parent)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def test_the_readme_has_every_setting_with_its_default_and_what_it_does() -> None:
    expected = [
        (f"`{PREFIX}{name.upper()}`", default(name), field.description) for name, field in Settings.model_fields.items()
    ]
    assert rows(README, "Settings") == expected


def test_the_interface_has_every_route() -> None:
    paths = create_app(Settings(), serving(colour_model())).openapi()["paths"]
    expected = {f"`{method.upper()} {path}`" for path, methods in paths.items() for method in methods}
    assert {row[0] for row in rows(API, "Routes")} == expected


def test_the_interface_has_every_header_of_answers() -> None:
    assert sorted(row[0] for row in rows(API, "Headers")) == sorted(f"`{name}`" for name in RESPONSE_HEADERS)


def test_the_list_of_what_needs_no_key_is_that_of_the_code() -> None:
    paths = create_app(Settings(api_keys=("key",)), serving(colour_model())).openapi()["paths"]
    _, _, section = (REPOSITORY / "docs" / "deployment.md").read_text().partition("\n## Keys\n")
    listed = set(re.findall(r"`(/[^`]*)`", section.partition("\n## ")[0])) | {"/live", "/ready"}
    named = {path for path in paths if path in listed or path[path.rindex("/") :] in listed}
    assert named == {path for path, methods in paths.items() if not any("security" in one for one in methods.values())}


def test_the_interface_has_every_error_code_with_its_status() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServiceError)]
    expected = {(str(kind.status), f"`{kind.code}`") for kind in kinds if kind is not ServiceError}
    assert {row[:2] for row in rows(API, "Errors")} == expected


def test_the_error_tree_in_the_docstring_has_every_error() -> None:
    assert errors.__doc__
    names = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert [name for name in names if not re.search(rf"\b{name}\b", errors.__doc__)] == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    text = " ".join(row[0] for row in rows((REPOSITORY / "CONTRIBUTING.md").read_text(), "Dependencies"))
    extras = set(project["optional-dependencies"]) - {"openvino", "ray", "tensorflow"}  # which are packages too
    assert {re.split(r"[\[<>=; ]", name)[0] for name in wanted} == set(re.findall(r"`([a-z0-9-]+)`", text)) - extras


def test_the_model_card_has_every_score_as_it_was_measured() -> None:
    measured = scores.read()
    digits = {"Top-1": "top1", "Top-5": "top5", "Calibration error": "calibration_error"}
    for heading, name in digits.items():
        table = rows(CARD, heading)
        resolutions = [128, 160, 192, 224]
        found = {
            (float(alpha), resolution, precision): cell
            for alpha, precision, *cells in table
            for resolution, cell in zip(resolutions, cells, strict=True)
        }
        assert found == {score.key[1:]: f"{getattr(score, name) * 100:.2f}" for score in measured}


def test_the_model_card_has_the_temperature_of_every_file_of_weights() -> None:
    bundled = {name: entry for name, entry in entries(MODEL_WEIGHTS).items() if name.endswith(".weights.h5")}
    expected = {name: f"{entry['temperature']:g}" for name, entry in bundled.items()}
    assert {BUNDLED.weights(float(row[0])).name: row[1] for row in rows(CARD, "Temperature")} == expected


def test_the_figures_of_batching_are_those_that_were_measured() -> None:
    found = json.loads((REPOSITORY / "docs" / "performance" / "batching.json").read_text())
    speeds, served = [Speed(**one) for one in found["engines"]], [Served(**one) for one in found["service"]]
    text = (REPOSITORY / "docs" / "batching.md").read_text()
    assert all(table in text for table in batching.tables(speeds, served).split("\n\n"))


def test_the_figures_of_performance_are_those_that_were_measured() -> None:
    folder = REPOSITORY / "docs" / "performance"
    report = results.read(folder)
    assert (folder / "report.md").read_text() == tables.markdown(report)
    assert tables.overview(report) in (REPOSITORY / "docs" / "performance.md").read_text()


def test_the_list_of_documents_has_every_document() -> None:
    docs = REPOSITORY / "docs"
    listed = set(re.findall(r"\]\(([\w/-]+\.md)\)", (docs / "README.md").read_text()))
    there = {str(path.relative_to(docs)) for path in docs.glob("**/*.md") if path.parent.name != "decisions"}
    assert listed >= there - {"README.md"}


def test_the_list_of_decisions_has_every_decision_with_its_title() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    listed = re.findall(r"^(\d+)\. \[(.*)\]\((.*)\)$", (folder / "README.md").read_text(), re.MULTILINE)
    titles = [(path.name, path.read_text().splitlines()[0]) for path in sorted(folder.glob("0*.md"))]
    assert [(name, f"# {number}. {title}") for number, title, name in listed] == titles


def test_every_test_that_the_documents_name_is_there() -> None:
    files = [path.as_posix() for path in (REPOSITORY / "tests").rglob("test_*.py")]
    named = {
        (document.name, name)
        for document in (REPOSITORY / "CONTRIBUTING.md", *REPOSITORY.glob("docs/**/*.md"))
        for name in re.findall(r"[\w/]*\btest_\w+\.py", document.read_text())
    }
    assert ("reliability.md", "e2e/test_reliability.py") in named
    assert [one for one in named if not any(file.endswith(f"/{one[1]}") for file in files)] == []


def test_every_relative_link_leads_to_a_file_and_to_a_heading_in_it() -> None:
    documents = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), MODEL_WEIGHTS / "README.md"]
    links = {
        (document, target, heading)
        for document in documents
        for target, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", document.read_text())
        if not target.startswith("https://")
    }
    assert {document for document, _, _ in links} > {REPOSITORY / "README.md", REPOSITORY / "docs" / "README.md"}
    assert [link for link in links if not leads(*link)] == []


def leads(document: Path, target: str, heading: str) -> bool:
    """Tell whether there are the file and the heading that a link in a document names."""
    file = document.parent / target if target else document
    return file.exists() and (not heading or heading in anchors(file))


def anchors(document: Path) -> set[str]:
    """Return the fragments by which the headings of a document are linked, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
