"""Networks compute in what the processor is fast at."""

import pytest

from tests.support import needs

torch = pytest.importorskip("torch", reason=needs.PYTORCH.reason)

from tools.experiments import networks  # noqa: E402


@pytest.mark.parametrize(
    ("found", "name"), [({"avx2", "amx_bf16"}, "bfloat16"), ({"avx2"}, "float32"), (set(), "float32")]
)
def test_bfloat16_is_only_for_processors_that_have_it(
    monkeypatch: pytest.MonkeyPatch, found: set[str], name: str
) -> None:
    monkeypatch.setattr(networks, "instructions", lambda: frozenset(found))
    assert networks.architectures(0.25)[0].build(10).precision == getattr(torch, name)
