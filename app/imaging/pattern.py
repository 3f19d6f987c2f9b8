"""Patterns of the names of files and folders, which mean the same on this machine and in object storage."""

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import has_magic
from typing import Final

Places = frozenset[int]
"""Which parts of a pattern the next name may fit, as there may be several: those behind `**`, and `**` itself."""
FOLDERS: Final = "**"
"""Any number of folders, none included."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What the names of folders, and in the end of a file or a folder, have to be; each part is for one name.

    A folder that matches stands for all that is in it, so a pattern without parts is a whole folder. No name is looked
    at twice, however many ways there are in which it matches. As in a shell, only a part that begins with a dot fits a
    name that does.
    """

    parts: tuple[str, ...]

    @property
    def start(self) -> Places:
        """The places in the folder in which the pattern is searched."""
        return self._reached({0})

    def after(self, places: Places, name: str) -> Places:
        """Return the places after a name; none if neither it nor anything in it can match."""
        if self.matches(places):
            return places
        fitting = {place for place in places if _fits(name, self.parts[place])}
        return self._reached({place if self.parts[place] == FOLDERS else place + 1 for place in fitting})

    def names(self, places: Places) -> list[str] | None:
        """Return the only names that can fit, if the pattern says them; None if others may."""
        if self.matches(places):
            return None
        parts = {self.parts[place] for place in places}
        return None if any(not part or has_magic(part) for part in parts) else sorted(parts)

    def matches(self, places: Places) -> bool:
        """Whether these are the places after a name that matches, or after what is in a folder that does."""
        return len(self.parts) in places

    def _reached(self, places: set[int]) -> Places:
        """Return the places together with those behind each `**`, which may stand for no folder."""
        reached = set(places)
        for place, part in enumerate(self.parts):
            if place in reached and part == FOLDERS:
                reached.add(place + 1)
        return frozenset(reached)


WHOLE: Final = Pattern(())


def _fits(name: str, part: str) -> bool:
    if not part:  # behind the last slash: all that is in the folder before it
        return True
    if name.startswith(".") and not part.startswith("."):
        return False
    return fnmatchcase(name, part)


def split(argument: str, root: int = 0) -> tuple[str, Pattern] | None:
    """Return the folder in which a pattern is to be searched, with a slash at its end, and the pattern in there.

    The first `root` parts between slashes are no pattern. Returns None where nothing is. `**` at the end stands for all
    that does not begin with a dot.
    """
    parts = argument.split("/")
    first = next((at for at in range(root, len(parts)) if has_magic(parts[at])), None)
    if first is None:
        return None
    between = (part for part in parts[first:-1] if part not in ("", os.curdir))
    last = (FOLDERS, "*") if parts[-1] == FOLDERS else parts[-1:]
    return "".join(f"{part}/" for part in parts[:first]), Pattern((*between, *last))
