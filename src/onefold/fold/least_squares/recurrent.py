"""Recurrent layers by least squares: LSTM, GRU and plain recurrent networks.

Layers and directions are solved one after the other. A cell's gates are computed from a linear map
of its inputs, a_t = W x_t + U h_{t-1} + b. The target is the members' own a_t in the reference's
basis, combined as for any layer (`targets.py`). x_t is the output of the folded layers before.

h_{t-1} differs between rounds. In the first round it is the members' own state, combined in the
same way. In the second it is the state that the folded cell computes with the first round's
solution, so that the cell learns to correct its own errors.

The candidate of a GRU, n_t = tanh(V x_t + c + r_t * (U h_{t-1} + b)), has two targets, one for each
product.

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
    """One layer in one direction, by the state-dict names of its tensors.

    Attributes:
        kind: "lstm", "gru", "rnn_tanh" or "rnn_relu".
        layer: the layer's number.
        reverse: whether the sequence is read backwards.
        inputs: the name of W (gates x h, inputs).
        hidden: the name of U (gates x h, h).
        biases: the names of the biases of W x and U h, if there are any.
    """

    kind: str
    layer: int
    reverse: bool
    inputs: str
    hidden: str
    biases: tuple[str, ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of all tensors."""
        return (self.inputs, self.hidden, *self.biases)

    def states(self, x: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """The cell's states (examples, time, h) over whole sequences x (examples, time, inputs).

        The first state is zeros.
        """
        weights = [state[name] for name in self.tensors]
        start = x.new_zeros(1, len(x), state[self.hidden].shape[1])
        x = x.flip(1) if self.reverse else x
        arguments = (weights, bool(self.biases), 1, 0.0, False, False, True)
        out: Tensor = (
            torch.lstm(x, (start, start), *arguments)[0]
            if self.kind == "lstm"
            else getattr(torch, self.kind)(x, start, *arguments)[0]
        )
        return out.flip(1) if self.reverse else out

    def before(self, h: Tensor) -> Tensor:
        """The state that each step starts from, for states h (examples, time, h)."""
        none = torch.zeros_like(h[:, :1])
        return torch.cat([h[:, 1:], none], 1) if self.reverse else torch.cat([none, h[:, :-1]], 1)

    def blocks(self, width: int) -> list[tuple[slice, bool, bool]]:
        """The rows of the weights that have a target of their own.

        Each comes with two flags: whether the target contains W x, and whether it contains U h.
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
    """A recurrent operator in the graph.

    Attributes:
        node: the operator's node.
        source: the node that it reads.
        layers: its cells, by layer and direction.
        batch_first: whether the first axis counts examples.
    """

    node: str
    source: str
    layers: tuple[tuple[Cell, ...], ...]
    batch_first: bool

    @property
    def cells(self) -> Iterator[Cell]:
        """All cells, in order."""
        for layer in self.layers:
            yield from layer

    @property
    def tensors(self) -> frozenset[str]:
        """The names of all tensors."""
        return frozenset(name for cell in self.cells for name in cell.tensors)

    def sequence(self, value: Tensor) -> Tensor:
        """(examples, time, inputs) of the value of `source`."""
        return value if self.batch_first else value.transpose(0, 1)

    def run(self, x: Tensor, state: Mapping[str, Tensor]) -> Iterator[tuple[Cell, Tensor, Tensor]]:
        """Every cell with its input and its states, both (examples, time, features)."""
        for layer in self.layers:
            out = [cell.states(x, state) for cell in layer]
            yield from ((cell, x, h) for cell, h in zip(layer, out, strict=True))
            x = out[0] if len(out) == 1 else torch.cat(out, 2)


def find_recurrent(traced: TracedNetwork, spec: SymmetrySpec) -> list[RecurrentSite]:
    """The recurrent operators that can be solved.

    They run over whole sequences from states of zeros, and have no projections and no weights used
    twice.
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
class CellTarget:
    """The target of a cell over all sampled steps.

    Attributes:
        inputs: W x with its bias (rows, gates x h).
        hidden: U h with its bias (rows, gates x h).
        before: the state before the step (rows, h).
    """

    inputs: Tensor
    hidden: Tensor
    before: Tensor


def gates_of(
    cell: Cell, x: Tensor, before: Tensor, state: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """W x + b and U h + b' of rows x (n, inputs) and h (n, h)."""
    first, second = (state[name] for name in cell.biases) if cell.biases else (None, None)
    return torch.nn.functional.linear(x, state[cell.inputs], first), torch.nn.functional.linear(
        before, state[cell.hidden], second
    )


def solve_recurrent(
    site: RecurrentSite,
    state: Mapping[str, Tensor],
    priors: Sequence[Mapping[str, Tensor]],
    inputs: Sequence[Tensor],
    targets: Mapping[Cell, CellTarget],
    steps: Sequence[Tensor],
    held: Sequence[int],
    ridge: float | None,
) -> list[tuple[Cell, int, list[Solution]]]:
    """Solve every cell in the tensors of `state`, in place.

    Args:
        site: the recurrent operator.
        state: the folded state.
        priors: state dicts that the solutions may be drawn to.
        inputs: of each batch, the value that the folded network gives the operator.
        targets: of each cell.
        steps: of each batch, the sampled positions in (examples x time).
        held: of each batch, how many of the last sampled positions are held out.
        ridge: lambda; None to choose it.

    Returns:
        Each cell with its number of rows and the solutions of its blocks.
    """
    xs, report = [site.sequence(value) for value in inputs], []
    for layer in site.layers:
        for cell in layer:
            cell_target = targets[cell]
            for turn in range(ROUNDS):
                before = None
                if turn > 0:
                    before = [cell.before(cell.states(x, state)) for x in xs]
                solutions = _solve(cell, state, priors, xs, before, cell_target, steps, held, ridge)
            report.append((cell, len(cell_target.before), solutions))
        outs = [[cell.states(x, state) for cell in layer] for x in xs]
        xs = [torch.cat(out, 2) for out in outs]
    return report


def _solve(
    cell: Cell,
    state: Mapping[str, Tensor],
    priors: Sequence[Mapping[str, Tensor]],
    xs: Sequence[Tensor],
    folded_before: Sequence[Tensor] | None,
    cell_target: CellTarget,
    steps: Sequence[Tensor],
    held: Sequence[int],
    ridge: float | None,
) -> list[Solution]:
    width, found = state[cell.hidden].shape[1], []
    for rows, reads, keeps in cell.blocks(width):
        sums = Ridge(
            [_matrix(cell, prior, rows, reads, keeps) for prior in priors], bool(cell.biases)
        )
        start = 0
        for batch, (x, at) in enumerate(zip(xs, steps, strict=True)):
            here = slice(start, start + len(at))
            start = here.stop
            target = (cell_target.inputs[here, rows] if reads else 0) + (
                cell_target.hidden[here, rows] if keeps else 0
            )
            assert isinstance(target, Tensor)
            h = cell_target.before[here]
            if folded_before is not None:
                h = folded_before[batch].flatten(0, 1)[at]
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
    """The prior of a cell's rows as a matrix and a constant.

    The matrix is (1, inputs, rows), the constant (1, rows), both float64.
    """
    parts = [state[cell.inputs][rows]] * reads + [state[cell.hidden][rows]] * keeps
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
        state[cell.hidden][rows] = matrix[:, inputs:].to(state[cell.hidden].dtype)
    for name, taken in zip(cell.biases, (reads, keeps), strict=False):
        if taken:
            state[name][rows] = constant.to(state[name].dtype)
            constant = torch.zeros_like(constant)  # the second bias of the two adds nothing
