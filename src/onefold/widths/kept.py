"""Which groups can be widened with dead units without a change of the network's function.

Dead units add nothing where a layer reads them. An operator that divides by the number of units, or
compares them, still notices them: norms, means, softmaxes, extrema, and attention, whose scale goes
by the width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, fx, nn

from onefold.arguments import checked
from onefold.errors import WidthsError
from onefold.isolation import isolated
from onefold.symmetry import SymmetrySpec, TracedNetwork, example_batch, solve, trace
from onefold.symmetry.axes import Prod, live_groups
from onefold.symmetry.propagate import propagate
from onefold.symmetry.rules.call import Call
from onefold.symmetry.terms import atoms
from onefold.widths.search import unlike

_REDUCED = {
    "a mean": ("mean",),
    "a variance": ("var", "std", "var_mean"),
    "a softmax": ("softmax", "_softmax", "log_softmax", "_log_softmax", "logsumexp"),
    "an extremum": ("amax", "amin", "max", "min", "argmax", "argmin", "topk", "sort", "any", "all"),
    "a product": ("prod", "cumprod"),
}
_LAST = ("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm")
_ATTENTION = "attention multiplies and sums over it, with a scale that may go by its width"


@checked
@isolated
def widening_changes(
    model: nn.Module,
    spec: SymmetrySpec,
    example_inputs: Any = None,
    *,
    traced: TracedNetwork | None = None,
) -> dict[str, str]:
    """The groups whose dead units change what a network computes, each with the reason.

    All others can be widened by `onefold.resize` without a change of the function in eval mode.

    Args:
        model: the network; it is left as it is.
        spec: its symmetries.
        example_inputs: one batch, as for `onefold.find_symmetries`.
        traced: a trace of the network that was made earlier, in place of the inputs.

    Raises:
        WidthsError: the spec is not that of the network.
        DataError, TraceError: as `onefold.find_symmetries`.
    """
    if traced is None:
        batch = example_batch(example_inputs)
        traced = trace(model, batch.args, batch.kwargs)
    facts = propagate(traced)
    places: list[tuple[fx.Node, list[int], str]] = []
    for node in facts.axes:
        if node.op == "call_function":
            places += _noticed(Call(node, facts))
    for _, source, _, term in facts.duals:
        summed = set(atoms(term))
        terms = facts.axes[source]
        axes = [k for k, one in enumerate(terms) if summed & set(atoms(one))]
        places.append((source, axes, _ATTENTION))
    own = solve(traced, {node.name for node, _, _ in places})
    if unlike(spec, own, {}):
        raise WidthsError(
            f"The symmetries given are not those of {type(model).__name__}; find them again."
        )
    found: dict[str, str] = {}
    for node, axes, reason in places:
        for axis in axes:
            counted = own.nodes[node.name][axis]
            if reason == _BLOCKS and isinstance(counted, Prod):
                counted = Prod(counted.parts[1:])
            for name in live_groups(counted):
                found.setdefault(name, reason)
    return {group.name: found[group.name] for group in spec.groups if group.name in found}


_BLOCKS = "a group norm runs over it"


def _noticed(call: Call) -> Iterator[tuple[fx.Node, list[int], str]]:
    """(input, axes, reason) of what an operator counts or compares."""
    source = call.node.args[0] if call.node.args else None
    if not isinstance(source, fx.Node) or not isinstance(source.meta.get("val"), Tensor):
        return
    rank = len(source.meta["val"].shape)
    if call.name in _LAST:
        count = len(call["normalized_shape"])
        yield source, list(range(rank - count, rank)), "a norm runs over it"
    elif call.name in ("group_norm", "native_group_norm"):
        blocks = call.first("num_groups", "group")
        yield source, [1], _BLOCKS if blocks > 1 else "a norm runs over it"
    for what, names in _REDUCED.items():
        if call.name in names and not call.is_tensor(call.get("other")):
            dims = call.get("dim")
            listed = dims if isinstance(dims, list | tuple) else [] if dims is None else [dims]
            axes = [dim % rank for dim in listed] or list(range(rank))
            yield source, axes, f"{what} runs over it"
