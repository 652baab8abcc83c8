"""Tables of docs/evidence/budgets.md: folds of other widths beside the best member and ensemble."""

from __future__ import annotations

from typing import Any

from benchmarks.evidence.registry import claim, table

HALVES = "budgets/halves.json"


@table("folds to a budget")
def budgets_table(*runs: dict[str, Any]) -> list[str]:
    """A row for each network of each group."""
    lines = [
        "| network, multiply-adds | accuracy | over the best member | % of the ensemble's gain |"
        " polished | over the best member, polished |",
        "|---|---|---|---|---|---|",
    ]
    for run in runs:
        title = f"{TITLES.get(run['group'], run['group'])}, {len(run['members'])} members"
        lines.append(f"| **{title}** | | | | | |")
        polished = run.get("best member, polished", {})
        lines.append(_row("best member", run["best member"], polished))
        for one in run["points"]:
            lines.append(_row(f"fold, {KEPT[one['keep']]}", one, one.get("polished", {})))
        for one in run.get(PEER, []):
            name = "side by side, pruned by Torch-Pruning"
            lines.append(_row(name, one, one.get("polished", {})))
        lines.append(_row("ensemble", run["ensemble"], {}))
    return lines


PEER = "members side by side, pruned by Torch-Pruning"
KEPT = {"member": "one member whole", "units": "units of all"}
TITLES = {
    "halves": "VGG11/4, halves of the classes",
    "same-data": "VGG11/4, the same images",
    "many": "A small CNN, Fashion-MNIST, the same images",
    "halves-resnet20": "ResNet-20, halves of the classes",
}


def _row(name: str, one: dict[str, Any], polished: dict[str, Any]) -> str:
    share = one["share of the ensemble's gain"]
    told = f"{100 * share:.0f}" if share is not None and name.startswith("fold") else ""
    gain = shown(one["over the best member"]) if name != "best member" else ""
    after = polished.get("over the best member polished")
    return (
        f"| {name}, {one['multiply-adds']:.2f} | {one['accuracy']:.1f} | {gain} | {told} |"
        f" {format(polished['accuracy'], '.1f') if polished else ''} |"
        f" {shown(after) if after else ''} |"
    )


def shown(found: list[float]) -> str:
    """A difference in points with its interval."""
    return f"{found[0]:+.1f} ({found[1]:+.1f} to {found[2]:+.1f})"


@claim("A fold at 1.5 times one member's multiply-adds", "budgets.md", HALVES)
def budget_claim(run: dict[str, Any]) -> str:
    """Points over the best member, without training."""
    (point,) = [one for one in run["points"] if one["budget"] == "1.5x"]
    share = 100 * point["share of the ensemble's gain"]
    return (
        f"{shown(point['over the best member'])} points, {share:.0f} % of the ensemble's gain,"
        " where members know different classes"
    )


@table("what was tried of budgets")
def tried_table(told: dict[str, Any]) -> list[str]:
    """A row for each idea, by its cost."""
    rows = sorted(told["rows"].items(), key=lambda item: (round(item[1]["cost"], 1), item[0]))
    return [
        "| fold | multiply-adds | accuracy |",
        "|---|---|---|",
        f"| best member | 1.00 | {max(told['members']):.1f} |",
        *(f"| {name} | {one['cost']:.2f} | {one['accuracy']:.1f} |" for name, one in rows),
        f"| ensemble | 2.00 | {told['ensemble']:.1f} |",
    ]


@table("groups whose width can change")
def widths_table(told: dict[str, Any]) -> list[str]:
    """A row for each library, over all networks."""
    own, peer = told["totals"], told["totals"]["torch_pruning"]
    traced = own["networks"] - peer["networks without a graph"]
    return [
        "| | networks traced | groups | tried | right | mean share of a network's groups |"
        " networks where all are right |",
        "|---|---|---|---|---|---|---|",
        f"| `onefold.resize` | {own['networks']} | {own['groups']} | {own['groups']} |"
        f" {own['resized']} | {100 * own['mean share']:.0f} % | {own['networks all resized']} |",
        f"| Torch-Pruning {told['versions']['torch_pruning']} | {traced} | {peer['groups']} |"
        f" {peer['tried']} | {peer['right']} | {100 * peer['mean share right']:.0f} % |"
        f" {peer['networks all right']} |",
    ]
