"""The groups of members that every benchmark takes: `onefold_groups()`.

A group says what its members saw and what is known of the right answer, so that a benchmark can
tell whether a method got it right. Members come from benchmarks/members (`train.py --list`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from benchmarks.common.data import REPOSITORY, Part, load_data
from benchmarks.common.networks import NETWORKS
from benchmarks.common.storage import read

FILES = REPOSITORY / "benchmarks" / "members" / "files"


@dataclass(frozen=True)
class Group:
    """Members of one network that belong together.

    name: of the group. network: a name in `benchmarks.common.networks`. members: names of their
    files, in order. known: what is known of the right answer. base: the member that the others
    started from.
    """

    name: str
    network: str
    members: tuple[str, ...]
    known: str
    base: str | None = None
    files: Path = FILES

    @property
    def missing(self) -> list[str]:
        """The members that are not trained yet."""
        names = [*self.members, *([self.base] if self.base else [])]
        return [name for name in names if not (self.files / f"{name}.safetensors").exists()]

    def models(self) -> list[nn.Module]:
        """The members in evaluation mode, in the order of `members`."""
        return [self.model(name) for name in self.members]

    def model(self, name: str) -> nn.Module:
        """One member in evaluation mode; FileNotFoundError where it is not trained yet."""
        if not (self.files / f"{name}.safetensors").exists():
            raise FileNotFoundError(
                f"The member '{name}' is not there; train it: benchmarks/members/train.py --name"
                f" {name}."
            )
        model = NETWORKS[self.network].build()
        model.load_state_dict(read(self.files / f"{name}.safetensors"))
        return model.eval()

    def accuracies(self) -> list[float]:
        """Each member's accuracy in percent on the test images, as its log has it."""
        logs = [json.loads((self.files / f"{name}.json").read_text()) for name in self.members]
        return [log["test_accuracy"] for log in logs]

    def unlabelled(self, images: int = 5000, size: int = 100) -> list[Tensor]:
        """Batches without labels of at most 5,000 training images that no member has seen."""
        return list(load_data(self._data).unlabelled.images[:images].split(size))

    def choices(self) -> Part:
        """5,000 labelled training images that no member has seen: settings are chosen on them."""
        return load_data(self._data).choices

    def test(self) -> Part:
        """The test images: for figures that are published, never for a choice."""
        return load_data(self._data).test

    @property
    def _data(self) -> str:
        return NETWORKS[self.network].data


def _names(stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}-{k}" for k in range(count))


LEVEL = (
    "All saw the same: no fold should be below the best member, and the ensemble is little above."
)
PARTS = (
    "Each knows some classes better: the ensemble is far above the best member, and a fold can be."
)
WRONG = "The damaged ones add nothing: a choice that is right gives them no weight."


def onefold_groups(*, trained: bool = True) -> dict[str, Group]:
    """Every group by its name; with `trained`, those alone whose members are all there."""
    good = _names("vgg11-same", 4)
    spoilt = ("vgg11-bad-flipped", "vgg11-bad-brief", "vgg11-bad-noise")
    branches = (
        "All went on from one network: the plain average is as good as the best member or better."
    )
    groups = [
        Group("same-data", "vgg11", good, LEVEL),
        Group("same-data-resnet20", "resnet20", _names("resnet20-same", 4), LEVEL),
        Group("halves", "vgg11", _names("vgg11-halves-a", 2), PARTS),
        Group("halves-b", "vgg11", _names("vgg11-halves-b", 2), PARTS),
        Group("halves-c", "vgg11", _names("vgg11-halves-c", 2), PARTS),
        Group("halves-resnet20", "resnet20", _names("resnet20-halves", 2), PARTS),
        Group("dirichlet", "vgg11", _names("vgg11-dirichlet", 2), PARTS),
        Group("dirichlet-plain-2", "vgg11-plain", _names("vgg11-plain-dirichlet-a", 2), PARTS),
        Group("dirichlet-plain-4", "vgg11-plain", _names("vgg11-plain-dirichlet-b", 4), PARTS),
        Group("cross-validation", "vgg11", _names("vgg11-fold", 5), LEVEL),
        Group("branches", "vgg11", _names("vgg11-branch", 3), branches, base="vgg11-trunk"),
        Group("eighth", "vgg11-eighth", _names("vgg11-eighth-same", 2), LEVEL),
        Group("bad", "vgg11", (good[0], good[1], *spoilt), WRONG),
        Group("many", "smallcnn", _names("smallcnn-same", 20), LEVEL),
        Group("wrong-labels", "smallcnn", _names("smallcnn-wrong", 4), LEVEL),
        Group("full", "vgg11-full", _names("vgg11-full-same", 2), LEVEL),
        Group("wide", "resnet20-wide", _names("resnet20-wide-same", 2), LEVEL),
    ]
    return {group.name: group for group in groups if not (trained and group.missing)}
