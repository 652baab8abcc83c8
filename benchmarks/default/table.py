"""Print what run.py found: a row for each group, and whether the default keeps its promise.

    python benchmarks/default/table.py benchmarks/results/default/results.json
    python benchmarks/default/table.py after.json --before before.json    the gains of both

Gains are in percentage points of the test images, means over the repeats of a group, with their
paired standard errors: without labels over the median member, with labels over the member that the
same labels choose. "best candidate" is the gain of the one network of candidates.py that all
labelled choice images choose. What was chosen is counted over repeats and draws. The promise is one
on groups: over those of kind "same" the mean gain is at least -0.1 and none is below -2 standard
errors; over those of kind "different" the sum of the gains is at least 80 % of the best
candidates'.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CASES = {"without": "without labels", "with": "with labels"}
LEAST_MEAN, LEAST_ERRORS, LEAST_SHARE = -0.1, -2.0, 0.8
HARMLESS = ("same", "parts", "bad")  # kinds in which a merge can hardly gain
GAINFUL = ("different", "origin")


@dataclass(frozen=True)
class Row:
    """One group, with or without labels: means over its repeats.

    gain, error, best: in percentage points; best is that of the best candidate. chosen: what was
    taken, with how often. lowest: the least of gain / error of single repeats.
    """

    name: str
    kind: str
    gain: float
    error: float
    best: float
    chosen: str
    lowest: float
    failed: int

    @property
    def errors(self) -> float:
        """The gain in standard errors."""
        return in_errors(self.gain, self.error)

    def __str__(self) -> str:
        return f"{self.chosen} | {self.gain:+.2f} ± {self.error:.2f} | {self.best:+.2f}"


def in_errors(gain: float, error: float) -> float:
    """gain / error; 0 if both are 0."""
    if error:
        return gain / error
    return math.copysign(math.inf, gain) if gain else 0.0


def best_candidate(group: Mapping[str, Any]) -> str:
    """The candidate that the labelled choice images choose; of equal ones the first."""
    found = group["candidates"]
    return max(found, key=lambda name: found[name]["choices"])


def row(name: str, repeats: Sequence[Mapping[str, Any]], case: str) -> Row:
    """The row of a group, from its repeats."""
    found = [(group, group[case]) for group in repeats]
    draws = [draw for _, one in found for draw in one["draws"]]
    done = [(group, one) for group, one in found if "gain" in one]
    count = max(1, len(done))
    tops = [group["candidates"][best_candidate(group)]["test"] for group, _ in done]
    return Row(
        name,
        repeats[0]["kind"],
        sum(one["gain"] for _, one in done) / count,
        math.sqrt(sum(one["error"] ** 2 for _, one in done)) / count,
        sum(top - one["baseline"] for top, (_, one) in zip(tops, done, strict=True)) / count,
        counted(draw.get("choice", "an error") for draw in draws),
        min((in_errors(one["gain"], one["error"]) for _, one in done), default=0.0),
        sum("error" in draw and "gain" not in draw for draw in draws),
    )


def counted(choices: Iterable[str]) -> str:
    """What was chosen, the most frequent first, with counts if there are several."""
    found = Counter(re.sub(r"\bmember \d+", "a member", choice) for choice in choices)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{count} {name}" for name, count in found.most_common())


def rows_of(record: Mapping[str, Any], case: str) -> list[Row]:
    """The rows of all groups that are not broken."""
    names = dict.fromkeys(name.split("/")[0] for name in record)
    repeats = {
        name: [g for key, g in record.items() if key.split("/")[0] == name] for name in names
    }
    return [
        row(name, found, case) for name, found in repeats.items() if found[0]["kind"] != "broken"
    ]


def mean_gain(rows: Sequence[Row], kind: str) -> float:
    """The mean gain over the groups of a kind, in percentage points."""
    found = [r.gain for r in rows if r.kind == kind]
    return sum(found) / len(found)


def share_of_best(rows: Sequence[Row], kind: str) -> float:
    """The sum of the gains over that of the best candidates', of the groups of a kind."""
    best = sum(r.best for r in rows if r.kind == kind)
    return sum(r.gain for r in rows if r.kind == kind) / best if best > 0 else math.nan


