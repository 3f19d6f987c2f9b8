"""The client as a distribution of its own, in an application that has a package `app` of its own."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from app import __version__
from app.errors import EmptyImage
from tests.support.data import REPOSITORY
from tests.support.distribution import SOURCE
from tests.support.script import playing, predicted, refused

APPLICATION = """
import asyncio, json, sys
import app
from mobilenet_client import AsyncClient, Client
from mobilenet_client.errors import EmptyImage
from mobilenet_client.schemas import Predictions

async def later(url):
    async with AsyncClient(url) as client:
        return await client.predict(b"photo")

with Client(sys.argv[1]) as client:
    answers = [client.predict(b"photo"), asyncio.run(later(sys.argv[1]))]
    answers += [item.response for item in client.predict_many(["photo.jpg"])]
    try:
        client.predict(b"")
    except EmptyImage as error:
        detail = error.detail
results = [answer.results[0] for answer in answers]
assert all(isinstance(result, Predictions) for result in results)
labels = [result.predictions[0].label for result in results]
files = [module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)]
print(json.dumps({"app": app.NAME, "labels": labels, "detail": detail, "files": files}))
"""


def project(path: Path) -> Any:
    return tomllib.loads(path.read_text())


def test_the_wheel_has_the_client_and_its_types_and_nothing_else(client_wheel: Path) -> None:
    with zipfile.ZipFile(client_wheel) as archive:
        names = set(archive.namelist())
    assert {name.partition("/")[0] for name in names} == {
        "mobilenet_client",
        f"mobilenet_client-{__version__}.dist-info",
    }
    assert {"mobilenet_client/py.typed", "mobilenet_client/LICENSE"} <= names


def test_an_application_with_a_package_app_of_its_own_classifies(installed_client: Path, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("NAME = 'another application'")
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    (tmp_path / "program.py").write_text(APPLICATION)
    with playing(predicted("red"), predicted("blue"), predicted("green"), refused(EmptyImage("no bytes"))) as script:
        command = [sys.executable, str(tmp_path / "program.py"), script.url]
        path = os.environ | {"PYTHONPATH": str(installed_client)}
        done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["app"], found["detail"]) == ("another application", "no bytes")
    assert found["labels"] == ["red", "blue", "green"]
    assert not [name for name in found["files"] if name.startswith(f"{REPOSITORY / 'app'}/")]


def test_the_client_is_made_of_exactly_what_it_imports() -> None:
    program = "import app.client, sys, json; print(json.dumps([name for name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    packed = project(SOURCE / "pyproject.toml")["tool"]["hatch"]["build"]["hooks"]["custom"]["modules"]
    names = {f"app/{path}".removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in packed}
    assert {name for name in json.loads(done.stdout) if name.partition(".")[0] == "app"} == names | {"app"}


def test_the_client_has_the_version_and_the_dependencies_of_the_service() -> None:
    client, service = (project(path / "pyproject.toml")["project"] for path in (SOURCE, REPOSITORY))
    assert client["version"] == __version__
    assert set(client["dependencies"]) < set(service["dependencies"])
