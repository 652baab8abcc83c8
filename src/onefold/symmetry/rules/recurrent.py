"""Recurrent nets as whole operators: LSTM, GRU and plain recurrent nets, and their single cells.

An operator covers all layers and directions. The h coordinates of a layer's state move together in
every gate (rows of w_ih and w_hh, biases), in the columns of w_hh, and in whatever reads the state.
Gates multiply, so that only permutations pass. A plain net with tanh also allows signs, one with
ReLU positive scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx

from onefold.symmetry.rules.call import Axes, Call
from onefold.symmetry.rules.contraction import read_features
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import (
    ODD,
    PERMUTATION,
    POSITIVE,
    UNIT,
    Atom,
    Case,
    Term,
    TermError,
    concatenation,
    freeze,
    resolve,
    restrict,
)
from onefold.symmetry.unification import unify

# Operator -> number of segments in the rows of the weights, and the maps of the state that pass.
KINDS = {
    "lstm": (4, PERMUTATION),
    "gru": (3, PERMUTATION),
    "rnn_tanh": (1, ODD),
    "rnn_relu": (1, POSITIVE),
}


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def recurrent(call: Call) -> list[Axes]:
    """All layers and directions over a whole sequence."""
    if "batch_sizes" in call.arguments:
        raise TermError("packed sequences")
    gates, maps = KINDS[call.name]
    axes = call.axes(call["input"])
    states = call["hx"] if isinstance(call["hx"], list | tuple) else [call["hx"]]
    layers, directions = call["num_layers"], 2 if call["bidirectional"] else 1
    time = 0 if len(axes) == 2 or not call["batch_first"] else 1
    freeze(axes[time], "time of a recurrent net")
    count = len(call["params"]) // (layers * directions)
    hidden: list[Term] = []
    projected: list[Term] = []
    source: fx.Node | None = call["input"]
    inputs = axes[-1]
    for layer in range(layers):
        for direction in range(directions):
            first = (layer * directions + direction) * count
            params = call["params"][first : first + count]
            biases = bool(call["has_biases"])
            h, out = _layer(call, gates, maps, source, inputs, params, biases)
            call.mix(axes[time], [h, out])
            hidden.append(h)
            projected.append(out)
        source, inputs = None, concatenation(projected[-directions:])
    kept = axes[:-1]
    for term in kept:
        restrict(term, PERMUTATION)
    index = Atom(len(hidden), True, "layers of a recurrent net") if len(hidden) > 1 else None
    batch = [term for k, term in enumerate(kept) if k != time]
    ends = [
        _state(state, index, batch, parts, call)
        for state, parts in zip(states, (projected, hidden), strict=False)
    ]
    call.kind("post")
    return [[*kept, resolve(inputs)], *ends]


def _layer(
    call: Call,
    gates: int,
    maps: frozenset[str],
    source: fx.Node | None,
    inputs: Term,
    params: Sequence[Any],
    biases: bool,
) -> tuple[Term, Term]:
    """One layer in one direction: the terms of its state and of its output.

    They are the same, unless the output is projected.

    Args:
        call: the operator.
        gates: number of segments in the rows of the weights.
        maps: classes of maps of the state.
        source: node that the layer reads; None for the layer below.
        inputs: term of the features that it reads.
        params: its tensors, in the order of torch.
        biases: whether it has biases.
    """
    into, recurrent_weight = params[:2]
    bias, projection = params[2 : 4 if biases else 2], params[4 if biases else 2 :]
    h = call.axes(projection[0])[1] if projection else call.axes(recurrent_weight)[1]
    out = call.axes(projection[0])[0] if projection else h
    unify(out, call.axes(recurrent_weight)[1])
    for weight in (into, recurrent_weight, *bias):
        unify(call.axes(weight)[0], concatenation([h] * gates))
        call.use(weight, 0, "bias" if weight in bias else "producer")
    unify(call.axes(into)[1], inputs)
    restrict(h, maps)
    call.use(into, 1, "consumer")
    call.use(recurrent_weight, 1, "consumer")
    if projection:
        call.use(projection[0], 0, "producer")
        call.use(projection[0], 1, "consumer")
    if source is not None:
        read_features(call, source, into, inputs)
    call.mix(inputs, [h, out])
    call.mix(h, [out])
    call.mix(out, [h])
    return resolve(h), resolve(out)


def _state(
    state: fx.Node, index: Atom | None, batch: Axes, parts: Sequence[Term], call: Call
) -> Axes:
    """The axes of the last states (layers x directions, batch, h).

    The first states must have the same.
    """
    if index is None:
        axes: Axes = [UNIT, *batch, resolve(parts[0])]
    else:
        axes = [index, *batch, resolve(Case(index, tuple(parts)))]
    for term, given in zip(axes, call.axes(state), strict=True):
        unify(given, term)
    if state in call.facts.origin:
        for axis in range(len(axes)):
            call.use(state, axis, "table")
    return [resolve(term) for term in axes]


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(call: Call) -> Any:
    """One step of a recurrent net."""
    gates, maps = KINDS[call.name.removesuffix("_cell")]
    x = call["input"]
    states = call["hx"] if isinstance(call["hx"], list | tuple) else [call["hx"]]
    axes = call.axes(x)
    tensors = (call["w_ih"], call["w_hh"], call.get("b_ih"), call.get("b_hh"))
    params = [tensor for tensor in tensors if tensor is not None]
    h, _ = _layer(call, gates, maps, x, axes[-1], params, len(params) > 2)
    for term in axes[:-1]:
        restrict(term, PERMUTATION)
    for state in states:
        for term, given in zip([*axes[:-1], h], call.axes(state), strict=True):
            unify(given, term)
        if state in call.facts.origin:
            for axis in range(len(call.shape(state))):
                call.use(state, axis, "table")
    call.kind("post")
    out = [*axes[:-1], resolve(h)]
    return out if len(states) == 1 else [out, list(out)]
