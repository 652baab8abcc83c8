"""Recurrent layers by least squares: LSTM, GRU and plain recurrent nets, layer by layer and
direction by direction.

What a cell's gates are computed from is linear in what it reads: a_t = W x_t + U h_{t-1} + b. The
target is the members' own a_t in the reference's basis, made to one as for any layer
(`targets.py`). x_t is what the folded layers before put out. h_{t-1} is the members' own state,
made to one in the same way, in the first round, and in the second what the folded cell itself makes
of the first round's solution, so that it learns to go on from its own mistakes. The candidate of a
GRU, n_t = tanh(V x_t + c + r_t * (U h_{t-1} + b)), has two targets, one for each product.

Cells: Hochreiter & Schmidhuber 1997; Cho et al. 2014 (arXiv 1406.1078), with the gates' order of
torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from onefold.fold.least_squares.ridge import Ridge, Solution
from onefold.symmetry import SymmetrySpec, TracedNetwork
from onefold.symmetry.exporting import shape_of
from onefold.symmetry.rules.call import operator_name

ROUNDS = 2
_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
_ZEROS = ("zeros", "new_zeros", "zeros_like")


@dataclass(frozen=True)
class Cell:
    """One layer in one direction: the state-dict names of its tensors, W (gates x h, inputs), U
    (gates x h, h), and the biases if it has any.
    """

    kind: str
    layer: int
    reverse: bool
    inputs: str
    own: str
    biases: tuple[str, ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        return (self.inputs, self.own, *self.biases)

    def states(self, x: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """(examples, time, h): what the cell puts out over a whole sequence x (examples, time,
        inputs), from a state of zeros.
        """
        weights = [state[name] for name in self.tensors]
        start = x.new_zeros(1, len(x), state[self.own].shape[1])
        x = x.flip(1) if self.reverse else x
        arguments = (weights, bool(self.biases), 1, 0.0, False, False, True)
        out: Tensor = (
            torch.lstm(x, (start, start), *arguments)[0]
            if self.kind == "lstm"
            else getattr(torch, self.kind)(x, start, *arguments)[0]
        )
        return out.flip(1) if self.reverse else out

    def before(self, h: Tensor) -> Tensor:
        """The state that each step starts from."""
        none = torch.zeros_like(h[:, :1])
        return torch.cat([h[:, 1:], none], 1) if self.reverse else torch.cat([none, h[:, :-1]], 1)

    def blocks(self, width: int) -> list[tuple[slice, bool, bool]]:
        """Which rows of the weights have a target of their own, and whether it is of W x, of U h,
        or of both together.
        """
        if self.kind != "gru":
            return [(slice(0, _GATES[self.kind] * width), True, True)]
        return [
            (slice(0, 2 * width), True, True),
            (slice(2 * width, 3 * width), True, False),
            (slice(2 * width, 3 * width), False, True),
        ]


@dataclass(frozen=True)
class RecurrentSite:
    """A recurrent operator: its node, the node that it reads, its cells by layer, and whether
    examples come first.
    """

    node: str
    source: str
    layers: tuple[tuple[Cell, ...], ...]
    batch_first: bool

    @property
    def cells(self) -> Iterator[Cell]:
        for layer in self.layers:
            yield from layer

    @property
    def tensors(self) -> frozenset[str]:
        return frozenset(name for cell in self.cells for name in cell.tensors)

    def sequence(self, value: Tensor) -> Tensor:
        """(examples, time, inputs) of the value of `source`."""
        return value if self.batch_first else value.transpose(0, 1)

    def run(self, x: Tensor, state: Mapping[str, Tensor]) -> Iterator[tuple[Cell, Tensor, Tensor]]:
        """Every cell with what it reads, and its states, both (examples, time, features)."""
        for layer in self.layers:
            out = [cell.states(x, state) for cell in layer]
            yield from ((cell, x, h) for cell, h in zip(layer, out, strict=True))
            x = out[0] if len(out) == 1 else torch.cat(out, 2)


def find_recurrent(traced: TracedNetwork, spec: SymmetrySpec) -> list[RecurrentSite]:
    """The recurrent operators that can be solved: over whole sequences, from states of zeros,
    without projections or weights used twice.
    """
    nodes = list(traced.graph.nodes)
    used = [
        name
        for node in nodes
        for name in (traced.state_names.get(n.name) for n in node.all_input_nodes)
        if name
    ]
    tied = {name for names in spec.tied for name in names}
    sites = []
    for node in nodes:
        kind = operator_name(node)
        if (
            node.op != "call_function"
            or kind not in _GATES
            or not str(node.target).endswith(".input")
        ):
            continue
        x, start, params, biases, layers, _, _, both, batch_first = node.args
        starts = start if isinstance(start, list | tuple) else [start]
        names = [traced.state_names.get(p.name, "") for p in params]
        count, directions = 4 if biases else 2, 2 if both else 1
        usable = (
            len(names) == count * layers * directions
            and all(
                name in spec.axes and used.count(name) == 1 and name not in tied for name in names
            )
            and all(isinstance(s, fx.Node) and operator_name(s) in _ZEROS for s in starts)
            and len(shape_of(x.meta["val"])) == 3
        )
        if usable:
            cells = [
                [
                    Cell(kind, k, bool(d), *_parts(names[count * (k * directions + d) :][:count]))
                    for d in range(directions)
                ]
                for k in range(layers)
            ]
            sites.append(
                RecurrentSite(
                    node.name, x.name, tuple(tuple(layer) for layer in cells), bool(batch_first)
                )
            )
    return sites


def _parts(names: Sequence[str]) -> tuple[str, str, tuple[str, ...]]:
    return names[0], names[1], tuple(names[2:])


@dataclass
class CellGoal:
    """Of all sampled steps: the gates' W x and U h (rows, gates x h), each with its bias, and the
    state before (rows, h), made to one.
    """

    inputs: Tensor
    own: Tensor
    before: Tensor


def gates_of(
    cell: Cell, x: Tensor, before: Tensor, state: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """W x + b and U h + b' of rows x (n, inputs) and h (n, h)."""
    first, second = (state[name] for name in cell.biases) if cell.biases else (None, None)
    return torch.nn.functional.linear(x, state[cell.inputs], first), torch.nn.functional.linear(
        before, state[cell.own], second
    )


