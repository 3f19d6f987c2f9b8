"""Installs the environment of a contender below `build/bench`, if it is not there yet."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tools.bench.contenders import CONTENDERS, FOLDER, REPOSITORY, Contender, ContenderFailed

NODE_PROJECT = Path(__file__).parent / "peers" / "fastify"
UV = str(Path(sys.executable).with_name("uv"))


def environment(contender: Contender) -> Path:
    """Return the program that runs a contender; install its environment if needed. Raises `ContenderFailed`."""
    if not contender.packages:
        return Path(sys.executable)
    if contender.model == "onnx":
        return _node()
    return python_with(contender.command[2].rsplit(".", 1)[-1], contender.packages)


def python_with(name: str, packages: Sequence[str]) -> Path:
    """Return the Python of the environment of this name, which has these packages."""
    stamp = "\n".join(pinned(packages))
    folder = FOLDER / name
    marker, python = folder / "installed", folder / "bin" / "python"
    if not marker.is_file() or marker.read_text() != stamp:
        run(UV, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        run(UV, "pip", "install", "--quiet", "--python", str(python), *pinned(packages))
        marker.write_text(stamp)
    return python


def pinned(packages: Sequence[str]) -> list[str]:
    """Return the packages with versions; a package without one gets the version installed here."""
    return [name if "==" in name else f"{name}=={version(name)}" for name in packages]


def versions(contenders: Sequence[Contender]) -> dict[str, list[str]]:
    """Return the packages of each contender with their versions, and those that are of the service's version."""
    found = {one.name: [name for name in one.packages if "==" in name] for one in contenders if one.model != "onnx"}
    found |= {one.name: _node_packages() for one in contenders if one.model == "onnx"}
    shared = {name for one in CONTENDERS if one.model != "onnx" for name in one.packages if "==" not in name}
    return {name: packages for name, packages in found.items() if packages} | {"of the service": pinned(sorted(shared))}


def _node_packages() -> list[str]:
    project = json.loads((NODE_PROJECT / "package.json").read_text())
    return [f"{name}=={number}" for name, number in project["dependencies"].items()]


def _node() -> Path:
    node = program("node")
    folder = FOLDER / "fastify"
    marker, lock = folder / "installed", (NODE_PROJECT / "package-lock.json").read_text()
    folder.mkdir(parents=True, exist_ok=True)
    for file in NODE_PROJECT.iterdir():  # the server imports its packages from its own folder
        shutil.copy(file, folder)
    if not marker.is_file() or marker.read_text() != lock:
        # What the scripts of these packages would fetch is for GPUs.
        run(program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", f"--prefix={folder}")
        marker.write_text(lock)
    return Path(node)


def program(name: str) -> str:
    """Return the path of a program of Node.js. Raises `ContenderFailed` if it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise ContenderFailed(f"Fastify needs {name}, which is not installed: install Node.js 20 or newer with npm")
    return found


def run(*command: str) -> None:
    """Run a command in the folder of this repository. Raises `ContenderFailed`, with its last words, if it fails."""
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ContenderFailed(f"{' '.join(command)} failed:\n{done.stderr[-1000:]}")
