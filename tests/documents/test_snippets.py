"""Every command and every program in the documents runs, against a real service, where a reader's would."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from app.cli.vectors import Vectors, writer
from app.config import MODEL_WEIGHTS
from app.prediction.blocking import Source
from tests.support import needs
from tests.support.data import REPOSITORY
from tests.support.images import encoded, photo
from tests.support.processes import Process, Serve, environment

pytestmark = pytest.mark.e2e

DOCUMENTS = (
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("**/*.md")),
    MODEL_WEIGHTS / "README.md",
    REPOSITORY / "app" / "client" / "README.md",
)
ADDRESS = re.compile(r"(127\.0\.0\.1|localhost):8000")
BENCH, SHORT_BENCH = "mobilenet bench", "mobilenet bench --seconds 0"
"""A reader waits until the times are good; a test looks at what comes of the command."""
FAIL = 'curl() { command curl --fail-with-body --silent --show-error "$@"; }\n'
"""What a person sees in the answer, a test sees in the exit code."""

CONTAINER = "needs a container engine: test_container.py builds and runs the images, Compose and Swarm"
LEFT_OUT = {
    "make run": "makes an environment; test_start.py looks at what make runs",
    "make run WEIGHTS=imagenet": "fetches weights; test_published_weights.py does from a server of its own",
    "MOBILENET_WEIGHTS=imagenet .venv/bin/mobilenet compile": "fetches; test_bundled_weights.py compiles others",
    "docker": CONTAINER,
    ".venv/bin/mobilenet train photos\n": "trains for minutes; test_train.py runs it with few photos",
    ".venv/bin/mobilenet serve --weights photos-weights\n": "serves until it is stopped; test_train.py asks it",
    "IMAGE=registry.example": CONTAINER,
    "kubectl": "needs a cluster; test_deploy.py checks what would be applied",
    "(cd deploy/kubernetes": "changes files of the project; test_deploy.py does the same with copies",
    "cp deploy/systemd": "installs units; test_deploy.py checks them, test_sockets.py starts with a socket",
    "systemctl reset-failed": "needs systemd; nothing of this project is in it but the names of its units",
    "make bench": "takes hours; tests/tools/bench/test_bench.py runs its parts",
    ".venv/bin/python -m tools.weights.evaluate": "takes minutes and photos of no reader; test_evaluate.py asks less",
    "cp retrained.keras": "needs a network of the reader's; tests/e2e/test_reload.py replaces weights",
    "promtool": "is not everywhere; test_deploy.py runs it where it is",
    ".venv/bin/pip install --constraint": "serves until it is stopped; test_operations.py, test_grpc.py",
    ".venv/bin/python -m tools.training.quantise": "trains for minutes; test_int8.py does for steps",
    "mkdir OTHERS": "fetches packages of Debian; test_energy.py learns from less",
    ".venv/bin/python -m tools.weights.colours": "needs photos of no reader; test_colours.py has its parts",
    "make build/distil/installed": "gigabytes, and trains for hours without a GPU; `make test-distil` takes some steps",
    "MOBILENET_ALPHA=0.75": "overloads the machine for minutes, with photos of no reader",
    "MOBILENET_ALPHA=0.25 MOBILENET_RESOLUTION=128 .venv/bin/python -m tools.load.batching": "measures for minutes",
    "MOBILENET_PRECISION=int8 MOBILENET_MODEL_WORKERS=2": "starts four services and measures for minutes",
    ".venv/bin/pip install -e": "trains for hours",
    "MOBILENET_PRECISION=int8 MOBILENET_ALPHA=0.25 MOBILENET_RESOLUTION=128": "measures for minutes",
    ".venv/bin/mobilenet bench --engine litert": "measures 16 variants; test_page.py runs it with `--seconds 0`",
    ".venv/bin/mobilenet batch": "starts Ray; test_batch.py runs it",
    "from collections.abc import Iterator\nfrom contextlib import closing": "needs Spark and Java; it was run by hand",
    "import psycopg": "needs PostgreSQL with pgvector; it was run by hand",
    ".venv/bin/uv pip compile": "asks for what is published; nothing is installed",
    "pip install": "is what `make build/clients/…/installed` does",
}
"""What the first lines begin with, and why they are not run."""


IN_ORDER = "docs/tutorial.md"
"""Its commands need one another; test_tutorial.py runs them one after the other."""


class Snippet(NamedTuple):
    """A block of a document."""

    where: str
    language: str
    text: str

    @property
    def left_out(self) -> bool:
        return any(self.text.startswith(start) for start in LEFT_OUT)

    @property
    def in_order(self) -> bool:
        return self.where.startswith(IN_ORDER)


def snippets() -> Iterator[Snippet]:
    for document in DOCUMENTS:
        text = document.read_text()
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
            line = text.count("\n", 0, found.start()) + 1
            yield Snippet(f"{document.relative_to(REPOSITORY)}:{line}", found[1], found[2])


SNIPPETS = list(snippets())
VECTORS = Vectors(["a.jpg", "b.jpg"], np.eye(2, 512, dtype=np.float32), Source("none", "0" * 64, "0.5/160", "int8", 10))
SAVED = {
    "java": ("java", "Predict.java", needs.program("javac", "Java", "default-jdk-headless")),
    "javascript": ("node", "predict.mjs", needs.program("node", "Node", "nodejs")),
}
"""Languages whose programs are saved as a file: what runs them, the name of the file, and what the test needs."""
RUN = ("sh", "python", *SAVED)


@pytest.fixture(scope="module")
def process(serve: Serve) -> Iterator[Process]:
    # As docs/budgets.md starts it, and with gRPC as docs/inference-protocol.md does.
    process = serve(PRECISION="int8", VARIANTS="0.25/128,0.75/192", GRPC_PORT=0)
    yield process
    assert process.stop() == 0


def lay_out(folder: Path) -> None:
    """Put into a folder what commands name of the repository's."""
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    (folder / "model_weights").symlink_to(MODEL_WEIGHTS)


