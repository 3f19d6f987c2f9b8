"""The drawings of CONTRIBUTING.md show the floors of the import contract, and files that are there."""

import re
import tomllib
from itertools import groupby, pairwise

from tests.support.data import REPOSITORY

TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text()
CONTRACT = next(
    contract
    for contract in tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    if contract["type"] == "layers"
)
FLOORS = [frozenset(re.split(r"\W+", layer)) for layer in CONTRACT["layers"]]


def drawing(heading: str) -> str:
    """Return the first drawing below a heading."""
    found = re.search(rf"^#+ {heading}\n.*?^```text\n(.*?)^```$", TEXT, re.M | re.S)
    assert found
    return found[1]


def test_the_floors_are_drawn_as_the_import_contract_has_them() -> None:
    lines = drawing("The floors").splitlines()
    floors = [list(group) for is_floor, group in groupby(lines, lambda line: not line.startswith("─")) if is_floor]
    assert [frozenset(line.split()[0] for line in floor) for floor in floors] == FLOORS
    assert all(len(line.split()) > 1 for floor in floors for line in floor), "each says what it is"


def test_every_package_and_module_on_disk_is_on_a_floor() -> None:
    app = REPOSITORY / "app"
    there = {path.parent.name for path in app.glob("*/__init__.py")} | {path.stem for path in app.glob("*.py")}
    assert frozenset.union(*FLOORS) == there - {"__init__", *CONTRACT["exhaustive_ignores"]}


def test_a_photo_goes_through_files_that_are_there_and_never_up_a_floor() -> None:
    files = re.findall(r"app/(\w+)/\w+\.py", way := drawing("The way of a photo"))
    assert len(files) > 8
    assert [path for path in re.findall(r"app/\S+\.py", way) if not (REPOSITORY / path).is_file()] == []
    levels = [next(level for level, floor in enumerate(FLOORS) if package in floor) for package in files]
    assert all(above <= below for above, below in pairwise(levels)), files
