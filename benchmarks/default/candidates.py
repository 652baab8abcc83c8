"""Every way to make one network of several that a default could take, and the ensembles.

| name                          | network                                                     |
|-------------------------------|-------------------------------------------------------------|
| best member                   | the member that all labelled choice images choose           |
| best member, balanced         | the same, its logits shifted to even classes (`class_pool`) |
| average                       | the mean of the weights as they are, batch norms settled    |
| average, repaired             | the same, repaired                                          |
| average, permutation / cca    | the mean after alignment, repaired                          |
| least squares, ...            | towards "pruning" with that ensemble at its outputs         |
| least squares, ... best first | the same with 0.7 of the weight on the best member          |
| least squares, correlation    | towards "correlation", after alignment by permutation       |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

import onefold
from onefold.ensemble import ClassPool

LEADING = 0.7  # the best member's weight where it leads
Judged = nn.Module | tuple[Sequence[nn.Module], "str | ClassPool"]


@dataclass(frozen=True)
class Candidate:
    """name: a row of this module's table. judged: a network, or networks and how they answer as
    one. seconds: of making it.
    """

    name: str
    judged: Judged
    seconds: float


def ensembles(models: Sequence[nn.Module], images: list[Tensor]) -> Iterator[Candidate]:
    """The ensembles, which are no single network."""
    for mean in ("logits", "probabilities"):
        yield Candidate(mean, (models, mean), 0.0)
    yield Candidate("classes", (models, onefold.class_pool(models, images)), 0.0)


def candidates(models: list[nn.Module], images: list[Tensor], best: int) -> Iterator[Candidate]:
    """Every single network of the table.

    Args:
        models: the members.
        images: unlabelled batches.
        best: which member is best.
    """
    one = [models[best]]
    yield Candidate("best member", models[best], 0.0)
    balanced, seconds = timed(lambda: onefold.class_pool(one, images))
    yield Candidate("best member, balanced", (one, balanced), seconds)
    rest = (1 - LEADING) / (len(models) - 1)
    norms = any(isinstance(module, nn.BatchNorm2d) for module in models[0].modules())
    settled = "batchnorm" if norms else "none"
    weights = [LEADING if k == best else rest for k in range(len(models))]
    plain, seconds = timed(
        lambda: onefold.merge(models, images, align="none", fold="average", repair=settled).model
    )
    yield Candidate("average", plain, seconds)
    for name, align, fold, leads in (
        ("average, repaired", "none", "average", False),
        ("average, permutation", "permutation", "average", False),
        ("average, cca", "cca", "average", False),
        ("least squares, logits", "none", squares("logits"), False),
        ("least squares, probabilities", "none", squares("probabilities"), False),
        ("least squares, classes", "none", squares("classes"), False),
        ("least squares, probabilities, best first", "none", squares("probabilities"), True),
        ("least squares, classes, best first", "none", squares("classes"), True),
        (
            "least squares, correlation",
            "permutation",
            onefold.LeastSquares("correlation", ensemble="logits"),
            False,
        ),
    ):
        found, seconds = timed(
            lambda align=align, fold=fold, leads=leads: (
                onefold.merge(
                    models,
                    images,
                    align=align,
                    fold=fold,
                    weights=weights if leads else None,
                    reference=best,
                ).model
            )
        )
        yield Candidate(name, found, seconds)


def squares(ensemble: str) -> onefold.LeastSquares:
    """Least squares whose outputs aim at that ensemble."""
    return onefold.LeastSquares(ensemble=ensemble)


def timed(work: Callable[[], object]) -> tuple[object, float]:
    """What a function returns, and the processor seconds of this thread that it took."""
    start = time.thread_time()
    return work(), time.thread_time() - start
