"""Gathers the package `mobilenet_client` from the source of the service, when `pip wheel ./app/client` builds it.

The client and the service share their errors and the JSON of their answers. An application may have a package `app` of
its own, so the same files are packed below another name, and their imports name that one.
"""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "mobilenet_client"
APP = Path(__file__).parent.parent


class CustomBuildHook(BuildHookInterface[Any]):
    """Adds the package to a wheel or to a source distribution; `modules` in pyproject.toml lists its files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the package into a temporary folder. A source distribution, once unpacked, has it already."""
        del version
        self._folder = tempfile.mkdtemp()
        if not Path(self.root, PACKAGE).is_dir():
            package = Path(self._folder, PACKAGE)
            write(package, self.config["modules"])
            build_data["force_include"][str(package)] = PACKAGE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Delete the temporary folder."""
        del version, build_data, artifact_path
        shutil.rmtree(self._folder)


def write(package: Path, modules: list[str]) -> None:
    """Write these files of `app` into a folder as a package that imports nothing from `app`."""
    for module in modules:
        target = package / module.removeprefix("client/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(renamed((APP / module).read_text(encoding="utf-8")), encoding="utf-8")
    (package / "py.typed").touch()
    shutil.copy(APP.parent / "LICENSE", package)


def renamed(source: str) -> str:
    """Return the source of a module with `mobilenet_client` for `app.client` and for `app` in its imports."""
    return re.sub(r"^(\s*(?:from|import) )app(?:\.client)?\b", rf"\g<1>{PACKAGE}", source, flags=re.MULTILINE)
