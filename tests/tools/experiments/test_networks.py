"""Networks compute in what the processor is fast at."""

import pytest

from tests.support import needs

torch = pytest.importorskip("torch", reason=needs.PYTORCH.reason)

from tools.experiments import networks  # noqa: E402


@pytest.mark.parametrize(
    ("device", "found", "name"),
    [
        ("cpu", {"avx2", "amx_bf16"}, "bfloat16"),
        ("cpu", {"avx2"}, "float32"),
        ("cpu", set(), "float32"),
        ("cuda", {"avx2"}, "bfloat16"),
        ("cuda:1", set(), "bfloat16"),
    ],
)
def test_bfloat16_is_only_for_processors_that_have_it(
    monkeypatch: pytest.MonkeyPatch, device: str, found: set[str], name: str
) -> None:
    monkeypatch.setattr(networks, "instructions", lambda: frozenset(found))
    precision = networks.fastest_precision(device)
    assert precision == getattr(torch, name)
    assert networks.architectures(0.25)[0].build(10, precision).precision == precision
