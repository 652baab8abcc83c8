"""Networks scored beside one another and beside their ensemble; none is made of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from onefold.batches import Data
from onefold.ensemble.names import EnsembleMean
from onefold.inference import OutputChoice
from onefold.measure.evaluation import Evaluation
from onefold.report import (
    Candidate,
    Grid,
    Report,
    Table,
    comparison_table,
    headline,
    score_chart,
    score_table,
    verdict,
)
from onefold.report.comparison import paired_rows
from onefold.report.score_words import counts_answers, value_with_error
from onefold.result_reports.class_results import add_classes
from onefold.result_reports.provenance import Fact
from onefold.result_reports.scored import evaluation, parameters_of, top
from onefold.sources.class_names import class_map, class_names_of
from onefold.tasks.base import Bins
from onefold.tasks.calibration import Binning
from onefold.tasks.scores import Scores
from onefold.tasks.scoring import Scoring


@dataclass(frozen=True)
class NetworksScored:
    """Networks that were scored on the same data.

    Attributes:
        evaluation: the scores and the agreement.
        candidates: a row for each network, and one for the ensemble if there are several.
        classes: the names of the classes, if they are known.
    """

    evaluation: Evaluation
    candidates: tuple[Candidate, ...]
    classes: tuple[str, ...]

    @property
    def best(self) -> str:
        """The name of the network of the best deciding score, on a tie that of lower loss."""
        return self.candidates[self.evaluation.best].name

    @property
    def table(self) -> Table:
        """All candidates; several are held against the best of them."""
        against = self.best if len(self.candidates) > 1 else None
        return comparison_table(self.candidates, against=against)

    @property
    def sentences(self) -> list[str]:
        """The classes by number, the best beside the others, and the agreement of several."""
        classes = class_map(self.classes)
        told = [f"Classes: {classes}"] if classes else []
        if len(self.candidates) == 1:
            return told
        best = next(row for row in self.candidates if row.name == self.best)
        others = [row for row in self.candidates if row is not best]
        told.append(verdict(best._replace(name=f"The best of them ({best.name})"), others))
        agreement = self.evaluation.ensemble.agreement
        if agreement is not None:
            told.append(
                f"The networks agree with one another on {100 * agreement:.1f} % of the"
                f" {answered(best.scores)}, on average over pairs."
            )
        return told

    def data(self) -> dict[str, Any]:
        """Everything as plain data, ready for JSON."""
        scores = [row.scores for row in self.candidates]
        return {
            **({"classes": self.classes} if self.classes else {}),
            **self.evaluation.to_dict(),
            "best": self.evaluation.best,
            "less the best, paired": paired_rows(scores, self.evaluation.best),
        }


def report_networks(scored: NetworksScored, facts: Mapping[str, Fact]) -> Report:
    """The report of networks scored beside one another.

    Args:
        scored: the scores.
        facts: what was scored, and on what.
    """
    rows, best = scored.candidates, scored.best
    members = [row for row in rows if row.kind == "member"]
    report = Report(
        title="One network scored" if len(rows) == 1 else f"{len(members)} networks scored",
        verdict=_verdict(scored),
        picture=score_chart(rows, best),
        data=scored.data(),
    )
    report.section("Scores").table(score_table(rows, best, "the best"))
    first = next(row for row in rows if row.name == best)
    others = [row for row in members if row.name != best]
    if first.scores.classes is not None:
        section = report.section("Class by class", folded=True)
        add_classes(section, first, top(others) if others else first, scored.classes)
    shares = scored.evaluation.agreement
    if others and shares is not None:
        names = [row.name for row in members]
        report.section("How often they agree", folded=True).grid(
            Grid(
                corner="network",
                rows=tuple(names),
                columns=tuple(names),
                values=tuple(tuple(100 * n for n in row) for row in shares.tolist()),
                digits=1,
                high=100.0,
                caption=f"The share of the {answered(first.scores)}, in percent, of which two"
                " networks predict the same class.",
            )
        )
    report.section("What was done", folded=True).facts(facts)
    return report


def _verdict(scored: NetworksScored) -> str:
    """One sentence on the best network beside the second best and the ensemble."""
    rows = scored.candidates
    best = next(row for row in rows if row.name == scored.best)
    others = [row for row in rows if row.kind == "member" and row is not best]
    if not others:
        return _alone(best)
    ensemble = next(row for row in rows if row.kind == "ensemble")
    second = top(others)
    found = headline(
        best._replace(name=f"the best network, {best.name},"),
        second._replace(name=f"the second, {second.name}"),
        ensemble._replace(name="the ensemble"),
    )
    return found.text


def _alone(row: Candidate) -> str:
    """One sentence on a network that stands alone."""
    scores, share = row.scores, value_with_error(row.scores)
    if counts_answers(scores):
        return f"{row.name} answers {share} of {scores.n:,} examples rightly."
    return f"{row.name} has {scores.kind.label} {share} on {scores.n:,} examples."


def answered(scores: Scores) -> str:
    """What networks agree on a share of: examples, or answers where an example has several."""
    own = scores.answers
    return "examples" if own is None or own.single or own.given is not None else "answers"


def score_networks(
    networks: Sequence[nn.Module],
    names: Sequence[str],
    data: Data,
    *,
    plain: nn.Module | None = None,
    ensemble: EnsembleMean | None = None,
    bins: int = 15,
    binning: Binning = "equal-width",
    output: OutputChoice = None,
    scoring: Scoring | None = None,
) -> NetworksScored:
    """Score networks and their ensemble.

    Args:
        networks: the networks.
        names: a name for each, all different.
        data: labelled batches.
        plain: a network that costs 1, as a mixture is as slow as several; None: the first one.
        ensemble: the outputs that the ensemble averages; None: as the task does.
        bins: of the calibration error.
        binning: how they are cut.
        output: which output is scored, as in `onefold.evaluate_all`.
        scoring: the task, metrics, and what decides; None tells the task from the data. Its bins
            do not count.

    Raises:
        DataError: `data` is empty or has no labels, or a network cannot run on it.
    """
    asked = replace(scoring or Scoring(), bins=Bins(bins, binning))
    found = evaluation(networks, data, asked, output, ensemble)
    sizes, one = (
        [parameters_of(network) for network in networks],
        parameters_of(plain or networks[0]),
    )
    rows = [
        Candidate(name, scores, size, size / one, kind="member")
        for name, scores, size in zip(names, found.members, sizes, strict=True)
    ]
    if len(rows) > 1:
        title, note = f"ensemble of {len(rows)}", f"mean of {found.ensemble.ensemble}"
        rows.append(
            Candidate(title, found.ensemble, sum(sizes), sum(sizes) / one, note, "ensemble")
        )
    return NetworksScored(found, tuple(rows), class_names_of(data))
