"""Tables of docs/evidence/reliability.md: how the promises were tried."""

from __future__ import annotations

from typing import Any

from benchmarks.evidence.registry import claim, table

LEFT = {  # what a kill left of the result
    "absent": "nothing",
    "resumable": "a run that goes on",
    "to be finished": "all, to be put into place",
    "complete": "the whole result",
    "not killed": "it had ended before",
}


@table("kills of commands")
def kills(results: dict[str, dict[str, Any]]) -> list[str]:
    """One row for each command: what the kills left."""
    lines = [
        f"| command | kills | {' | '.join(LEFT.values())} | faults |",
        "|---" * (3 + len(LEFT)) + "|",
    ]
    for command, own in results.items():
        left = [str(own["left"].get(key, 0)) for key in LEFT]
        lines.append(
            f"| `{command}` | {own['trials']} | {' | '.join(left)} | {len(own['faults'])} |"
        )
    return lines


@table("damaged files")
def damages(*results: dict[str, Any]) -> list[str]:
    """What was done to the files."""
    lines = ["| damage | files |", "|---|---|"]
    for kind, own in zip(("safetensors", "torch"), results, strict=True):
        lines += [f"| {kind}: {name} | {count:,} |" for name, count in own["damages"].items()]
    return lines


@table("merges of random networks")
def merges(results: dict[str, Any]) -> list[str]:
    """How often each option was tried, and by how much copies deviated under exact methods."""
    lines = ["| option | merges | largest deviation |", "|---|---|---|"]
    for name, own in results["options"].items():
        if name.startswith(("align", "fold", "repair")):
            exact = f"{own['exact']:.1e}" if own["exact"] else ""
            lines.append(f"| {name} | {own['merges']:,} | {exact} |")
    return lines


def count(results: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """File -> its mutants, and those that no test noticed."""
    return {
        name: (
            len(own["mutants"]),
            sum(each["ending"] == "passed" for each in own["mutants"].values()),
        )
        for name, own in results.items()
    }


@table("mutants")
def mutants(results: dict[str, Any]) -> list[str]:
    """One row for each file."""
    lines = ["| file | wrong lines | noticed | not noticed |", "|---|---|---|---|"]
    for name, (made, alive) in count(results).items():
        lines.append(f"| {name} | {made} | {made - alive} | {alive} |")
    return lines


@claim("Wrong lines that the tests notice", "reliability.md#mutants", "mutation/results.json")
def noticed(results: dict[str, Any]) -> str:
    """Over all files."""
    made, alive = (sum(column) for column in zip(*count(results).values(), strict=True))
    return f"{made - alive} of {made}, {100 * (made - alive) / made:.1f} %"
