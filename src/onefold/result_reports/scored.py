"""Networks and ensembles scored on the same data: the top and the first sections of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from onefold.batches import Data
from onefold.ensemble import ClassPool
from onefold.inference import OutputChoice
from onefold.measure.evaluation import Evaluation, evaluate_all
from onefold.report import (
    Candidate,
    Headline,
    Report,
    Section,
    Table,
    comparison_table,
    headline,
    score_chart,
    score_table,
)
from onefold.report.score_words import about_accuracy
from onefold.result_reports.class_results import add_classes
from onefold.sources.class_names import class_map
from onefold.tasks.means import EnsembleMean
from onefold.tasks.scores import Scores
from onefold.tasks.scoring import Scoring

MOST = 1000  # classes up to which their counts are part of a report's data
CAPTION = "In bold: the most accurate. Differences are taken example by example."


@dataclass(frozen=True)
class Scored:
    """Networks and ensembles that were scored on the same data.

    Attributes:
        candidates: the rows of the table.
        verdict: one sentence on the result beside its rivals, with all differences.
        against: the row that all others are compared with.
        names: of the classes in the order of their numbers; (): they have none.
        subject: what the result is called in a sentence.
    """

    candidates: tuple[Candidate, ...]
    verdict: str
    against: str
    names: tuple[str, ...] = ()
    subject: str = "the result"

    @property
    def classes(self) -> str:
        """The classes by number, if they have names."""
        return class_map(self.names)

    @property
    def table(self) -> Table:
        """All candidates, the best in bold, beside the result."""
        return comparison_table(self.candidates, against=self.against, caption=self.caption)

    @property
    def caption(self) -> str:
        """What is in bold, and how differences are taken."""
        if about_accuracy(self.result.scores.kind):
            return CAPTION
        return CAPTION.replace("most accurate", "best")

    @property
    def examples(self) -> int:
        """How many examples were scored on."""
        return self.candidates[0].scores.n

    @property
    def result(self) -> Candidate:
        """The row of the result."""
        return next(row for row in self.candidates if row.name == self.against)

    @property
    def best(self) -> Candidate | None:
        """The best single network that the result is compared with; None: it stands alone."""
        others = [row for row in self.candidates if row.name != self.against]
        others = [row for row in others if row.kind == "member"] or others
        return top(others) if others else None

    @property
    def headline(self) -> Headline | None:
        """The result beside the best member and the ensemble, in one sentence."""
        best = self.best
        if best is None:
            return None
        ensembles = [row for row in self.candidates if row.kind == "ensemble"]
        ensemble = top(ensembles) if ensembles else None
        ensemble = ensemble._replace(name=f"the {ensemble.name}") if ensemble else None
        best = best._replace(name=f"the best {best.name.split()[0]}")
        return headline(self.result._replace(name=self.subject), best, ensemble)

    def told(self, report: Report) -> Section:
        """The verdict, the chart and the first sections of a report: all scores, and by class."""
        found, best = self.headline, self.best
        report.verdict, report.tone = found or (self.verdict, "")
        report.picture = score_chart(self.candidates, self.against)
        section = report.section("Scores")
        section.table(score_table(self.page_rows, self.against))
        if self.result.scores.classes is not None:
            classes = report.section("Class by class", folded=True)
            add_classes(classes, self.result, best or self.result, self.names)
        return section

    @property
    def page_rows(self) -> list[Candidate]:
        """The rows that a page shows among the scores: all but the mapped members."""
        return [row for row in self.candidates if row.kind != "mapped"]

    def data(self) -> dict[str, Any]:
        """The scores by name, in total and by class, and the names of the classes."""
        return {
            "scores": {row.name: row.scores.to_dict() for row in self.candidates},
            "by class": {
                row.name: row.scores.classes.to_dict()
                for row in self.candidates
                if row.scores.classes is not None and len(row.scores.classes.examples) <= MOST
            },
            "classes": list(self.names),
        }


def parameters_of(model: nn.Module) -> int:
    """Number of elements of all parameters."""
    return sum(p.numel() for p in model.parameters())


def evaluation(
    models: Sequence[nn.Module],
    data: Data,
    scoring: Scoring | None = None,
    output: OutputChoice = None,
    ensemble: EnsembleMean | ClassPool | None = None,
) -> Evaluation:
    """The scores of networks and of their ensemble, as `onefold.evaluate` takes them."""
    asked = scoring or Scoring()
    return evaluate_all(
        models,
        data,
        task=asked.task,
        metrics=asked.metrics,
        by=asked.by,
        ensemble=ensemble,
        bins=asked.bins.bins,
        binning=asked.bins.binning,
        output=output,
    )


def candidate(
    name: str,
    model: nn.Module,
    data: Data,
    note: str = "",
    *,
    output: OutputChoice = None,
    cost: float = 1.0,
    scoring: Scoring | None = None,
) -> Candidate:
    """One network as a row. cost: of inference, in units of one member's."""
    scores = evaluation([model], data, scoring, output).members[0]
    return Candidate(name, scores, parameters_of(model), cost, note)


def member_candidates(
    models: Sequence[nn.Module],
    data: Data,
    output: OutputChoice = None,
    scoring: Scoring | None = None,
) -> tuple[list[Candidate], Candidate]:
    """A row for each member, and one for their ensemble, which costs as much as all of them."""
    found, size = evaluation(models, data, scoring, output), parameters_of(models[0])
    members = [
        Candidate(f"member {k}", one, size, 1.0, kind="member")
        for k, one in enumerate(found.members)
    ]
    return members, together(f"ensemble of {len(models)}", found.ensemble, size, len(models))


def together(name: str, scores: Scores, size: int, count: int, note: str = "") -> Candidate:
    """An ensemble of `count` networks of `size` parameters as a row.

    Its note is the mean that was taken, unless another is given.
    """
    note = note or f"mean of {scores.ensemble}"
    return Candidate(name, scores, count * size, float(count), note, "ensemble")


def top(rows: Sequence[Candidate]) -> Candidate:
    """The row of the best deciding score, on a tie that of lower loss."""
    return max(rows, key=lambda row: row.scores.rank)


def best_of(rows: Sequence[Candidate], kind: str) -> Candidate:
    """The best row, as `top` has it, called the best of its kind."""
    best = top(rows)
    return best._replace(name=f"the best {kind} ({best.name})")
