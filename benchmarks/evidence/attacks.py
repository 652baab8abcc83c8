"""The table of docs/evidence/attacks.md: what was tried against onefold, and what failed."""

from __future__ import annotations

from typing import Any

from benchmarks.evidence.registry import claim, table

MERGES = "random networks merged with copies of themselves, in every pair of options"
HEADERS = "damaged headers of safetensors files"
ARCHIVES = "damaged torch files"
RECIPES = "spoiled recipes"
KILLS = "commands killed at random moments, and at every rename and write, by three signals"
RACES = "pairs of public functions in two threads, on the same members"


def counts(
    merges: dict[str, Any],
    headers: dict[str, Any],
    archives: dict[str, Any],
    recipes: dict[str, Any],
    kills: dict[str, Any],
    races: dict[str, Any],
) -> list[tuple[str, str, int]]:
    """Every attack: what it is, how many trials, how many faults."""
    files = {HEADERS: headers, ARCHIVES: archives, RECIPES: recipes}
    return [
        (
            MERGES,
            f"{merges['merges']:,} merges of {merges['networks']:,} networks",
            len(merges["faults"]),
        ),
        *((what, f"{own['files']:,}", len(own["faults"])) for what, own in files.items()),
        (
            KILLS,
            f"{sum(row['trials'] for row in kills.values())} kills of {len(kills)} commands",
            sum(len(row["faults"]) for row in kills.values()),
        ),
        (RACES, f"{races['races']} races of {races['pairs']} pairs", len(races["faults"])),
    ]


@table("attacks")
def attacks(*results: dict[str, Any]) -> list[str]:
    """One row for each attack, in the order of `counts`."""
    rows = [f"| {what} | {trials} | {faults} |" for what, trials, faults in counts(*results)]
    return ["| attack | trials | faults |", "|---|---|---|", *rows]


@table("memory after many merges")
def growth(results: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Memory of one process after 500 merges less that after 50."""
    lines = ["| merge | growth, MB |", "|---|---|"]
    for way, rows in results.items():
        lines.append(f"| {way} | {max(rows['500']['MB'] - rows['50']['MB'], 0):.1f} |")
    return lines


@claim(
    "Attacks: merges, files, kills and races",
    "attacks.md",
    "robustness/results.json",
    "fuzz/headers.json",
    "fuzz/archives.json",
    "fuzz/recipes.json",
    "reliability/kills.json",
    "reliability/races.json",
)
def faults(*results: dict[str, Any]) -> str:
    """All faults of all attacks."""
    rows = counts(*results)
    return f"{sum(one for _, _, one in rows)} faults in {len(rows)} kinds of attack"
