"""The report of persistent rounds, with scores of every network and a comparison of the rounds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from onefold.batches import Data
from onefold.errors import MembersError
from onefold.explore.pairs import Compared, Pairs, measure_pairs
from onefold.explore.persistent_training import RERUN, RESTART, ROUND
from onefold.report import (
    Candidate,
    Column,
    Grid,
    Headline,
    Report,
    Section,
    Table,
    barrier_curves,
    headline,
    path_table,
    path_texts,
    verdict,
)
from onefold.report.blocks import Cell
from onefold.report.score_words import about_accuracy, capital
from onefold.result_reports import scored as scoring_page
from onefold.result_reports.provenance import Fact, Provenance
from onefold.result_reports.scored import candidate, parameters_of, together
from onefold.result_reports.scored import evaluation as scored_of
from onefold.sources.class_names import class_names_of
from onefold.sources.loader import Part
from onefold.tasks.score import ACCURACY, Score
from onefold.tasks.scoring import Scoring

COMPARED = 2000  # examples that rounds are compared on, and training examples to align them by
POINTS = 7  # along the line between two rounds
CURVES = 6  # that one picture shows
LISTED = 3  # rounds up to which every pair has a row of its own
VALIDATION = "validation data"
OTHER = " Other answers: the share of the examples of which two rounds predict different classes."


@dataclass(frozen=True)
class PersistScored(scoring_page.Scored):
    """The scores of persistent rounds.

    Attributes:
        on: the name of the data that was scored on.
        compared: the rounds compared; None: there is one only, or `note` says why not.
        note: why the rounds could not be compared.
        rival: what the best round is compared with in one sentence, which no score of these data
            chose; None: there is nothing.
        rival_is: words on the rival.
    """

    on: str = ""
    compared: Compared | None = None
    note: str = ""
    rival: Candidate | None = None
    rival_is: str = ""

    @property
    def best(self) -> Candidate | None:
        """The network that the best round is compared with."""
        return self.rival

    @property
    def headline(self) -> Headline | None:
        """The best round beside its rival and the ensemble of all rounds, in one sentence."""
        if self.rival is None:
            return None
        kind = f"{ROUND}s"
        ensembles = [row for row in self.candidates if row.kind == "ensemble"]
        own = next((row for row in ensembles if row.name.endswith(kind)), None)
        return headline(
            self.result._replace(name=self.subject),
            self.rival._replace(name=f"{self.rival.name}, {self.rival_is}"),
            own and own._replace(name=f"the {own.name}"),
        )

    def data(self) -> dict[str, Any]:
        """The scores and the comparison of the rounds as plain data."""
        compared = self.compared.to_dict() if self.compared else None
        return super().data() | {"best": self.against, "scored on": self.on, "compared": compared}


def score_rounds(
    networks: Mapping[str, nn.Module],
    validation: Mapping[str, float],
    best: str,
    training: Data,
    held_out: Data,
    evaluation: Data | None,
    *,
    scoring: Scoring | None = None,
) -> PersistScored:
    """Score all networks and the ensembles of each kind, and compare the rounds.

    Without evaluation data the held-out data is scored on: it has chosen the best round, so it
    flatters that round's score.

    Args:
        networks: all networks by name.
        validation: the deciding score by name, which decided which round is best.
        best: the name of the best round.
        training: the training data.
        held_out: the data that the best round was chosen on.
        evaluation: labelled data to score on; None: the held-out data.
        scoring: the task, metrics, and what decides; None tells the task from the data.
    """
    data = held_out if evaluation is None else evaluation
    rows = {
        name: candidate(name, network, data, scoring=scoring)._replace(kind="member")
        for name, network in networks.items()
    }
    kind = rows[best].scores.kind
    rows = {
        name: row._replace(note=f"validation {kind.label} {kind.shown(validation[name])}")
        for name, row in rows.items()
    }
    kinds = {kind: [n for n in networks if n.startswith(kind)] for kind in (ROUND, RESTART, RERUN)}
    ensembles: list[Candidate] = []
    rivals: list[Candidate] = []
    first_rival: tuple[Candidate | None, str] = (None, "")
    if best != f"{ROUND} 0":
        rivals.append(rows[f"{ROUND} 0"]._replace(name=f"{ROUND} 0, which nothing repelled"))
        first_rival = rows[f"{ROUND} 0"], "which nothing repelled,"
    for origin, members in kinds.items():
        names = [f"{ROUND} 0", *members] if members and origin != ROUND else members
        if len(names) > 1:
            scored = scored_of([networks[name] for name in names], data, scoring).ensemble
            size = parameters_of(networks[names[0]])
            title = f"ensemble of {len(names)} {origin}s"
            ensembles.append(together(title, scored, size, len(names)))
        if origin != ROUND and names:
            first = max(names, key=lambda name: kind.better(validation[name]))
            name = f"the best {origin} by validation ({first})"
            rivals += [rows[first]._replace(name=name)] * (first != best)
            if first_rival[0] is None and first != best:
                first_rival = rows[first], f"the best {origin} by validation,"
    chosen = rows[best]._replace(name=f"The best of the rounds by validation ({best})")
    sentence = verdict(chosen, rivals) if rivals else alone(best, validation, kind)
    on = VALIDATION if evaluation is None else "evaluation data"
    rounds = [networks[name] for name in kinds[ROUND]]
    compared, note = _compared(rounds, data, training, scoring)
    found = (*rows.values(), *ensembles)
    classes, subject = class_names_of(data), f"the best round by validation ({best})"
    return PersistScored(
        found,
        sentence,
        best,
        classes,
        subject,
        on=on,
        compared=compared,
        note=note,
        rival=first_rival[0],
        rival_is=first_rival[1],
    )


def _compared(
    rounds: Sequence[nn.Module], data: Data, training: Data, scoring: Scoring | None
) -> tuple[Compared | None, str]:
    """The rounds compared, or why they cannot be: one may have no finite loss."""
    if len(rounds) < 2:
        return None, ""
    calibration = Part(training, 0, COMPARED)
    try:
        found = measure_pairs(
            rounds,
            Part(data, 0, COMPARED),
            calibration_data=calibration,
            points=POINTS,
            task=(scoring or Scoring()).task,
        )
    except MembersError as error:
        return None, f"The rounds could not be compared: {error}"
    return found, ""


def alone(best: str, validation: Mapping[str, float], kind: Score = ACCURACY) -> str:
    """The sentence if the round that validation chose has nothing to be compared with.

    Args:
        best: the name of the round that was chosen.
        validation: the deciding score by name.
        kind: what that score is.
    """
    rounds = [name for name in validation if name.startswith(ROUND)]
    if len(rounds) == 1:
        return f"{best.capitalize()} is the only round, so there is nothing to compare it with."
    more = "more accurate" if about_accuracy(kind) else "better"
    return f"No other round was {more} than {best} on the validation data, by which it was chosen."


def report_rounds(
    scored: PersistScored,
    runs: Mapping[str, Mapping[str, Any]],
    origin: Provenance | None = None,
    *,
    examples: Mapping[str, int],
) -> Report:
    """The report of persistent rounds, for people (`to_html`) and for machines (`to_json`).

    Args:
        scored: the scores.
        runs: the runs by name, each with its "score" on the validation data and its "losses".
        origin: what went in, how the rounds were trained, and the files.
        examples: how many were trained on ("training"), chose the best round ("validation"), and
            predictions are compared on ("reference", 0 if none are).
    """
    origin, count = origin or Provenance(), sum(name.startswith(ROUND) for name in runs)
    report = Report(title=f"{count} persistent rounds", summary=scored.verdict)
    worth = scored.told(report).text(f"All were scored on the {scored.on}.")
    if scored.on == VALIDATION:
        worth.text(
            "No evaluation data was named. The validation data decided which round is the best, and"
            " flatters it."
        )
    if len(runs) > count:
        worth.text(
            "Restarts begin from other initialisations, reruns see the data in another order; each"
            " took as many steps as a round."
        )
    else:
        worth.text(
            "Whether as many restarts from other initialisations, or reruns without repulsion,"
            " would do as well was not measured here; give --baselines for that, and --control for"
            " rounds repelled from random points instead."
        )
    if scored.compared is not None:
        section = report.section("Are the rounds different networks", folded=True)
        _compare(section, scored.compared, count)
    elif scored.note:
        worth.text(scored.note)
    report.section("What was done", folded=True).facts(
        origin.around(_facts(scored, runs, examples))
    )
    report.data = {
        **origin.data(),
        "validation": {name: run["score"] for name, run in runs.items()},
        "losses": {name: list(run["losses"]) for name, run in runs.items()},
        **scored.data(),
    }
    return report


def _facts(
    scored: PersistScored, runs: Mapping[str, Mapping[str, Any]], examples: Mapping[str, int]
) -> dict[str, Fact]:
    unit = scored.result.scores.loss_kind.unit
    told = f" ({unit})" if unit else ""
    losses = {
        f"mean loss of {name}, last epoch{told}": run["losses"][-1] for name, run in runs.items()
    }
    return {
        "training examples": examples["training"],
        "validation examples": examples["validation"],
        "scored on": scored.on,
        "scored examples": scored.examples,
        "examples that predictions are compared on": examples["reference"],
        **losses,
    }


def _compare(section: Section, compared: Compared, count: int) -> None:
    """Distances, disagreement and barriers of the rounds, as they are and aligned."""
    names = [f"{ROUND} {k}" for k in range(count)]
    ways = {"as they are": compared.plain} | (
        {"aligned": compared.aligned} if compared.aligned is not None else {}
    )
    section.table(pair_table(ways, names))
    section.text(
        f"Their weights have a mean length of {compared.norms.mean():.3g}. A distance and a barrier"
        " that alignment takes away belong to renumbered hidden units: the rounds would be one"
        " function. What is left is a difference of the functions, or a rescaling. Where a"
        " distance is larger after alignment, the rounds may have kept the order of units that"
        " they began with."
    )
    if compared.note:
        section.text(compared.note)
    if all(path.recalibrated for path in compared.plain.paths.values()):
        section.text(
            "Normalisation statistics were computed anew at every point of a line, on at most"
            f" {COMPARED:,} training examples."
        )
    for way, pairs in ways.items():
        _draw(section, way, pairs, names)


def pair_table(ways: Mapping[str, Pairs], names: Sequence[str]) -> Table:
    """Every pair of a few rounds and the means of all; of many rounds only the means.

    Args:
        ways: the pairs, as the rounds are and aligned.
        names: of the rounds.
    """
    shown = next(iter(ways.values()))
    loss = next(iter(shown.paths.values())).loss_kind
    answered = have_answers(shown)
    columns = (
        Column(name="rounds"),
        Column(name="distance", digits=2),
        *([Column(name="other answers", unit="%", digits=2)] if answered else []),
        Column(name="barrier", unit=loss.unit or loss.label, digits=4),
    )
    rows: list[tuple[Cell, ...]] = []
    means: list[int] = []
    for way, pairs in ways.items():
        if len(names) <= LISTED:
            for i, j in itertools.combinations(range(len(names)), 2):
                shares = [100 * pairs.disagreement] if answered else []
                found = (pairs.distances, *shares, pairs.barriers)
                title = f"{names[i]} and {names[j]}, {way}"
                rows.append((title, *(float(matrix[i, j]) for matrix in found)))
        mean = pairs.means()
        means.append(len(rows))
        share = [100 * mean["disagreement"]] if answered else []
        rows.append((f"mean, {way}", mean["distance"], *share, mean["barrier"]))
    return Table(
        columns=columns,
        rows=tuple(rows),
        emphasis=tuple(means),
        caption=f"The distance is Euclidean, over all parameters.{OTHER if answered else ''} A"
        " barrier is the most by which the loss on the line between two rounds lies above what its"
        " ends let one expect.",
    )


def have_answers(pairs: Pairs) -> bool:
    """Whether it is known how often the networks answer differently; numbers are no answers."""
    return not bool(pairs.disagreement.isnan().any())


def _draw(section: Section, way: str, pairs: Pairs, names: Sequence[str]) -> None:
    """The matrices of many rounds, and the scores between every two."""
    first = next(iter(pairs.paths.values()))
    loss, kind = first.loss_kind, first.scores[0].kind
    barrier = f"Barrier ({loss.unit or loss.label})"
    matrices = {"Distance": (pairs.distances, 2), barrier: (pairs.barriers, 3)}
    if way == "as they are" and have_answers(pairs):  # a permutation keeps every prediction
        matrices["Other answers (%)"] = (100 * pairs.disagreement, 2)
    for label, (matrix, digits) in matrices.items() if len(names) > LISTED else ():
        section.grid(
            Grid(
                corner="round",
                rows=tuple(names),
                columns=tuple(names),
                values=tuple(map(tuple, matrix.tolist())),
                digits=digits,
                caption=f"{label} of every two rounds, {way}.",
            )
        )
    shown = {
        f"{names[i]} to {names[j]}": path
        for (i, j), path in itertools.islice(pairs.paths.items(), CURVES)
    }
    left = f"; the first {CURVES} pairs" * (len(pairs.paths) > CURVES)
    section.picture(
        lambda: barrier_curves(shown),
        f"{capital(kind.label)} and loss along the straight lines between rounds, {way}{left};"
        " dashed, what the ends alone would lead one to expect.",
        path_texts(shown),
        numbers=path_table(shown),
    )