def solve_recurrent(
    site: RecurrentSite,
    state: Mapping[str, Tensor],
    priors: Sequence[Mapping[str, Tensor]],
    inputs: Sequence[Tensor],
    goals: Mapping[Cell, CellGoal],
    steps: Sequence[Tensor],
    held: Sequence[int],
    ridge: float | None,
) -> list[tuple[Cell, int, list[Solution]]]:
    """Solve every cell in the tensors of `state`: what was solved, from how many rows.

    inputs: of each batch, what the folded network gives the operator. steps: of each batch, the
    sampled positions in (examples x time). held: how many of them are held out.
    """
    xs, report = [site.sequence(value) for value in inputs], []
    for layer in site.layers:
        for cell in layer:
            goal = goals[cell]
            for turn in range(ROUNDS):
                own = None if turn == 0 else [cell.before(cell.states(x, state)) for x in xs]
                solutions = _solve(cell, state, priors, xs, own, goal, steps, held, ridge)
            report.append((cell, len(goal.before), solutions))
        outs = [[cell.states(x, state) for cell in layer] for x in xs]
        xs = [torch.cat(out, 2) for out in outs]
    return report


def _solve(
    cell: Cell,
    state: Mapping[str, Tensor],
    priors: Sequence[Mapping[str, Tensor]],
    xs: Sequence[Tensor],
    own: Sequence[Tensor] | None,
    goal: CellGoal,
    steps: Sequence[Tensor],
    held: Sequence[int],
    ridge: float | None,
) -> list[Solution]:
    width, found = state[cell.own].shape[1], []
    for rows, reads, keeps in cell.blocks(width):
        sums = Ridge(
            [_matrix(cell, prior, rows, reads, keeps) for prior in priors], bool(cell.biases)
        )
        start = 0
        for batch, (x, at) in enumerate(zip(xs, steps, strict=True)):
            here = slice(start, start + len(at))
            start = here.stop
            target = (goal.inputs[here, rows] if reads else 0) + (
                goal.own[here, rows] if keeps else 0
            )
            assert isinstance(target, Tensor)
            h = goal.before[here] if own is None else own[batch].flatten(0, 1)[at]
            parts = [x.flatten(0, 1)[at]] * reads + [h] * keeps
            sums.add(
                torch.cat([part.to(target.dtype) for part in parts], 1)[None],
                target[None],
                held[batch],
            )
        solution = sums.solve(ridge)
        _write(cell, state, solution, rows, reads, keeps)
        found.append(solution)
    return found


def _matrix(
    cell: Cell, state: Mapping[str, Tensor], rows: slice, reads: bool, keeps: bool
) -> tuple[Tensor, Tensor]:
    """The cell's rows as (1, what they are applied to, rows), and their constant (1, rows),
    float64.
    """
    parts = [state[cell.inputs][rows]] * reads + [state[cell.own][rows]] * keeps
    biases = [
        state[name][rows] for name, taken in zip(cell.biases, (reads, keeps), strict=False) if taken
    ]
    constant = (
        torch.stack(biases).double().sum(0)
        if biases
        else parts[0].new_zeros(len(parts[0]), dtype=torch.float64)
    )
    return torch.cat(parts, 1).double().T[None], constant[None]


def _write(
    cell: Cell,
    state: Mapping[str, Tensor],
    solution: Solution,
    rows: slice,
    reads: bool,
    keeps: bool,
) -> None:
    matrix, constant = solution.matrix[0].T, solution.constant[0]
    inputs = state[cell.inputs].shape[1] if reads else 0
    if reads:
        state[cell.inputs][rows] = matrix[:, :inputs].to(state[cell.inputs].dtype)
    if keeps:
        state[cell.own][rows] = matrix[:, inputs:].to(state[cell.own].dtype)
    for name, taken in zip(cell.biases, (reads, keeps), strict=False):
        if taken:
            state[name][rows] = constant.to(state[name].dtype)
            constant = torch.zeros_like(constant)  # the second bias of the two adds nothing
