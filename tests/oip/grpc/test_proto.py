"""The Python module of the messages is what its definition gives, and has the published names and numbers."""

from pathlib import Path

import pytest
from grpc_tools import protoc

from tests.support.data import REPOSITORY

SOURCE = "app/oip/grpc/inference.proto"


@pytest.mark.parametrize("name", ["inference_pb2.py", "inference_pb2.pyi"])
def test_what_is_generated_is_up_to_date(name: str, tmp_path: Path) -> None:
    command = ["protoc", f"--proto_path={REPOSITORY}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", SOURCE]
    assert protoc.main(command) == 0
    generated = (tmp_path / SOURCE).with_name(name)
    assert generated.read_text() == (REPOSITORY / SOURCE).with_name(name).read_text(), "make proto"
