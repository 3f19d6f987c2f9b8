"""Mutation testing of the packages of the service by their fast tests: `python -m tools.mutants`, or `make mutants`.

A mutant is a copy of the service with one small fault. It is killed if a test fails, and it survives if all pass: then
either a test is missing, or the fault makes no difference to anybody. docs/decisions/0027 has what is tried, and how.
"""

import fcntl
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from tqdm import tqdm

from tools.mutants.copy import Copy
from tools.mutants.mutants import Mutant, Site, sample, sites
from tools.mutants.packages import PACKAGES, Package
from tools.mutants.process import import_others, passes
from tools.mutants.suite import Suite, TestsFailed, record

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "build" / "mutants"
tqdm.monitor_interval = 0  # its thread might hold a lock while a test is forked
START_S, SLOWER = 5.0, 3.0
"""What takes this long, and this many times longer than without a fault besides, hangs."""


class Verdict(NamedTuple):
    """What the tests make of a mutant: killed, hangs (which counts as killed), or survived."""

    mutant: Mutant
    outcome: str


def verdicts(package: Package, chosen: list[Site], copy: Copy) -> Iterator[Verdict]:
    """Yield a verdict on each mutant of a package."""
    suite = record(package.tests, package.files(copy.folder), copy.folder)
    import_others(suite.modules)
    if not passes(package.tests, copy.folder, *_limits_s(suite, suite.seconds)):
        raise TestsFailed(copy.folder.with_suffix(".log").read_text(encoding="utf-8")[-3000:])
    for site in chosen:
        mutant = site.mutant()
        with copy.mutated(mutant):
            yield Verdict(mutant, _outcome(mutant, site.tree.code, suite, copy))


def _outcome(mutant: Mutant, original: str, suite: Suite, copy: Copy) -> str:
    tests = suite.noticing(mutant.path, mutant.line, original)
    passed = passes(tests, copy.folder, *_limits_s(suite, tests))
    return "hangs" if passed is None else "survived" if passed else "killed"


def _limits_s(suite: Suite, tests: Iterable[str]) -> tuple[float, float]:
    """Return how long one of the tests may take, and how long all of them together."""
    seconds = [suite.seconds[name] for name in tests]
    return START_S + SLOWER * max(seconds), 2 * START_S + SLOWER * sum(seconds)


def row(package: Package, counted: Counter[str], of: int, took_s: float) -> str:
    """Return the row of a table in Markdown: package, mutants, killed and hanging ones, score, sample, seconds."""
    tried = counted.total()
    killed = tried - counted["survived"]
    which = "whole" if tried == of else f"of {of:,}"
    return f"| {package.name} | {tried:,} | {killed:,} | {killed / tried:.0%} | {which} | {took_s:,.0f} |"


def main(
    package: Annotated[list[str] | None, typer.Option(help="Only this package; may be given more than once.")] = None,
    sample_size: Annotated[int | None, typer.Option("--sample", min=1, help="At most so many of a package.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed chooses other mutants.")] = 0,
    only: Annotated[str, typer.Option(help="Only files whose path contains this.")] = "",
) -> None:
    """Try mutants of each package; print the survivors and a table, and write both below build/mutants."""
    wanted = _wanted(package or [])
    rows: list[str] = []
    with (FOLDER / "lock").open("w") as alone:  # two runs would mutate the same copy
        fcntl.flock(alone, fcntl.LOCK_EX)
        copy = Copy(REPOSITORY, FOLDER / "tree")
        for one in wanted:
            found = [site for path in one.files(copy.folder) if only in path for site in sites(copy.folder, path)]
            if found:
                rows.append(_score(one, found, sample(found, sample_size, f"{seed}/{one.name}"), copy))
                typer.echo(rows[-1])
    if not rows:
        names = ", ".join(one.name for one in wanted)
        raise typer.BadParameter(f"--only {only}: no such file of {names} has a place for a fault")
    typer.echo("\n".join(rows))


def _wanted(names: list[str]) -> list[Package]:
    known = {one.name: one for one in PACKAGES}
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"--package {unknown[0]}: there is no such package; allowed are {', '.join(known)}")
    return [one for name, one in known.items() if not names or name in names]


def _score(package: Package, found: list[Site], chosen: list[Site], copy: Copy) -> str:
    """Try mutants of one package, print the survivors, and return its row of the table."""
    start = time.monotonic()
    counted: Counter[str] = Counter()
    survivors: list[str] = []
    try:
        for mutant, outcome in tqdm(verdicts(package, chosen, copy), package.name, len(chosen), mininterval=10):
            counted[outcome] += 1
            if outcome == "survived":
                survivors.append(str(mutant))
                tqdm.write(str(mutant))
    except TestsFailed as exc:
        return f"| {package.name} | the tests fail without a mutant: {exc}"
    (FOLDER / f"{package.name}.json").write_text(json.dumps(survivors, indent=1, ensure_ascii=False), encoding="utf-8")
    return row(package, counted, len(found), time.monotonic() - start)


if __name__ == "__main__":
    typer.run(main)
