"""Tables of docs/evidence/scale.md: what folding costs, members on disk, and depth."""

from __future__ import annotations

from typing import Any

from benchmarks.evidence.registry import claim, table
from benchmarks.folding import cost_table


@table("what matchers cost")
def matchers(results: dict[str, Any]) -> list[str]:
    """Seconds beside one forward pass and the bare products."""
    return cost_table.matchers(results)


@table("what least squares costs")
def least_squares(results: dict[str, Any]) -> list[str]:
    """Seconds of every target."""
    return cost_table.least_squares(results)


@table("memory of folding")
def memory(results: dict[str, Any]) -> list[str]:
    """Moments beside their bound, and the process."""
    return cost_table.memory(results)


@table("what ZipIt of eight members costs")
def zipit(results: dict[str, Any]) -> list[str]:
    """Beside the official loop within a limit."""
    return cost_table.zipit(results)


@table("members on disk")
def on_disk(results: list[dict[str, Any]]) -> list[str]:
    """Peak memory and CPU seconds, from disk and from a list."""
    ways = list(dict.fromkeys((row["align"], row["members"]) for row in results))
    found = {(row["align"], row["members"], row["count"]): row for row in results}
    where = {"disk": "on disk", "list": "list"}
    heads = [f"{align}, {where[members]}" for align, members in ways]
    lines = ["| members | " + " | ".join(heads) + " |", "|---" * (len(ways) + 1) + "|"]
    for count in dict.fromkeys(row["count"] for row in results):
        rows = [found[align, members, count] for align, members in ways]
        cells = [f"{row['peak_mib']:.0f}, {row['cpu_s']:.1f} s" for row in rows]
        lines.append(f"| {count} | " + " | ".join(cells) + " |")
    return lines


@table("depth")
def depth(results: dict[str, dict[str, float]]) -> list[str]:
    """CPU-seconds of a merge and of torch.export, against the number of layers."""
    lines = ["| layers | merge, s | torch.export, s |", "|---|---|---|"]
    for layers, seconds in results.items():
        lines.append(f"| {layers} | {seconds['merge']:.2f} | {seconds['torch.export']:.2f} |")
    return lines


@claim("Members on disk: peak memory with eight of 32.3 MiB", "scale.md", "large/on_disk.json")
def peak(results: list[dict[str, Any]]) -> str:
    """Beside that of a list of members."""
    disk, listed = (
        next(
            row["peak_mib"]
            for row in results
            if (row["align"], row["members"], row["count"]) == ("permutation", members, 8)
        )
        for members in ("disk", "list")
    )
    return f"{disk:.0f} MiB; as a list {listed:.0f} MiB"
