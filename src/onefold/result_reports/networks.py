"""Networks scored beside one another and beside their ensemble; none is made of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from onefold.batches import Data
from onefold.ensemble.names import EnsembleMean
from onefold.inference import OutputChoice
from onefold.measure import evaluate_all
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
from onefold.result_reports.class_results import add_classes
from onefold.result_reports.provenance import Fact
from onefold.result_reports.scored import parameters_of, top
from onefold.sources.class_names import class_map, class_names_of
from onefold.tasks.calibration import Binning


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
        """The name of the most accurate network, on a tie that of lower NLL."""
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
        agreement = 100 * (self.evaluation.ensemble.agreement or 0)
        return [
            *told,
            verdict(best._replace(name=f"The best of them ({best.name})"), others),
            f"The networks agree with one another on {agreement:.1f} % of the examples, on average"
            " over pairs.",
        ]

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
                caption="The share of the examples, in percent, of which two networks predict the"
                " same class.",
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
        accuracy, error = 100 * best.scores.accuracy, 100 * best.scores.accuracy_error
        share = f"{accuracy:.1f} % ± {error:.1f}"
        return f"{best.name} answers {share} of {best.scores.n:,} examples rightly."
    ensemble = next(row for row in rows if row.kind == "ensemble")
    second = top(others)
    found = headline(
        best._replace(name=f"the best network, {best.name},"),
        second._replace(name=f"the second, {second.name}"),
        ensemble._replace(name="the ensemble"),
    )
    return found.text


def score_networks(
    networks: Sequence[nn.Module],
    names: Sequence[str],
    data: Data,
    *,
    plain: nn.Module | None = None,
    ensemble: EnsembleMean = "probabilities",
    bins: int = 15,
    binning: Binning = "equal-width",
    output: OutputChoice = None,
) -> NetworksScored:
    """Score networks and their ensemble.

    Args:
        networks: the networks.
        names: a name for each, all different.
        data: labelled batches.
        plain: a network that costs 1, as a mixture is as slow as several; None: the first one.
        ensemble: the outputs that the ensemble averages.
        bins: of the calibration error.
        binning: how they are cut.
        output: which output is scored, as in `onefold.evaluate_all`.

    Raises:
        DataError: `data` is empty or has no labels, or a network cannot run on it.
    """
    found = evaluate_all(
        networks, data, ensemble=ensemble, bins=bins, binning=binning, output=output
    )
    sizes, one = (
        [parameters_of(network) for network in networks],
        parameters_of(plain or networks[0]),
    )
    rows = [
        Candidate(name, scores, size, size / one, kind="member")
        for name, scores, size in zip(names, found.members, sizes, strict=True)
    ]
    if len(rows) > 1:
        title, note = f"ensemble of {len(rows)}", f"mean of {ensemble}"
        rows.append(
            Candidate(title, found.ensemble, sum(sizes), sum(sizes) / one, note, "ensemble")
        )
    return NetworksScored(found, tuple(rows), class_names_of(data))
