"""Tables of docs/evidence/soft_merging.md: learned gates, and bad members."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.evidence.registry import claim, table
from benchmarks.soft import table as soft


def knowledge(kind: str, results: dict[str, Any]) -> list[str]:
    """Gates of all levels beside members, ensemble, averages and distillation."""
    return soft.knowledge(results, kind)


def bad_members(results: dict[str, Any]) -> list[str]:
    """One row for each attack and number of bad members."""
    return soft.robustness(results)


for network, kinds in {"resnet20": soft.KINDS, "smallcnn": ("different", "same")}.items():
    for kind in kinds:
        table(f"gates, {network}, {kind}")(partial(knowledge, kind))
for one in ("smallcnn, model level", "smallcnn, layer level", "resnet20, model level"):
    table(f"bad members, {one}")(bad_members)
table("what a step of gates costs")(soft.cost)


def gains(found: dict[str, Any], key: str = "above best") -> str:
    """The lowest and the highest gain over the groups."""
    values = [group[key] for group in found["groups"]]
    return f"{min(values):+.1f} to {max(values):+.1f}"


@claim(
    "Gates of layers: one plain network of five that each lack two classes",
    "soft_merging.md",
    "soft/knowledge-smallcnn.json",
)
def layers(results: dict[str, Any]) -> str:
    """Of the small networks, beside the ensemble."""
    own = results["different"]
    whole = [row["ensemble"] - row["best"] for row in own["baselines"]]
    return (
        f"{gains(own['levels']['layer'])} points above the best member; the ensemble, five times"
        f" the cost, {min(whole):+.1f} to {max(whole):+.1f}"
    )


@claim(
    "Gates of whole networks: five ResNet-20 that each lack two classes",
    "soft_merging.md",
    "soft/knowledge-resnet20.json",
)
def models(results: dict[str, Any]) -> str:
    """As many passes as members are left."""
    return f"{gains(results['different']['levels']['model'])} points above the best member"


@claim(
    "Gates of whole networks, one to four bad members of five",
    "soft_merging.md#bad-members",
    "soft/robustness-smallcnn.json",
    "soft/robustness-resnet20.json",
)
def worst(*results: dict[str, Any]) -> str:
    """The worst of all attacks."""
    rows = [row for one in results for row in one["rows"]]
    lowest = min(row["soft"][0]["above best honest"] for row in rows)
    attacks = {row["attack"] for row in rows}
    return (
        f"{lowest:+.2f} points from the best honest member at the worst of {len(attacks)} attacks"
    )
