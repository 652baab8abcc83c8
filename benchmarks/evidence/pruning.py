"""Tables of docs/evidence/pruning.md: one network narrowed by every method."""

from __future__ import annotations

from typing import Any

from benchmarks.evidence.registry import claim, table
from benchmarks.evidence.wrapping import paragraph
from benchmarks.pruning import table as pruning

# Those that were measured.
NETWORKS = ("vgg11-same-0", "resnet20-halves-0", "mobilenet", "lstm-trec", "lstm-sst2")


def network_table(record: dict[str, Any]) -> list[str]:
    """All methods at both budgets, and what did not run."""
    lines = pruning.shown(record)
    if found := pruning.reasons(record):
        lines += ["", *paragraph(f"Not run: {'; '.join(found)}.")]
    return lines


def difference_table(*records: dict[str, Any]) -> list[str]:
    """Ours minus the best peer, at every budget and stage."""
    lines = ["| network, budget | stage | best peer | difference |", "|---|---|---|---|"]
    for record in records:
        for budget, stages in pruning.differences(record).items():
            for stage, found in stages.items():
                lines.append(
                    f"| {record['original']['title']}, {budget} | {pruning.HEADS[stage]} |"
                    f" {pruning.title_of(record, found['peer'])} | {pruning.interval(found)} |"
                )
    return lines


for name in NETWORKS:
    table(f"pruning, {name}")(network_table)
table("pruning, against the best peer")(difference_table)


@claim(
    "Pruning to half of the multiply-adds without labels or training: VGG11/4",
    "pruning.md",
    "pruning/vgg11-same-0.json",
)
def vgg(record: dict[str, Any]) -> str:
    """The accuracy, and the difference once batch norms are measured anew for all."""
    own = record["onefold, 0.5x"]["recalibrated"]
    found = pruning.differences(record)["0.5x"]["recalibrated"]
    return (
        f"{own:.1f} %, as trained {record['original']['accuracy']:.1f}; {pruning.interval(found)}"
        f" points from the best peer, {pruning.title_of(record, found['peer'])}"
    )