def verdict(rows: Sequence[Row]) -> list[str]:
    """One sentence for each kind: what the promise asks of it, and whether it is kept."""
    lines = []
    for kind in HARMLESS:
        of_kind = [r for r in rows if r.kind == kind]
        if not of_kind:
            continue
        mean = mean_gain(rows, kind)
        low = min(of_kind, key=lambda r: r.errors)
        single = min(r.lowest for r in of_kind)
        kept = mean >= LEAST_MEAN and low.errors >= LEAST_ERRORS
        lines.append(
            f"{kind}, {len(of_kind)} groups: mean {mean:+.2f} (at least {LEAST_MEAN}), the lowest"
            f" {low.name} at {low.errors:+.1f} standard errors (at least {LEAST_ERRORS:.0f};"
            f" of single repeats {single:+.1f}): {'kept' if kept else 'NOT KEPT'}."
        )
    for kind in GAINFUL:
        of_kind = [r for r in rows if r.kind == kind]
        if not of_kind:
            continue
        share = share_of_best(rows, kind)
        below = [f"{r.name} {r.gain:+.1f} of {r.best:+.1f}" for r in of_kind if lags(r)]
        kept = share >= LEAST_SHARE
        lines.append(
            f"{kind}, {len(of_kind)} groups: {100 * share:.0f} % of the best candidates' gain (at"
            f" least {100 * LEAST_SHARE:.0f} %): {'kept' if kept else 'NOT KEPT'}."
            + (f" Below that: {', '.join(below)}." if below else "")
        )
    return lines


def lags(one: Row) -> bool:
    """Whether a group is below the share of the best candidate's gain, beyond the error."""
    return one.gain + one.error < LEAST_SHARE * one.best and one.best > -LEAST_MEAN


def groups(record: Mapping[str, Any]) -> list[str]:
    """The table of all groups that are not broken."""
    both = {case: rows_of(record, case) for case in CASES}
    heads = [f"{told}: chosen | gain | best candidate" for told in CASES.values()]
    lines = [f"| group | kind | best member | ensemble | {' | '.join(heads)} |", "|---" * 10 + "|"]
    for without, labelled in zip(both["without"], both["with"], strict=True):
        own = [g for key, g in record.items() if key.split("/")[0] == without.name]
        member = sum(max(g["members"]) for g in own) / len(own)
        pooled = sum(g["ensembles"]["probabilities"]["test"] for g in own) / len(own)
        lines.append(
            f"| {without.name} | {without.kind} | {member:.1f} | {pooled:.1f} | {without} |"
            f" {labelled} |"
        )
    return lines


def show(record: Mapping[str, Any]) -> None:
    """Print the table, the groups that are broken, and the verdicts."""
    both = {case: rows_of(record, case) for case in CASES}
    print("\n".join(groups(record)) + "\n")
    broken = [g for g in record.values() if g["kind"] == "broken"]
    named = sum("member 2" in str(g[case]["draws"][0]) for g in broken for case in CASES)
    if broken:
        print(f"broken: {named} of {2 * len(broken)} merges named the member.\n")
    for case, told in CASES.items():
        print(f"{told[0].upper()}{told[1:]}:")
        for line in verdict(both[case]):
            print(f"- {line}")
        failed = sum(r.failed for r in both[case])
        if failed:
            print(f"- {failed} merges ended in an error.")
        print()


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """The gains of two runs side by side, of the groups that both have."""
    print("| group | kind | without labels: before | after | with labels: before | after |")
    print("|---" * 6 + "|")
    tables = [{r.name: r for r in rows_of(x, c)} for c in CASES for x in (before, after)]
    for name in tables[0]:
        if all(name in found for found in tables):
            cells = [f"{found[name].gain:+.2f}" for found in tables]
            print(f"| {name} | {tables[0][name].kind} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--before", type=Path, help="an earlier run, to stand beside")
    arguments = parser.parse_args()
    record = json.loads(arguments.results.read_text())
    if arguments.before:
        compare(json.loads(arguments.before.read_text()), record)
    else:
        show(record)


if __name__ == "__main__":
    main()
