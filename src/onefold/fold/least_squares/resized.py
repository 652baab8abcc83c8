"""The network that is solved: of the members' widths, or of others.

A network of other widths has a trace of its own. Its layers are those of the members in the same
order, so that the targets, which come from the members' own traces, belong to them one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from onefold.batches import Batch
from onefold.errors import MembersError, WidthsError
from onefold.fold.least_squares.layers import Site, find_sites
from onefold.fold.least_squares.outputs import Calibration
from onefold.fold.least_squares.plan import Plan
from onefold.fold.least_squares.recurrent import RecurrentSite, find_recurrent
from onefold.symmetry import SymmetrySpec, TracedNetwork, solve, trace
from onefold.widths import resize


@dataclass(frozen=True)
class Frame:
    """A traced network whose layers are solved.

    Attributes:
        traced: its trace.
        sites: the layers to solve, in the order of the plan's.
        recurrent: the recurrent operators to solve, likewise.
        network: the network, if its widths are not the members'; its weights are those of the
            reference.
    """

    traced: TracedNetwork
    sites: list[Site]
    recurrent: list[RecurrentSite]
    network: nn.Module | None = None


def own_frame(plan: Plan) -> Frame:
    """The frame of the members' own widths."""
    return Frame(plan.traced, plan.sites, plan.recurrent)


def resized_frame(
    plan: Plan, network: nn.Module, widths: Mapping[str, int], average: Mapping[str, Tensor]
) -> Frame:
    """The frame of other widths.

    Args:
        plan: the plan of the members' widths.
        network: one of the members.
        widths: group -> width.
        average: a state dict of these widths.

    Raises:
        WidthsError: the network cannot have these widths.
        MembersError: it has other layers then.
    """
    batch = plan.calibration.batches[0]
    resized = resize(network, plan.spec, dict(widths), example_inputs=_given(batch))
    traced = trace(resized, batch.args, batch.kwargs)
    spec = solve(traced)
    sites, _ = find_sites(traced, spec, average)
    recurrent = find_recurrent(traced, spec)
    same = [site.name for site in sites] == [site.name for site in plan.sites]
    if not same or len(recurrent) != len(plan.recurrent):
        raise MembersError(
            f"{type(network).__name__} has other layers in other widths, so that its members'"
            " layers cannot be refitted there; fold it in one member's width."
        )
    return Frame(traced, sites, recurrent, resized)


def resizable(
    network: nn.Module, spec: SymmetrySpec, names: Sequence[str], calibration: Calibration
) -> dict[str, str]:
    """The groups whose width cannot change, with the reason as a part of a sentence.

    Args:
        network: a network.
        spec: its symmetries.
        names: the groups that are asked about.
        calibration: its first batch is run.
    """
    batch = calibration.batches[0]

    def refused(groups: Sequence[str]) -> str:
        widths = {name: spec.group(name).size + 1 for name in groups}
        try:
            resize(network, spec, widths, example_inputs=_given(batch))
        except WidthsError as error:
            return str(error)
        return ""

    if not names or not refused(names):
        return {}
    return {
        name: f"group {name} keeps its width: {why}" for name in names if (why := refused([name]))
    }


def _given(batch: Batch) -> object:
    """The inputs of a batch as a data loader would yield them."""
    return batch.kwargs or (batch.args[0] if len(batch.args) == 1 else (batch.args, None))
