"""The servers that are compared: chosen by name, with pinned packages, and what is missing is named."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tools.bench.contenders import CONTENDERS, ContenderFailed, chosen, ours_in
from tools.bench.environments import NODE_PROJECT, environment, pinned, versions
from tools.bench.results import DEFAULT, FASTIFY, INLINE, OPENVINO, OTHER_DECODERS, OURS, PILLOW

BY_NAME = {one.name: one for one in CONTENDERS}


def test_a_peer_has_the_decoder_and_the_runtime_of_the_service() -> None:
    assert pinned(["a==2", "pillow"]) == ["a==2", f"pillow=={version('pillow')}"]
    for contender in CONTENDERS:
        needed = {"numpy", "pillow", "simplejpeg", "cykooz.resizer"} if contender.model != "onnx" else set()
        assert not contender.packages or needed < set(contender.packages)


def test_what_decodes_otherwise_is_known_to_the_goals() -> None:
    assert {one.name for one in CONTENDERS if one.decoder != "service"} == set(OTHER_DECODERS)
    assert {DEFAULT, INLINE} < BY_NAME.keys()


def test_a_word_chooses_the_contender_of_this_name_or_all_that_have_it_in_theirs() -> None:
    assert chosen([*BY_NAME], ["mosec"]) == ["mosec"]
    assert chosen([*BY_NAME], ["Pillow", "service, float32"]) == [DEFAULT, INLINE, PILLOW]
    assert chosen([*BY_NAME], []) == [name for name in BY_NAME if OPENVINO not in name]
    named = [f"{OURS}{OPENVINO} float32", f"{OURS}{OPENVINO} int8"]
    assert chosen([*BY_NAME], ["OpenVINO float32", "OpenVINO int8"]) == named
    with pytest.raises(ContenderFailed, match="mosek is in no name of a contender; they are: this service, float32;"):
        chosen([*BY_NAME], ["mosec", "mosek"])


def test_openvino_is_served_and_checked_in_the_precision_of_its_name() -> None:
    found = [one for one in CONTENDERS if OPENVINO in one.name]
    assert [one.precision for one in found] == ["float32", "int8", "bfloat16"]
    for one in found:
        assert one.name == f"{OURS}{OPENVINO} {one.precision}"
        assert (one.engine, one.variables["MOBILENET_ENGINE"]) == ("openvino", "openvino")
        assert one.variables["MOBILENET_PRECISION"] == one.precision


def test_an_earlier_version_runs_in_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "__main__.py").write_text("import os, sys; print(os.getcwd(), __file__, sys.argv[1])")
    contender = ours_in(tmp_path)
    command = [part.format(program=sys.executable) for part in contender.command]
    done = subprocess.run(command, cwd=contender.folder, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == [str(tmp_path), str(tmp_path / "app" / "__main__.py"), "serve"]
    assert contender.variables["PYTHONPATH"] == str(tmp_path)  # for its workers, too


def test_fastify_has_pinned_packages_from_no_named_registry() -> None:
    wanted = json.loads((NODE_PROJECT / "package.json").read_text())["dependencies"]
    locked = json.loads((NODE_PROJECT / "package-lock.json").read_text())["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all("integrity" in package for name, package in locked.items() if name)
    assert not any("resolved" in package for package in locked.values())
    assert versions(CONTENDERS)[FASTIFY] == [f"{name}=={number}" for name, number in wanted.items()]


def test_what_fastify_needs_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(
        ContenderFailed, match=r"^Fastify needs node, which is not installed: install Node\.js 20 .*npm$"
    ):
        environment(BY_NAME[FASTIFY])
