"""A network merged up to a place: one trunk for all members, and behind it each member's own
layers.

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

from onefold.errors import SettingError, nearest
from onefold.fold.partial.unmerge import Unmerge
from onefold.fold.soft.mixture import weighted_outputs
from onefold.inference import ANY, ClassAxis, Output
from onefold.symmetry.cutting import Cut, Cutting
from onefold.symmetry.parts import Piece, Rest, Trunk, piece_before, piece_behind

Outputs = Literal["mean", "probabilities", "members"]
OUTPUTS: tuple[Outputs, ...] = ("mean", "probabilities", "members")


class Head(nn.Module):
    """One member behind the cut: what brings the trunk's features into its own basis (`unmerge`),
    and its own layers (`layers`).
    """

    def __init__(self, rest: Rest, unmerge: Sequence[Unmerge] = ()) -> None:
        super().__init__()
        self.unmerge = nn.ModuleList(unmerge)
        self.layers = rest

    def forward(self, *values: Any) -> Any:
        """The trunk's values to what the member returns."""
        own = list(values)
        for step in self.unmerge:
            assert isinstance(step, Unmerge)
            own[step.place] = step(own[step.place])
        return self.layers(*own)


class PartialMerge(nn.Module):
    """Several networks in one: `trunk` runs once, each of `heads` on what it returns.

    Call it as the members are called; it always evaluates.

    outputs: "mean" returns what the members return, in the same form: floating-point tensors are
    averaged with `shares`, the rest is member 0's. "probabilities" takes their logits (`output`
    says which those are and where the classes lie, see `onefold.inference`) and returns the
    logarithm of the averaged probabilities, as ensembles are scored, in the members' axes.
    "members" returns a list of what each returns. It may be changed at any time. until, inputs:
    what a file must say for the network to be made again.
    """

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
        """Whether what it returns is the meant output itself."""
        return self.outputs == "probabilities"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What `outputs` says of the members' outputs.

        Raises DataError where the inputs are not of the traced kind.
        """
        values = self.trunk(*args, **kwargs)
        found = [head(*values) for head in self.heads]
        if self.outputs == "members":
            return found
        if self.outputs == "probabilities":
            meant = [self.output.of(own) for own in found]
            axis = ClassAxis(self.output, "a mean of probabilities").of(meant[0])
            logits = [own.movedim(axis, -1) for own in meant]
            mixed = weighted_outputs(
                torch.tensor(self.shares, device=logits[0].device), logits, "probabilities"
            )
            return mixed.movedim(-1, axis)
        return pytree.tree_map(lambda *own: _mean(own, self.shares), *found)

    def extra_repr(self) -> str:
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
    """The module. trunk, heads: whole state dicts. rests: of each member, where they differ in
    shape behind the cut; None for one and the same.
    """
    rests = rests or [(cutting, piece_behind(cutting, cut))] * len(heads)
    made = [
        Head(Rest(piece, state, own), steps)
        for (own, piece), state, steps in zip(rests, heads, unmerge, strict=True)
    ]
    before = Trunk(piece_before(cutting, cut), trunk, cutting)
    return PartialMerge(
        before, made, shares, outputs=outputs, until=cut.until, inputs=inputs, output=output
    ).eval()


def check_outputs(outputs: str) -> Outputs:
    """Raises SettingError where there is no such way to return the members' outputs."""
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
