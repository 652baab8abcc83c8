"""Networks and ensembles scored on the same data: the first section of every report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from onefold.batches import Data
from onefold.inference import OutputChoice
from onefold.measure import evaluate, evaluate_all
from onefold.measure.scores import Scores
from onefold.report import Candidate, Report, Section, Table, comparison_table

CAPTION = "In bold: the most accurate. Differences are taken example by example."


@dataclass(frozen=True)
class Scored:
    """Networks and ensembles that were scored on the same data.

    Attributes:
        candidates: the rows of the table.
        verdict: one sentence on the result beside its rivals.
        against: the row that all others are compared with.
        classes: the classes by number, if they have names.
    """

    candidates: tuple[Candidate, ...]
    verdict: str
    against: str
    classes: str = ""

    @property
    def table(self) -> Table:
        """All candidates, the most accurate in bold, beside the result."""
        return comparison_table(self.candidates, against=self.against, caption=CAPTION)

    @property
    def examples(self) -> int:
        """How many examples were scored on."""
        return self.candidates[0].scores.n

    def told(self, report: Report) -> Section:
        """The first section of a report: the table and the verdict."""
        section = report.section("Was it worth it").table(self.table).text(self.verdict)
        return section.text(f"Classes: {self.classes}.") if self.classes else section

    def data(self) -> dict[str, Any]:
        """The scores by name, and what else was measured, as plain data."""
        return {"scores": {row.name: row.scores.to_dict() for row in self.candidates}}


def parameters_of(model: nn.Module) -> int:
    """Number of elements of all parameters."""
    return sum(p.numel() for p in model.parameters())


def candidate(
    name: str,
    model: nn.Module,
    data: Data,
    note: str = "",
    *,
    output: OutputChoice = None,
    cost: float = 1.0,
) -> Candidate:
    """One network as a row. cost: of inference, in units of one member's."""
    return Candidate(name, evaluate(model, data, output=output), parameters_of(model), cost, note)


def member_candidates(
    models: Sequence[nn.Module], data: Data, output: OutputChoice = None
) -> tuple[list[Candidate], Candidate]:
    """A row for each member, and one for their ensemble, which costs as much as all of them."""
    scores, size = evaluate_all(models, data, output=output), parameters_of(models[0])
    members = [Candidate(f"member {k}", one, size, 1.0) for k, one in enumerate(scores.members)]
    return members, together(f"ensemble of {len(models)}", scores.ensemble, size, len(models))


def together(
    name: str, scores: Scores, size: int, count: int, note: str = "mean of probabilities"
) -> Candidate:
    """An ensemble of `count` networks of `size` parameters as a row."""
    return Candidate(name, scores, count * size, float(count), note)


def best_of(rows: Sequence[Candidate], kind: str) -> Candidate:
    """The most accurate row, on a tie that of lower NLL, called the best of its kind."""
    best = max(rows, key=lambda row: (row.scores.accuracy, -row.scores.nll))
    return best._replace(name=f"the best {kind} ({best.name})")
