"""Members with label sets of different sizes.

They are alike but for axes of tensors behind the cut that nothing inside the network reads.
Alignment and folding need networks of one set of shapes, so the smaller members are filled up with
zeros there. Only the trunk of the result is used; the heads are the members' own.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from onefold.copying import copied
from onefold.errors import MembersError
from onefold.symmetry.axes import live_groups
from onefold.symmetry.cutting import Cut, Cutting


def largest(models: Sequence[nn.Module]) -> int:
    """The number of the first member that has the most tensor elements."""
    sizes = [sum(tensor.numel() for tensor in model.state_dict().values()) for model in models]
    return sizes.index(max(sizes))


def filled(models: Sequence[nn.Module], cutting: Cutting, cut: Cut) -> list[nn.Module]:
    """The members in the shapes of member `largest`, filled up with zeros behind fewer labels.

    Members of these shapes are passed on as they are.

    Args:
        models: the members.
        cutting: the traced network of member `largest`.
        cut: the place.

    Raises:
        MembersError: a member differs in more than the number of labels behind the cut.
    """
    spec, template = cutting.spec, models[largest(models)]
    wanted = template.state_dict()
    before = {
        cutting.traced.state_names[source.name]
        for node in cutting.before(cut)
        for source in node.all_input_nodes
        if source.name in cutting.traced.state_names
    }
    result = []
    for k, model in enumerate(models):
        state, changed = dict(model.state_dict()), False
        for name, value in model.state_dict().items():
            if name not in wanted or value.shape == wanted[name].shape:
                continue
            free = [
                axis
                for axis, term in enumerate(spec.axes.get(name, ()))
                if not any(live_groups(term))
            ]
            differ = [
                axis
                for axis, (a, b) in enumerate(zip(value.shape, wanted[name].shape, strict=False))
                if a != b
            ]
            smaller = all(value.shape[a] < wanted[name].shape[a] for a in differ)
            fits = value.dim() == wanted[name].dim() and set(differ) <= set(free) and smaller
            if name in before or not fits:
                raise MembersError(
                    f"'{name}' has shape {tuple(value.shape)} in member {k} but"
                    f" {tuple(wanted[name].shape)} in member {models.index(template)}; members of a"
                    " partial merge may differ in the number of labels behind the cut, and in"
                    " nothing else."
                )
            larger = value.new_zeros(wanted[name].shape)
            larger[tuple(slice(n) for n in value.shape)] = value
            state[name], changed = larger, True
        if changed:
            model = copied(template)
            model.load_state_dict(state)
        result.append(model)
    return result
