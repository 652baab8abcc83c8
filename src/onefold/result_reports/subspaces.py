"""The report of a subspace, with scores of its points and ensembles and those between."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from onefold.batches import Data
from onefold.batchnorm import norms_of
from onefold.explore import Subspace
from onefold.measure import LinearPath, Reliability, Scores, Triangle
from onefold.measure.triangles import grid
from onefold.report import (
    Report,
    barrier_curves,
    path_table,
    path_texts,
    reliability_diagram,
    triangle_map,
    verdict,
)
from onefold.report.path_plots import agreement_along
from onefold.report.score_words import about_accuracy, capital
from onefold.result_reports import scored as scoring_page
from onefold.result_reports.calibration import curve_of, errors_of, has_curve
from onefold.result_reports.provenance import Fact, Provenance
from onefold.result_reports.scored import best_of, candidate, evaluation, parameters_of, together
from onefold.sources.class_names import class_names_of
from onefold.sources.loader import Part
from onefold.tasks.score import Score
from onefold.tasks.scoring import Scoring

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIDPOINT = "midpoint"
POSITIONS = 11  # along a line or curve
STEPS = 6  # along an edge of a simplex
EDGES = 6  # that one picture shows
BETWEEN = 4000  # training examples for the statistics of a point in a picture
ENSEMBLES = (2, 3)


@dataclass(frozen=True)
class SubspaceScored(scoring_page.Scored):
    """The scores of a subspace.

    Attributes:
        curves: calibration curves of classifiers by name; tasks without classes have none.
        paths: scores between the vertices by name.
        triangle: scores over the triangle; None: there is none.
    """

    curves: Mapping[str, Reliability] = field(default_factory=dict)
    paths: Mapping[str, LinearPath] = field(default_factory=dict)
    triangle: Triangle | None = None

    def data(self) -> dict[str, Any]:
        """The scores, the points between and the calibration as plain data."""
        return super().data() | {
            "paths": {name: path.to_dict() for name, path in self.paths.items()},
            "triangle": self.triangle.to_dict() if self.triangle else None,
            "calibration": {name: curve.to_dict() for name, curve in self.curves.items()},
        }


def score_subspace(
    space: Subspace,
    networks: Sequence[nn.Module],
    training: Data,
    data: Data,
    *,
    scoring: Scoring | None = None,
) -> SubspaceScored:
    """Score vertices, midpoint, ensembles of two and three points, and the points between.

    Args:
        space: the subspace.
        networks: the vertices and the midpoint, in this order.
        training: the data that statistics of points are estimated on.
        data: labelled data to score on.
        scoring: the task, metrics, and what decides; None tells the task from the data.
    """
    size, count = parameters_of(networks[0]), len(networks) - 1
    names = [*(f"vertex {k}" for k in range(count)), MIDPOINT]
    rows = [
        candidate(name, net, data, scoring=scoring)._replace(
            kind="other" if name == MIDPOINT else "member"
        )
        for name, net in zip(names, networks, strict=True)
    ]
    named = (scoring or Scoring()).named
    classes = has_curve(rows[0].scores, named)
    curves = {}
    if classes:
        curves[MIDPOINT] = curve_of([networks[-1]], data, rows[-1].scores, named)
    for points in ENSEMBLES:
        members, name = space.ensemble(points, training).members, f"ensemble of {points} points"
        scores = evaluation(list(members), data, scoring).ensemble
        note = f"mean of {scores.ensemble} at {_where(space)}"
        rows.append(together(name, scores, size, points, note))
        if classes:
            curves[name] = curve_of(list(members), data, scores, named)
    rivals = [best_of(rows[:count], "vertex"), rows[-1]._replace(name=f"the {rows[-1].name}")]
    sentence = verdict(rows[count]._replace(name="The midpoint"), rivals)
    paths, triangle = _between(space, training, data, scoring)
    return SubspaceScored(
        tuple(rows),
        sentence,
        MIDPOINT,
        class_names_of(data),
        "the midpoint",
        curves=curves,
        paths=paths,
        triangle=triangle,
    )


def _between(
    space: Subspace, training: Data, data: Data, scoring: Scoring | None
) -> tuple[dict[str, LinearPath], Triangle | None]:
    """The scores along the way or the edges, and over the triangle if there is one."""
    at, again = _scorer(space, training, data, scoring), bool(norms_of(space))
    simplex, vertices = space.shape.name == "simplex", space.shape.vertices
    if not simplex or vertices == 2:
        where = [k / (POSITIONS - 1) for k in range(POSITIONS)]
        points = [(1 - a, a) for a in where] if simplex else where
        path = LinearPath(tuple(where), tuple(map(at, points)), recalibrated=again)
        return {f"vertex 0 to {vertices - 1}": path}, None
    if vertices > 3:
        return _edges(space, at), None
    triangle = Triangle(grid(STEPS), tuple(map(at, grid(STEPS))), again)
    known = dict(zip(triangle.weights, triangle.scores, strict=True))
    return _edges(space, known.__getitem__), triangle


def report_subspace(
    space: Subspace,
    losses: Sequence[float],
    scored: SubspaceScored | None = None,
    origin: Provenance | None = None,
    *,
    examples: int = 0,
    processes: int = 1,
) -> Report:
    """The report of a subspace, for people (`to_html`) and for machines (`to_json`).

    Args:
        space: the subspace.
        losses: mean loss of every epoch.
        scored: the scores, if any were taken.
        origin: what went in, how it was trained, and the files.
        examples: how many were trained on.
        processes: that shared every batch.
    """
    origin = origin or Provenance()
    count, name = space.shape.vertices, space.shape.name
    unscored = (
        "No labelled evaluation data was named, so nothing was scored: whether these networks are"
        " any good is not known yet."
    )
    report = Report(
        title=f"A {name} of networks with {count} vertices",
        summary=scored.verdict if scored else unscored,
    )
    if scored is not None:
        scored.told(report).text(
            "The points were trained together, in the steps of one network. Whether a network"
            f" trained alone for as long would be as {_good(scored)} was not measured here, nor an"
            " ensemble of independent ones, which is usually better and costs as many trainings as"
            " it has members."
        )
        _draw(report, space, scored)
    facts = origin.around(_facts(space, losses, scored, examples))
    done = report.section("What was done", folded=True).facts(facts)
    if norms_of(space):
        done.text(
            "Normalisation statistics of every network were computed anew on the training data."
        )
    if processes > 1:
        done.text(
            "Several processes shared every batch, and normalised their shares on their own;"
            " another number of them gives other networks."
        )
    report.data = {
        **origin.data(),
        "losses": list(losses),
        "scores": {},
        "paths": {},
        "triangle": None,
        "calibration": {},
        **(scored.data() if scored else {}),
    }
    return report


def _facts(
    space: Subspace, losses: Sequence[float], scored: SubspaceScored | None, examples: int
) -> dict[str, Fact]:
    unit = "nats" if scored is None else scored.result.scores.loss_kind.unit
    told = f" ({unit})" if unit else ""
    return {
        "training examples": examples,
        "evaluation examples": scored.examples if scored else 0,
        "vertices": space.shape.vertices,
        "epochs": len(losses),
        f"mean loss of the first epoch{told}": losses[0],
        f"mean loss of the last epoch{told}": losses[-1],
    }


def _good(scored: SubspaceScored) -> str:
    """The word for a network of a high score."""
    return "accurate" if about_accuracy(scored.result.scores.kind) else "good"


def _draw(report: Report, space: Subspace, scored: SubspaceScored) -> None:
    """The pictures: along the way, over the triangle, and how well confidences fit."""
    name = space.shape.name
    curve = name == "curve"
    again = (
        f" Statistics were computed at every point on at most {BETWEEN:,} training examples."
        * bool(norms_of(space))
    )
    way = (
        "position on the curve (0 = first vertex, 1 = last)"
        if curve
        else "position on the line (0 = first vertex, 1 = second)"
    )

    def along() -> Figure:
        figure = barrier_curves(scored.paths, agreement=True)
        figure.axes[-1].set_xlabel(way)
        return figure

    left = f" The first {EDGES} edges are shown." * (
        name == "simplex" and space.shape.vertices * (space.shape.vertices - 1) // 2 > EDGES
    )
    kind = scored.result.scores.kind
    drawn, same = capital(kind.label), all(map(agreement_along, scored.paths.values()))
    shares = f"{drawn}, loss and the share of answers that are those of the"
    report.section("Between the vertices").picture(
        along,
        f"{f'{shares} first vertex' if same else f'{drawn} and loss'}, along the"
        f" {'edges' if name == 'simplex' else name}; dashed, what the ends alone would lead one to"
        f" expect.{left}{again}",
        path_texts(scored.paths),
        numbers=path_table(scored.paths),
    )
    if scored.triangle is not None:
        values = [scores.primary for scores in scored.triangle.scores]
        worst, best = sorted((min(values), max(values)), key=kind.better)
        report.sections[-1].picture(
            partial(triangle_map, scored.triangle, ("vertex 0", "vertex 1", "vertex 2")),
            f"{f'{shares} middle' if same else f'{drawn} and loss'}, over the"
            f" triangle, at {len(values)} points.{again}",
            f"A heat map of {_several(kind)} from {_one(kind, worst)} to {_one(kind, best)}.",
        )
    if scored.curves:
        report.section("Calibration", folded=True).picture(
            lambda: reliability_diagram(scored.curves),
            "Does confidence mean what it says: the accuracy of predictions against their"
            " confidence, for the midpoint and the ensembles.",
            "; ".join(
                f"{name}: expected calibration error {100 * found:.1f} %"
                for name, found in errors_of(scored.curves).items()
            ),
        )


def _several(kind: Score) -> str:
    return "accuracies" if about_accuracy(kind) else f"values of {kind.label}"


def _one(kind: Score, number: float) -> str:
    return f"{kind.scale * number:.1f} %" if kind.unit == "%" else kind.shown(number)


def _scorer(
    space: Subspace, training: Data, data: Data, scoring: Scoring | None
) -> Callable[[Any], Scores]:
    """Scores the network at a point, its statistics computed on some of the training data."""
    some = Part(training, 0, BETWEEN)
    return lambda where: evaluation([space.at(where, some)], data, scoring).members[0]


def _edges(space: Subspace, at: Callable[[Any], Scores]) -> dict[str, LinearPath]:
    """The first edges of a simplex, in steps of the triangle's."""
    paths = {}
    for a, b in itertools.islice(itertools.combinations(range(space.shape.vertices), 2), EDGES):
        points = [
            tuple(
                (STEPS - k if v == a else k if v == b else 0) / STEPS
                for v in range(space.shape.vertices)
            )
            for k in range(STEPS + 1)
        ]
        where = tuple(k / STEPS for k in range(STEPS + 1))
        paths[f"vertex {a} to {b}"] = LinearPath(
            where, tuple(map(at, points)), recalibrated=bool(norms_of(space))
        )
    return paths


def _where(space: Subspace) -> str:
    return "random points" if space.shape.name == "simplex" else "points from 0.2 to 0.8"
