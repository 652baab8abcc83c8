"""Partially merged networks: one trunk for all members, and each member's own layers behind it.

    y = sum_k a_k f_k(x_k),   x_k = T_k^-1 h,   h = trunk(input)

Stoica, Bolya, Bjorner, Ramesh, Hearn & Hoffman 2024, "ZipIt! Merging Models from Different Tasks
without Training" (arXiv 2305.03053): partial zipping, with "multi-head" networks behind the last
merged layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onefold.arguments import checked
from onefold.errors import SettingError, nearest
from onefold.fold.partial.unmerge import Unmerge
from onefold.fold.soft.mixture import weighted_outputs
from onefold.inference import ANY, ClassAxis, Output
from onefold.symmetry.cutting import Cut, Cutting
from onefold.symmetry.parts import Piece, Rest, Trunk, piece_before, piece_behind

Outputs = Literal["mean", "probabilities", "members"]
OUTPUTS: tuple[Outputs, ...] = ("mean", "probabilities", "members")


class Head(nn.Module):
    """One member behind the cut.

    Attributes:
        unmerge: the steps that bring the trunk's features into the member's own basis.
        layers: its own layers.
    """

    def __init__(self, rest: Rest, unmerge: Sequence[Unmerge] = ()) -> None:
        super().__init__()
        self.unmerge = nn.ModuleList(unmerge)
        self.layers = rest

    def forward(self, *values: Any) -> Any:
        """The member's output from the trunk's values."""
        mapped = list(values)
        for step in self.unmerge:
            assert isinstance(step, Unmerge)
            mapped[step.place] = step(mapped[step.place])
        return self.layers(*mapped)


class PartialMerge(nn.Module):
    """Several networks in one: `trunk` runs once, each of `heads` on its values.

    Call it as the members are called. It always evaluates.

    Args:
        trunk: the merged part.
        heads: one for each member.
        shares: the members' weights in a mean.
        outputs: the form of the result; it may be changed at any time. "mean" returns the members'
            form: floating-point tensors are averaged with `shares`, the rest is member 0's.
            "probabilities" takes their logits and returns the logarithm of the averaged
            probabilities, as ensembles are scored, in the members' axes. "members" returns a list
            of what each returns.
        until: the module behind which the networks are cut, for files.
        inputs: the shapes and dtypes of the inputs, for files.
        output: which output the logits are and where the classes lie (`onefold.inference`).
    """

    @checked
    def __init__(
        self,
        trunk: Trunk,
        heads: Sequence[Head],
        shares: Sequence[float],
        *,
        outputs: Outputs = "mean",
        until: str = "",
        inputs: Any = None,
        output: Output = ANY,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(heads)
        self.shares = tuple(shares)
        self.outputs: Outputs = check_outputs(outputs)
        self.until, self.inputs, self.output = until, inputs, output

    @property
    def selects_output(self) -> bool:
        """Whether the returned value is the meant output itself."""
        return self.outputs == "probabilities"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The members' outputs in the form of `outputs`.

        Raises:
            DataError: the inputs are not of the traced kind.
        """
        values = self.trunk(*args, **kwargs)
        returned = [head(*values) for head in self.heads]
        if self.outputs == "members":
            return returned
        if self.outputs == "probabilities":
            meant = [self.output.of(value) for value in returned]
            axis = ClassAxis(self.output, "a mean of probabilities").of(meant[0])
            logits = [value.movedim(axis, -1) for value in meant]
            shares = torch.tensor(self.shares, device=logits[0].device, dtype=torch.float32)
            return weighted_outputs(shares, logits, "probabilities").movedim(-1, axis)
        return pytree.tree_map(lambda *leaves: _mean(leaves, self.shares), *returned)

    def extra_repr(self) -> str:
        """The place and the form of outputs, as torch prints them."""
        return f"until='{self.until}', outputs='{self.outputs}'"


def assemble(
    cutting: Cutting,
    cut: Cut,
    trunk: Mapping[str, Tensor],
    heads: Sequence[Mapping[str, Tensor]],
    unmerge: Sequence[Sequence[Unmerge]],
    shares: Sequence[float],
    *,
    rests: Sequence[tuple[Cutting, Piece]] | None = None,
    outputs: Outputs = "mean",
    inputs: Any = None,
    output: Output = ANY,
) -> PartialMerge:
    """The module from its parts.

    Args:
        cutting: the traced network.
        cut: the place.
        trunk: a whole state dict.
        heads: a whole state dict of each member.
        unmerge: the steps of each member.
        shares: the members' weights.
        rests: the traced network and the part behind the cut of each member; None if they are all
            the same.
        outputs: see `PartialMerge`.
        inputs: see `PartialMerge`.
        output: see `PartialMerge`.
    """
    rests = rests or [(cutting, piece_behind(cutting, cut))] * len(heads)
    members = [
        Head(Rest(piece, state, member_cutting), steps)
        for (member_cutting, piece), state, steps in zip(rests, heads, unmerge, strict=True)
    ]
    return PartialMerge(
        Trunk(piece_before(cutting, cut), trunk, cutting),
        members,
        shares,
        outputs=outputs,
        until=cut.until,
        inputs=inputs,
        output=output,
    ).eval()


def check_outputs(outputs: str) -> Outputs:
    """The form of outputs of that name.

    Raises:
        SettingError: there is no such form.
    """
    for known in OUTPUTS:
        if outputs == known:
            return known
    raise SettingError(
        f"There are no outputs '{outputs}' of a partial merge; {nearest(outputs, OUTPUTS)}"
    )


def _mean(values: Sequence[Any], shares: Sequence[float]) -> Any:
    first = values[0]
    if not isinstance(first, Tensor) or not (first.is_floating_point() or first.is_complex()):
        return first
    total = first * shares[0]
    for value, share in zip(values[1:], shares[1:], strict=True):
        total = total + value * share
    return total
