"""Figures and scores for reports."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from onefold.measure import LinearPath, Reliability, Scores, Triangle
from onefold.report import (
    alignment_overview,
    barrier_curves,
    correlation_spectra,
    heat_map,
    reliability_diagram,
    score_comparison,
    triangle_map,
)


def scores(accuracy: float, nll: float = 0.5, n: int = 1000) -> Scores:
    return Scores.of_classifier(accuracy, nll, 0.02, 0.1, n)


def line(dip: float = 0.3, worst: float = 2.0) -> LinearPath:
    return LinearPath((0, 0.5, 1), (scores(0.9), scores(0.9 - dip, worst), scores(0.9)))


def spectra(groups: int) -> dict[str, np.ndarray]:
    return {
        f"layer{i}.a.rather.long.path.to.a.convolution.conv{i}": np.linspace(0.95, 0.3, 5 + i)
        for i in range(groups)
    }


FIGURES: dict[str, Callable[[], Figure]] = {
    "one barrier": lambda: barrier_curves({"aligned": line()}),
    "infinite barrier": lambda: barrier_curves(
        {"aligned": line(), "not aligned": line(0.8, math.inf)}
    ),
    "one spectrum": lambda: correlation_spectra(spectra(1)),
    "six spectra": lambda: correlation_spectra(spectra(6)),
    "sixty spectra": lambda: correlation_spectra(spectra(60)),
    "negative correlations": lambda: correlation_spectra({"a": [0.5, -0.5]}),
    "overview": lambda: alignment_overview(
        {"member 1": {"a": 0.5, "b": 0.4}, "member 2": {"b": 0.1}}
    ),
    "reliability": lambda: reliability_diagram(
        {"a": Reliability((0.3, 0.9), (0.2, 0.95), (10, 90), 15, "adaptive")}
    ),
    "comparison": lambda: score_comparison(
        {"a": scores(0.9), "folded": scores(0.8, n=10)}, ["folded"]
    ),
    "small heat map": lambda: heat_map(
        [[0.1, float("nan")], [0.5, 1]], ["a", "b"], ["c", "d"], label="gate (0 to 1)"
    ),
    "flat heat map": lambda: heat_map(np.zeros((1, 1)), ["a"], ["b"], label="gate (0 to 1)"),
    "large heat map": lambda: heat_map(
        np.random.default_rng(0).random((30, 40)),
        [f"r{i}" for i in range(30)],
        [f"column {i}" for i in range(40)],
        label="x",
    ),
    "triangle": lambda: triangle_map(
        Triangle(((1, 0, 0), (0, 1, 0), (0, 0, 1)), (scores(0.9), scores(0.8), scores(0.7)))
    ),
}
