"""What came of photos, counted: errors by kind, most probable classes, and what all of it cost."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.batch.row import Row


@dataclass(slots=True)
class Tally:
    """Counts of one piece, or of a whole job.

    `already` says how many of the photos were found written. `cpu_s` are the CPU seconds of the processes that read
    and classified the others.
    """

    photos: int = 0
    already: int = 0
    macs: int = 0
    cpu_s: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Tally":
        """Count rows."""
        tally = cls()
        for row in rows:
            tally.photos += 1
            tally.macs += row["macs"]
            if row.get("error") is not None:
                tally.errors[row["error"]] += 1
            else:
                tally.classes[row["predictions"][0]["label"]] += 1
        return tally

    @property
    def failed(self) -> int:
        """How many photos have an error instead of classes."""
        return self.errors.total()

    def add(self, other: "Tally") -> None:
        """Count in what another one has counted."""
        self.photos += other.photos
        self.already += other.already
        self.macs += other.macs
        self.cpu_s += other.cpu_s
        self.errors += other.errors
        self.classes += other.classes

    def pack(self) -> str:
        """Return the counts as JSON."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def unpack(cls, text: str) -> "Tally":
        """Return the counts that were made JSON."""
        tally = cls(**json.loads(text))
        tally.errors, tally.classes = Counter(tally.errors), Counter(tally.classes)
        return tally
