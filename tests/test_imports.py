"""What the processes of `mobilenet serve` do not import at their start, because it would make them ready later."""

import subprocess
import sys

import pytest

FRONT = "app.cli.main", "app.runtime.loading", "app.main", "app.server.serve"
"""What the HTTP process imports until it is ready."""
TEMPLATE = "app.runtime.worker", "app.engines.litert"
"""What the process imports that loads the model."""

COMPILING = "tensorflow", "keras", "h5py", "openvino", "matplotlib"
DECODING = "PIL", "pi_heif", "simplejpeg", "cykooz_resizer", "ai_edge_litert", "app.imaging.decode", "app.model.loading"
OTHER_COMMANDS = "rich", "ray", "pyarrow", "app.batch", "app.client", "app.training", "app.cli.tables", "httpx"
SERVING = (
    "fastapi",
    "starlette",
    "uvicorn",
    "typer",
    "prometheus_client",
    "app.api",
    "app.cli",
    "app.server",
    "app.schemas",
)
ON_DEMAND = "grpc", "google.protobuf", "app.engines.download"


@pytest.mark.parametrize(
    ("imported", "unneeded"),
    [
        pytest.param(FRONT, (*COMPILING, *DECODING, *OTHER_COMMANDS, *ON_DEMAND), id="HTTP process"),
        pytest.param(TEMPLATE, (*COMPILING, *OTHER_COMMANDS, *SERVING, *ON_DEMAND), id="template"),
    ],
)
def test_a_process_of_the_service_imports_at_its_start_only_what_it_needs(
    imported: tuple[str, ...], unneeded: tuple[str, ...]
) -> None:
    program = f"import sys, {', '.join(imported)}; print(*(set({unneeded}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
