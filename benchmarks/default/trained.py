"""The groups of benchmarks/members that are trained, in the form of `small_groups()`.

Each is there once, as the repeat 0. Their kinds are told by what `onefold_groups()` knows of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmarks.common.data import Part
from benchmarks.common.groups import LEVEL, PARTS, WRONG, Group, onefold_groups
from benchmarks.common.networks import NETWORKS
from benchmarks.default.data import Draw, draw, small_data

KIND_OF = {LEVEL: "same", PARTS: "different", WRONG: "bad"}
SMALL = {"fashion_mnist": "fashion", "cifar10": "cifar10"}


@dataclass(frozen=True)
class TrainedGroup:
    """A group of trained members, with the attributes of a `SmallGroup`."""

    group: Group

    @property
    def name(self) -> str:
        """The group's name and the repeat."""
        return f"{self.group.name}/0"

    @property
    def kind(self) -> str:
        """A row of the table in groups.py; what is known of others is that they share an origin."""
        return KIND_OF.get(self.group.known, "origin")

    @property
    def data(self) -> str:
        """The name of the data in `small_data`."""
        return SMALL[NETWORKS[self.group.network].data]

    def models(self) -> list[nn.Module]:
        """The members in evaluation mode."""
        return self.group.models()

    def draw(self, number: int) -> Draw:
        """Unlabelled and labelled images that no member has seen."""
        return draw(self.data, number)

    def test(self) -> Part:
        """The test images."""
        return small_data(self.data).test


def trained_groups(*, trained: bool = True) -> dict[str, TrainedGroup]:
    """Every group by its name; with `trained`, those alone whose members are all there."""
    found = [TrainedGroup(group) for group in onefold_groups(trained=trained).values()]
    return {group.name: group for group in found}
