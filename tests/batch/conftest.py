"""What the tests of batches share."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.batch.storage import asking
from tests.batch.far import Far
from tests.support import needs


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    """Return the storage of another machine, which is empty and answers. It needs fsspec, which Ray brings."""
    needs.RAY.check()
    import fsspec
    from fsspec.implementations.memory import MemoryFile

    storage, read = Far(fsspec.filesystem("memory")), MemoryFile.read

    def asked(file: Any, *arguments: Any) -> Any:
        storage.check(file.path, file.tell())
        return read(file, *arguments)

    monkeypatch.setattr(MemoryFile, "read", asked, raising=False)
    monkeypatch.setattr(asking, "sleep", storage.pause)
    storage.system.store.clear()  # there is one for all of this process, which other tests use, too
    yield storage
    storage.system.store.clear()
