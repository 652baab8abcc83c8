"""A traced network cut in two behind one of its modules.

The side before the cut is everything that runs up to the end of the module, parallel branches too.
Every value that is read behind the cut crosses it: a skip connection past the module as well as the
module's own output. So all information passes through the crossing values, whatever the graph.
Values that do not depend on the inputs (weights computed from weights, position tables) belong to
both sides, each from its own tensors.

Not every module ends at a place where features can be handed over. A cut must not part a layer from
the batch norm that is folded into it, nor lie inside the heads of an attention block, nor part two
views of one memory that is written to later.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.export.graph_signature import InputKind

from onefold.errors import SymmetryError, nearest
from onefold.symmetry.axes import Group, Live, Term, live_groups
from onefold.symmetry.maps import case_indices, leaves
from onefold.symmetry.replay import is_assertion, memory_of
from onefold.symmetry.solver import solve
from onefold.symmetry.spec import SymmetrySpec
from onefold.symmetry.tracing import TracedNetwork

LISTED = 16  # places that a message names at most


@dataclass(frozen=True)
class Cut:
    """A place to cut: behind the module `until`.

    Attributes:
        until: name of the module.
        crossing: nodes whose values cross, in graph order: tensors, and sizes of the inputs.
        layers: number of operators before the cut with a weight of two or more axes.
        total: number of such operators in the whole network.
    """

    until: str
    crossing: tuple[str, ...]
    layers: int
    total: int

    @property
    def share(self) -> float:
        """The share of the layers that run before the cut."""
        return self.layers / self.total


class Cutting:
    """All places where a traced network can be cut.

    Attributes:
        traced: the network.
        nodes: its nodes in graph order, without assertions.
        place: node -> its position in `nodes`.
        root: node -> node that made its memory.
        written: node that writes -> node that made the memory.
        inputs: placeholders of the inputs.
        flowing: nodes that depend on the inputs.
        spec: symmetries of the network, with the axes of every value that depends on the inputs.
        cuts: cuts that are possible, in graph order. If several modules end at one place, the
            outermost one names it.
        refused: module -> why there can be no cut behind it.
    """

    def __init__(self, traced: TracedNetwork) -> None:
        self.traced = traced
        self.nodes = [node for node in traced.graph.nodes if not is_assertion(node)]
        self.place = {node: k for k, node in enumerate(self.nodes)}
        self.root, self.written = memory_of(self.nodes)
        self.inputs = _inputs(traced)
        self.flowing = self._flowing()
        self._weighted = self._with_weights()
        ends = self._ends()
        self._sides = {at: self._side(at) for at in sorted(set(ends.values()))}
        crossing = {at: self.crossing(before) for at, before in self._sides.items()}
        self.spec: SymmetrySpec = solve(
            traced,
            nodes={node.name for node in self.flowing if isinstance(node.meta.get("val"), Tensor)},
        )
        total = sum(node in self._weighted for node in self.nodes)
        self.cuts: list[Cut] = []
        self.refused: dict[str, str] = {}
        self._same: dict[str, Cut] = {}
        self._before: dict[Cut, set[fx.Node]] = {}
        for at, before in self._sides.items():
            layers = sum(node in self._weighted for node in before)
            reason = self._refusal(before, crossing[at], layers, total)
            ending = [name for name, end in ends.items() if end == at]
            names = sorted(ending, key=lambda name: (name.count("."), name))
            if reason:
                self.refused |= dict.fromkeys(names, reason)
                continue
            cut = Cut(names[0], tuple(node.name for node in crossing[at]), layers, total)
            self.cuts.append(cut)
            self._before[cut] = before
            self._same |= dict.fromkeys(names, cut)

    def at(self, until: str | float) -> Cut:
        """The cut behind a module, or the one whose share of layers is nearest to a number.

        Args:
            until: name of the module, or share of the layers to run before the cut.

        Raises:
            SymmetryError: there is no such module, nothing of it runs, the network cannot be cut
                behind it, or the share is not between 0 and 1.
        """
        if not isinstance(until, str):
            if not 0 < until < 1:
                raise SymmetryError(
                    f"The share of layers before the cut is {until}; give one between 0 (the"
                    " ensemble) and 1 (merge all of it)."
                )
            if not self.cuts:
                raise SymmetryError(
                    "The network cannot be cut behind any of its modules; merge all of it."
                )
            return min(reversed(self.cuts), key=lambda cut: abs(cut.share - until))
        if until in self._same:
            return self._same[until]
        if until in self.refused:
            raise SymmetryError(
                f"The network cannot be cut behind '{until}': {self.refused[until]}; it can behind"
                f" {self.listed()}."
            )
        known = {name for name, _ in self.traced.model.named_modules()}
        if until in known:
            raise SymmetryError(
                f"Nothing of the module '{until}' runs on the inputs, so the network cannot be cut"
                f" behind it; it can behind {self.listed()}."
            )
        close = nearest(until, known - {""}) if len(known) > LISTED else ""
        places = f"the network can be cut behind {self.listed()}."
        hint = close if close.startswith("did") else places
        raise SymmetryError(f"The network has no module '{until}'; {hint}")

    def listed(self) -> str:
        """The names of possible cuts, for a message.

        Of cuts with equally many layers before them, only the last is named.
        """
        last = list({cut.layers: cut.until for cut in self.cuts}.values())
        step = -(-len(last) // LISTED) if last else 1
        return ", ".join(f"'{name}'" for name in last[::step]) or "none of its modules"

    def before(self, cut: Cut) -> set[fx.Node]:
        """The nodes that run before the cut and depend on the inputs."""
        return self._before[cut]

    def crossing(self, before: set[fx.Node]) -> list[fx.Node]:
        """The nodes of `before` whose values are read behind it, in graph order."""

        def is_read_behind(node: fx.Node) -> bool:
            return any(user not in before for user in node.users if user in self.place)

        return [node for node in self.nodes if node in before and is_read_behind(node)]

    def _flowing(self) -> set[fx.Node]:
        """The nodes that depend on the inputs, also through memory that is written to."""
        flowing: set[fx.Node] = set(self.inputs)
        while True:
            known = len(flowing)
            wet = {self.written[node] for node in flowing if node in self.written}
            for node in self.nodes:
                if node.op == "call_function" and (
                    self.root[node] in wet or not flowing.isdisjoint(node.all_input_nodes)
                ):
                    flowing.add(node)
            if len(flowing) == known:
                return flowing

    def _with_weights(self) -> set[fx.Node]:
        """The nodes that depend on the inputs and read a weight of two or more axes.

        A value that is computed from such a weight alone counts as one.
        """
        weights: set[fx.Node] = set()
        found: set[fx.Node] = set()
        for node in self.nodes:
            value = node.meta.get("val")
            if node.op == "placeholder" and node.name in self.traced.state_names:
                if isinstance(value, Tensor) and value.dim() >= 2:
                    weights.add(node)
            elif node.op == "call_function" and not weights.isdisjoint(node.all_input_nodes):
                (found if node in self.flowing else weights).add(node)
        return found

    def _ends(self) -> dict[str, int]:
        """Module -> position of its last node that depends on the inputs.

        A list of modules ends with the last of them.
        """
        ends: dict[str, int] = {}
        for node in self.nodes:
            if node.op == "call_function" and node in self.flowing:
                for path, _ in (node.meta.get("nn_module_stack") or {}).values():
                    name = str(path).split("@")[0]  # a module's second call is named "name@1"
                    ends |= dict.fromkeys([name, *_containers(name)], self.place[node])
        return {
            name: at
            for name, at in ends.items()
            if name and not name.startswith("_empty_nn_module_stack")
        }

    def _side(self, at: int) -> set[fx.Node]:
        """Nodes up to a position that depend on the inputs, with all entries of their tuples."""
        before = {
            node
            for node in self.nodes
            if node in self.flowing and (node.op == "placeholder" or self.place[node] <= at)
        }
        for node in self.nodes:
            if node.target is operator.getitem and node.args[0] in before:
                before.add(node)
        return before

    def _refusal(
        self, before: set[fx.Node], crossing: Sequence[fx.Node], layers: int, total: int
    ) -> str:
        """Why there can be no cut here; empty if there can."""
        if layers == 0:
            return "no layer with weights runs before it, so there would be nothing to merge"
        if layers == total:
            return "no layer with weights runs behind it, so that all of it would be merged"
        byname = {node.name: node for node in self.nodes}
        for layer in self.spec.layers:
            if layer.norm is None:
                continue
            if byname[layer.node] in before and byname[layer.norm.node] not in before:
                return f"'{layer.weight}' would be parted from its batch norm"
        for memory in {memory for node, memory in self.written.items() if node not in before}:
            views = [node for node in crossing if self.root[node] is memory]
            if len(views) > 1:
                return (
                    f"'{views[0].name}' and '{views[1].name}' are one memory, which is written to"
                    " behind it"
                )
        for node in crossing:
            if reason := self._unreadable(node):
                return reason
        return ""

    def _unreadable(self, node: fx.Node) -> str:
        """Why the features of a crossing value cannot be mapped back; empty if they can."""
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt | int | float | bool | torch.SymBool | torch.SymFloat):
            return ""
        if not isinstance(value, Tensor):
            return f"'{node.name}' is no tensor"
        for term in self.spec.nodes.get(node.name, ()):
            if not case_indices(term) <= _names(term):
                return f"it would part what '{node.name}' joined"
            for name in live_groups(term):
                if not _alone(self.spec.group(name), term):
                    return f"it would part the heads of '{node.name}'"
                group = self.spec.group(name)
                readable = {probe.node for probe in (*group.probes, *group.duals)}
                if group.duals and node.name not in readable:
                    return f"it would part queries from keys at '{node.name}'"
        return ""


def cut_places(traced: TracedNetwork) -> list[Cut]:
    """All places where a network can be cut, in graph order."""
    return Cutting(traced).cuts


def _alone(group: Group, term: Term) -> bool:
    """Whether an axis holds all index atoms that the map of a group depends on."""
    return all(index in _names(term) for index in group.over)


def _containers(name: str) -> list[str]:
    """The names of the modules around the module of that name."""
    parts = name.split(".")
    return [".".join(parts[:k]) for k in range(1, len(parts))]


def _names(term: Term) -> set[str]:
    """The groups and fixed parts of a term."""
    return {leaf.group if isinstance(leaf, Live) else leaf.name for leaf in leaves(term)}


def _inputs(traced: TracedNetwork) -> list[fx.Node]:
    """The placeholders of the inputs, in the order of the flattened inputs."""
    names = {node.name: node for node in traced.graph.nodes if node.op == "placeholder"}
    specs = traced.program.graph_signature.input_specs
    return [names[spec.arg.name] for spec in specs if spec.kind == InputKind.USER_INPUT]
