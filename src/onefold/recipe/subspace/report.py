"""What came of a subspace: scores of its vertices, midpoint and ensembles, the accuracy between
them, and the report of it all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from onefold.batches import Data
from onefold.batchnorm import norms_of
from onefold.explore import Subspace
from onefold.explore.training import warm_up_of
from onefold.inference import predictions
from onefold.measure import LinearPath, Reliability, Scores, Triangle, evaluate, reliability
from onefold.measure.path import grid
from onefold.recipe.merge.report import CAPTION, described, parameters_of, written
from onefold.recipe.subspace.document import SubspaceRecipe
from onefold.report import (
    Candidate,
    Report,
    Table,
    barrier_curves,
    comparison_table,
    reliability_diagram,
    triangle_map,
    verdict,
)
from onefold.sources.loader import Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIDPOINT = "midpoint"
POSITIONS = 11  # along a line or curve
STEPS = 6  # along an edge of a simplex
EDGES = 6  # that one picture shows
BETWEEN = 4000  # training examples for the statistics of a point in a picture
ENSEMBLES = (2, 3)


@dataclass(frozen=True)
class SubspaceScored:
    """Everything that was scored on the same data: rows of a table, accuracies between the
    vertices, calibration curves by name.
    """

    candidates: tuple[Candidate, ...]
    verdict: str
    curves: Mapping[str, Reliability]
    paths: Mapping[str, LinearPath]
    triangle: Triangle | None = None

    @property
    def table(self) -> Table:
        """All candidates, the best in bold, held against the midpoint."""
        return comparison_table(self.candidates, against=MIDPOINT, caption=CAPTION)


def score(
    space: Subspace, networks: Sequence[nn.Module], training: Data, data: Data
) -> SubspaceScored:
    """Score the vertices and the midpoint, which are `networks` in this order, ensembles of two and
    three points, and the points between.
    """
    size = parameters_of(networks[0])
    names = [*(f"vertex {k}" for k in range(len(networks) - 1)), MIDPOINT]
    rows = [
        Candidate(name, evaluate(network, data), size, 1.0)
        for name, network in zip(names, networks, strict=True)
    ]
    curves = {MIDPOINT: _curve(networks[-1], data)}
    for count in ENSEMBLES:
        together = space.ensemble(count, training)
        scores, name = evaluate(list(together.members), data), f"ensemble of {count} points"
        rows.append(
            Candidate(
                name,
                scores,
                count * size,
                float(count),
                f"mean of probabilities at {_where(space)}",
            )
        )
        curves[name] = _curve(together, data)
    best = max(rows[: len(networks) - 1], key=lambda row: (row.scores.accuracy, -row.scores.nll))
    rivals = [
        best._replace(name=f"the best vertex ({best.name})"),
        rows[-1]._replace(name=f"the {rows[-1].name}"),
    ]
    sentence = verdict(rows[len(networks) - 1]._replace(name="The midpoint"), rivals)
    at = _scorer(space, training, data)
    if space.shape.name != "simplex" or space.shape.vertices == 2:
        last = space.shape.vertices - 1
        where = [k / (POSITIONS - 1) for k in range(POSITIONS)]
        points = where if space.shape.name != "simplex" else [(1 - a, a) for a in where]
        paths = {
            f"vertex 0 to {last}": LinearPath(
                tuple(where), tuple(map(at, points)), recalibrated=bool(norms_of(space))
            )
        }
        return SubspaceScored(tuple(rows), sentence, curves, paths)
    if space.shape.vertices == 3:
        triangle = _triangle(at, bool(norms_of(space)))
        known = dict(zip(triangle.weights, triangle.scores, strict=True))
        return SubspaceScored(
            tuple(rows), sentence, curves, _edges(space, lambda weights: known[weights]), triangle
        )
    return SubspaceScored(tuple(rows), sentence, curves, _edges(space, at))


def summarise(
    recipe: SubspaceRecipe,
    space: Subspace,
    losses: Sequence[float],
    sums: Mapping[str, str],
    scored: SubspaceScored | None,
    examples: int,
) -> Report:
    """The report of a subspace, for people (`to_html`) and for machines (`to_json`). sums: file ->
    SHA-256. examples: trained on.
    """
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
        worth = report.section("Was it worth it").table(scored.table).text(scored.verdict)
        worth.text(
            "The points were trained together, in the steps of one network. Whether a network"
            " trained alone for as long would be as accurate was not measured here, nor an ensemble"
            " of independent ones, which is usually better and costs as many trainings as it has"
            " members."
        )
        _draw(report, space, scored)
    done = report.section("What was done").facts(
        {
            "architecture": recipe.model,
            "training data": described(recipe.data),
            "training examples": examples,
            "evaluation data": described(recipe.evaluation if scored else None),
            "evaluation examples": scored.candidates[0].scores.n if scored else 0,
            "examples in a step": recipe.data.batch_size,
            "vertices": count,
            **{
                key.replace("_", " "): written(value)
                for key, value in recipe.subspace.model_dump(exclude={"vertices"}).items()
            },
            **{
                key.replace("_", " "): written(value)
                for key, value in recipe.training.model_dump().items()
            },
            "warm up": warm_up_of(recipe.training.epochs, recipe.training.warm_up),
            "epochs": len(losses),
            "threads": recipe.record.threads if recipe.record else None,
            "mean loss of the first epoch (nats)": losses[0],
            "mean loss of the last epoch (nats)": losses[-1],
            **{f"SHA-256 of {file}": f"{digest[:12]}…" for file, digest in sums.items()},
            "device": recipe.device,
            "seed": recipe.seed,
        }
    )
    if norms_of(space):
        done.text(
            "Normalisation statistics of every network were computed anew on the training data."
        )
    if recipe.training.devices > 1:
        done.text(
            "Several processes shared every batch, and normalised their shares on their own;"
            " another number of them gives other networks."
        )
    report.data = {
        "recipe": recipe.model_dump(mode="json"),
        "losses": list(losses),
        "files": dict(sums),
        "scores": {row.name: row.scores.to_dict() for row in scored.candidates} if scored else {},
        "paths": {name: path.to_dict() for name, path in scored.paths.items()} if scored else {},
        "triangle": scored.triangle.to_dict() if scored and scored.triangle else None,
        "calibration": (
            {name: curve.to_dict() for name, curve in scored.curves.items()} if scored else {}
        ),
    }
    return report


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
        figure = barrier_curves(scored.paths)
        figure.axes[-1].set_xlabel(way)
        return figure

    left = f" The first {EDGES} edges are shown." * (
        name == "simplex" and space.shape.vertices * (space.shape.vertices - 1) // 2 > EDGES
    )
    report.section("Between the vertices").picture(
        along,
        f"Accuracy and loss along the {'edges' if name == 'simplex' else name}; dashed, what the"
        f" ends alone would lead one to expect.{left}{again}",
        "; ".join(f"{way}: {str(path).splitlines()[0]}" for way, path in scored.paths.items()),
    )
    if scored.triangle is not None:
        accuracies = [100 * scores.accuracy for scores in scored.triangle.scores]
        report.sections[-1].picture(
            partial(triangle_map, scored.triangle, ("vertex 0", "vertex 1", "vertex 2")),
            f"Accuracy over the triangle, at {len(accuracies)} points.{again}",
            f"A heat map of accuracies from {min(accuracies):.1f} % to {max(accuracies):.1f} %.",
        )
    report.section("Calibration").picture(
        lambda: reliability_diagram(scored.curves),
        "Does confidence mean what it says: the accuracy of predictions against their confidence,"
        " for the midpoint and the ensembles.",
        "; ".join(
            f"{name}: expected calibration error {100 * curve.ece:.1f} %"
            for name, curve in scored.curves.items()
        ),
    )


def _scorer(space: Subspace, training: Data, data: Data) -> Callable[[Any], Scores]:
    """A function that scores the network at a point, its statistics computed on some of the
    training data.
    """
    some = Part(training, 0, BETWEEN)
    return lambda where: evaluate(space.at(where, some), data)


def _triangle(at: Callable[[Any], Scores], recalibrated: bool) -> Triangle:
    return Triangle(grid(STEPS), tuple(map(at, grid(STEPS))), recalibrated)


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


def _curve(network: nn.Module, data: Data) -> Reliability:
    logits, labels = predictions(network, data)
    assert labels is not None
    return reliability(logits, labels)


def _where(space: Subspace) -> str:
    return "random points" if space.shape.name == "simplex" else "points from 0.2 to 0.8"
