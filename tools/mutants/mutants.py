"""Mutants: copies of a source file that differ from it in one place, as the operators of mutmut make them.

Two kinds of mutmut's mutants are left out. Those of strings with a space in them change the wording of a message,
which tests should not repeat. And one mutant of a string is enough, instead of three with letters of another case.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A file with one fault: its path relative to the repository, the line of the fault, and the whole text."""

    path: str
    line: int
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before}  →  {self.after}"


class Site(NamedTuple):
    """A place in a parsed file, and what mutmut would put there."""

    path: str
    tree: Any
    mutation: Any

    def mutant(self) -> Mutant:
        """Return the file with the fault in it."""
        from mutmut.mutation.file_mutation import deep_replace

        text: str = deep_replace(self.tree, self.mutation.original_node, self.mutation.mutated_node).code
        line, before, after = first_difference(self.tree.code, text)
        return Mutant(self.path, line, before, after, text)


def sites(repository: Path, path: str) -> Iterator[Site]:
    """Yield every place of a file where mutmut would put a fault that is worth trying."""
    from mutmut.mutation.file_mutation import create_mutations

    tree, mutations, *_ = create_mutations(path, (repository / path).read_text(encoding="utf-8"))
    for mutation in mutations:
        if _is_worth_trying(mutation.original_node, mutation.mutated_node):
            yield Site(path, tree, mutation)


def _is_worth_trying(original: Any, mutated: Any) -> bool:
    from libcst import SimpleString

    if not isinstance(original, SimpleString) or not isinstance(mutated, SimpleString):
        return True
    return " " not in original.value and mutated.value != original.value and "XX" in mutated.value


def sample(found: list[T], most: int | None, seed: str) -> list[T]:
    """Return at most `most` of the places, in random order; all if it is None. The same seed gives the same order."""
    return random.Random(seed).sample(found, len(found))[:most]


def first_difference(before: str, after: str) -> tuple[int, str, str]:
    """Return the number of the first line that differs, counted from 1, and that line in both texts, stripped."""
    pairs = zip_longest(before.splitlines(), after.splitlines(), fillvalue="")
    return next((number, old.strip(), new.strip()) for number, (old, new) in enumerate(pairs, 1) if old != new)
