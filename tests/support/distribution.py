"""The wheel of the client, built as its users build it, and installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.data import REPOSITORY
from tests.support.shared import made_once, shared_folder

SOURCE = REPOSITORY / "app" / "client"
BUILD = ("wheel", "--no-build-isolation", "--no-deps", "--quiet", "--wheel-dir")
INSTALL = ("install", "--no-index", "--no-deps", "--quiet", "--target")


@pytest.fixture(scope="session")
def client_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of the wheel."""
    (path,) = made_once(
        shared_folder(tmp_path_factory) / "wheel", lambda folder: _pip(*BUILD, folder, SOURCE)
    ).iterdir()
    return path


@pytest.fixture(scope="session")
def installed_client(client_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that has `mobilenet_client`, to be put on the path of Python."""
    return made_once(shared_folder(tmp_path_factory) / "client", lambda folder: _pip(*INSTALL, folder, client_wheel))


def _pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
