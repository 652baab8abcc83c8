"""Sensitivity: how much the consumers' outputs move the ensemble's output.

M = mean_x g g' with g = d(u' f) / dy, or d log q_c / dy for an ensemble of probabilities of
classifiers (see `units.py`). If a unit has more columns than COLUMNS allows, they are projected on
the leading eigenvectors of W_j M W_j', where W_j are the member's own weights that read unit j.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from onefold.batches import Batch
from onefold.ensemble.pool import ClassPool
from onefold.errors import DataError
from onefold.fold.least_squares.consumers import Consumer, sample_of
from onefold.fold.least_squares.output_layers import Read
from onefold.fold.least_squares.outputs import Calibration
from onefold.fold.least_squares.weights import effective
from onefold.symmetry import SymmetrySpec, TracedNetwork

COLUMNS = 1024
SENSED = 256  # examples that M is taken from, at most


def measure_sensitivity(
    traced: TracedNetwork,
    spec: SymmetrySpec,
    states: Sequence[Mapping[str, Tensor]],
    consumers: Sequence[Consumer],
    calibration: Calibration,
    shares: Sequence[float],
    pool: ClassPool | None,
    read: Read,
) -> None:
    """Set every consumer's metric and basis, from at most SENSED of the examples.

    Args:
        traced: the traced network.
        spec: its symmetries.
        states: the members' state dicts.
        consumers: changed in place.
        calibration: the batches and the sampled rows.
        shares: the members' weights, which sum to 1.
        pool: the ensemble of probabilities; None for the mean of logits.
        read: from what a network returns to the output that counts.

    Raises:
        DataError: a member gives values that are not finite.
    """
    seen, enough = 0, min(SENSED, calibration.examples // 4)
    for number, batch in enumerate(calibration.batches):
        if seen > 0 and seen >= enough:
            break
        seen += batch.size
        generator = torch.Generator().manual_seed(calibration.seed + number)
        slopes = slopes_of(
            traced,
            states,
            consumers,
            batch,
            read,
            partial(directions, shares=shares, pool=pool, generator=generator),
        )
        for consumer in consumers:
            output = consumer.layer.output
            sample = sample_of(consumer, calibration, number, slopes[0][output].shape)
            g = torch.cat([sample.take(by_node[output]).double() for by_node in slopes], 1)
            _add(consumer, g)
    for consumer in consumers:
        assert consumer.metric is not None
        size = len(states) * spec.group(consumer.group).size
        taps = consumer.channels_per_unit * max(1, math.prod(consumer.geometry.kernel))
        components = max(1, COLUMNS // size)
        consumer.basis = _basis(consumer, states, components) if taps > components else None


def _add(consumer: Consumer, g: Tensor) -> None:
    """Add gradients (rows, K outputs) to the metric, and keep them while they are few."""
    consumer.sensed += len(g)
    if consumer.metric is None:
        consumer.metric, consumer.slopes = g.T @ g, g
    else:
        consumer.metric = consumer.metric + g.T @ g
        if consumer.slopes is not None:
            consumer.slopes = torch.cat([consumer.slopes, g])
    if consumer.slopes is not None and len(consumer.slopes) >= g.shape[1]:
        consumer.slopes = None


def directions(
    logits: Sequence[Tensor],
    shares: Sequence[float],
    pool: ClassPool | None,
    generator: torch.Generator,
) -> list[Tensor]:
    """Gradients of what is asked of the ensemble by each member's logits.

    That is the mean of logits along a normal direction, or log q_c for a class c drawn from q.
    """
    if pool is None:
        u = torch.randn(logits[0].shape, generator=generator, dtype=torch.float32).to(logits[0])
        return [share * u for share in shares]
    weighed = torch.stack([pool.log_part(z.double(), k) for k, z in enumerate(logits)]).exp()
    total = weighed.sum(0)
    q = total / total.sum(-1, keepdim=True)
    classes = torch.multinomial(q.flatten(0, -2).cpu(), 1, generator=generator)
    classes = classes.to(q.device).reshape(*q.shape[:-1], 1)
    drawn = torch.zeros_like(q).scatter_(-1, classes, 1.0)
    parts = weighed / total.clamp_min(1e-30)  # of each member in every class
    found = []
    for k, (z, part) in enumerate(zip(logits, parts, strict=True)):
        p = (z.double() + pool.shifts[k].to(q)).softmax(-1)
        off = (drawn - q) * part
        found.append((off - off.sum(-1, keepdim=True) * p).to(z))
    return found


def slopes_of(
    traced: TracedNetwork,
    states: Sequence[Mapping[str, Tensor]],
    consumers: Sequence[Consumer],
    batch: Batch,
    read: Read,
    directions: Callable[[list[Tensor]], list[Tensor]],
) -> list[dict[str, Tensor]]:
    """Gradients of each member's logits along a direction, by the outputs of the consumers.

    `directions` gives the direction of every member from the logits of all of them.
    """
    values: dict[str, list[Tensor]] = {}

    def visit(node: str, found: list[Tensor]) -> list[Tensor]:
        values[node] = found
        return [value.clone() for value in found]  # an activation may write into what it is given

    learned = {name for name in traced.parameters if states[0][name].is_floating_point()}
    weights = [
        {name: t.detach().requires_grad_() if name in learned else t for name, t in state.items()}
        for state in states
    ]
    plan, inputs = traced.plan_for(batch.args, batch.kwargs)
    with torch.enable_grad():
        visited = {consumer.layer.output for consumer in consumers}
        logits = [read(out) for out in plan.run(weights, inputs, visit, visited)]
    if not all(bool(torch.isfinite(z).all()) for z in logits):
        raise DataError(
            f"A member puts out something that is not finite on {batch.describe()}; check its"
            " weights and the data's scale."
        )
    wanted = directions([z.detach() for z in logits])
    slopes = []
    for k, (z, direction) in enumerate(zip(logits, wanted, strict=True)):
        gradients = torch.autograd.grad(
            z,
            [found[k] for found in values.values()],
            direction,
            allow_unused=True,
            materialize_grads=True,
        )
        slopes.append(dict(zip(values, gradients, strict=True)))
    return slopes


def _basis(consumer: Consumer, states: Sequence[Mapping[str, Tensor]], components: int) -> Tensor:
    """The leading directions among a unit's columns.

    Along these the member's own weights move the logits most.
    """
    assert consumer.metric is not None
    taps, bases = max(1, math.prod(consumer.geometry.kernel)), []
    for k, state in enumerate(states):
        matrix = effective(state, consumer.layer)[0][0]  # (taps x inputs, outputs)
        outputs = matrix.shape[1]
        columns = (
            matrix.reshape(taps, -1, outputs)[:, consumer.columns]
            .reshape(taps, -1, consumer.channels_per_unit, outputs)
            .permute(1, 2, 0, 3)
            .flatten(1, 2)
        )
        block = consumer.metric[k * outputs : (k + 1) * outputs, k * outputs : (k + 1) * outputs]
        vectors = torch.linalg.eigh(columns @ block @ columns.transpose(1, 2)).eigenvectors
        bases.append(vectors[:, :, -components:])
    return torch.cat(bases)
