"""Networks scored beside one another and beside their ensemble; none is made of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from onefold.batches import Data
from onefold.ensemble.names import EnsembleMean
from onefold.inference import OutputChoice
from onefold.measure import evaluate_all
from onefold.measure.calibration import Binning
from onefold.measure.evaluation import Evaluation
from onefold.report import Candidate, Table, comparison_table, verdict
from onefold.report.comparison import paired_rows
from onefold.result_reports.scored import parameters_of
from onefold.sources.class_names import class_map, class_names_of


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
        told = [f"Classes: {class_map(self.classes)}"] if self.classes else []
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
        Candidate(name, scores, size, size / one)
        for name, scores, size in zip(names, found.members, sizes, strict=True)
    ]
    if len(rows) > 1:
        title, note = f"ensemble of {len(rows)}", f"mean of {ensemble}"
        rows.append(Candidate(title, found.ensemble, sum(sizes), sum(sizes) / one, note))
    return NetworksScored(found, tuple(rows), class_names_of(data))