@pytest.fixture
def _compiled(snippet: Snippet, cache: Path, request: pytest.FixtureRequest) -> None:
    """Fill the cache with what `mobilenet bench` would compile in seconds, and other tests have compiled, too."""
    if BENCH in snippet.text and needs.TENSORFLOW.met:
        for model in request.getfixturevalue("bundled_float32").cache.iterdir():
            with suppress(FileExistsError):
                (cache / model.name).hardlink_to(model)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return what a reader has at hand."""
    for name in ("photo.jpg", "second.jpg", "photos/first.jpg", "photos/of/another.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded(photo(), "JPEG"))
    writer(tmp_path / "vectors.parquet")(tmp_path / "vectors.parquet", VECTORS)
    lay_out(tmp_path)
    return tmp_path


def home_of(snippet: Snippet) -> Path:
    """Return where the programs of a snippet are: with the service, or in the environment of another's client."""
    others = {
        "tritonclient": ("triton", needs.TRITON),
        "kserve": ("kserve", needs.KSERVE),
        "openapi-python-client": ("openapi", needs.GENERATOR),
        "import faiss": ("faiss", needs.FAISS),
    }
    for word, (name, need) in others.items():
        if word in snippet.text:
            need.check()
            return needs.CLIENTS / name / "bin"
    return Path(sys.executable).parent


def command_of(language: str, text: str, folder: Path) -> list[str]:
    """Return the command that runs a snippet, which is saved in the folder if its language needs that."""
    if language == "sh":
        return ["bash", "-euo", "pipefail", "-c", FAIL + text]
    if language == "python":
        return ["python", "-c", text]
    program, file, need = SAVED[language]
    need.check()
    (folder / file).write_text(text)
    return [program, file]


MADE = ("*.csv", "*-client", "why.png")
"""What commands write that print nothing."""


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize(
    "snippet",
    [one for one in SNIPPETS if one.language in RUN and not one.left_out and not one.in_order],
    ids=lambda one: one.where,
)
def test_a_snippet_runs(snippet: Snippet, process: Process, folder: Path, cache: Path, installed_client: Path) -> None:
    home = home_of(snippet)
    text = ADDRESS.sub(process.url.removeprefix("http://"), snippet.text)
    text = text.replace("localhost:9000", f"localhost:{process.grpc_port}").replace(BENCH, SHORT_BENCH)
    command = command_of(snippet.language, text, folder)
    settings = environment(PRECISION="int8", CACHE=cache)
    settings |= {"PYTHONPATH": f"{REPOSITORY}:{installed_client}", "PATH": f"{home}:{settings['PATH']}"}
    command[0] = shutil.which(command[0], path=settings["PATH"]) or command[0]
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    made = [path for form in MADE for path in folder.glob(form)]
    assert done.stdout or made, "it printed and wrote nothing"


def test_what_is_left_out_is_still_in_the_documents() -> None:
    assert [start for start in LEFT_OUT if not any(one.text.startswith(start) for one in SNIPPETS)] == []


def test_there_is_no_snippet_of_an_unknown_language() -> None:
    assert {one.language for one in SNIPPETS} - {""} <= {*RUN, "text", "json", "yaml", "nginx"}


@pytest.mark.parametrize("snippet", [one for one in SNIPPETS if one.language == "json"], ids=lambda one: one.where)
def test_a_snippet_of_json_is_json(snippet: Snippet) -> None:
    assert json.loads(snippet.text)
