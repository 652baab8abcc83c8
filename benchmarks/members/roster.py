"""The members, in the order in which they are trained, and the settings of their training.

The learning rates were chosen by `choose.py` on the part "choices" of the training images; its
figures are in choice.json.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.members.shares import Share


@dataclass(frozen=True)
class Settings:
    """lr: the highest of a one-cycle schedule. batch: images a step. weight_decay: of SGD."""

    lr: float
    batch: int = 128
    weight_decay: float = 5e-4


SETTINGS = {
    "resnet20": Settings(0.2),
    "resnet20-wide": Settings(0.2),
    "vgg11": Settings(0.1),
    "vgg11-eighth": Settings(0.1),
    "vgg11-full": Settings(0.1),
    "vgg11-plain": Settings(0.025),
    "smallcnn": Settings(0.1),
    "digits": Settings(0.1, batch=32),
}
BRANCH_LR = 0.25  # of the trunk's rate: branches go on from a trained network


@dataclass(frozen=True)
class Member:
    """One network to be trained.

    name: of its files. network: a name in `benchmarks.common.networks`. seed: of weights and order.
    share: the images that it sees. origin: the member whose weights it starts from. wrong: share of
    images with a wrong label. damage: how it is made from its origin without training
    (`damage.py`). floor: the least accuracy in percent that it should reach on the test images.
    gpu: trained only where there is a GPU.
    """

    name: str
    network: str
    epochs: int
    seed: int = 0
    share: Share = field(default_factory=Share)
    origin: str | None = None
    wrong: float = 0.0
    damage: str | None = None
    floor: float = 0.0
    gpu: bool = False


def _several(stem: str, count: int, network: str, epochs: int, **more: object) -> list[Member]:
    first = int(more.pop("first", 0))  # type: ignore[call-overload]
    return [
        Member(f"{stem}-{k}", network, epochs, first + k, **more)  # type: ignore[arg-type]
        for k in range(count)
    ]


def _shared(
    stem: str, of: int, network: str, epochs: int, kind: str, draw: int = 0
) -> list[Member]:
    seeds = range(100 * (draw + 1), 100 * (draw + 1) + of)
    return [
        Member(f"{stem}-{k}", network, epochs, seed, Share(kind, k, of, draw))
        for k, seed in enumerate(seeds)
    ]


def _roster() -> list[Member]:
    trunk = Member("vgg11-trunk", "vgg11", 30, 50, floor=80.0)
    return [
        *_shared("resnet20-halves", 2, "resnet20", 30, "halves"),
        *_shared("vgg11-halves-a", 2, "vgg11", 60, "halves", 0),
        *_several("vgg11-same", 2, "vgg11", 60, floor=82.0),
        *_several("smallcnn-same", 4, "smallcnn", 30, floor=90.0),
        *_shared("vgg11-dirichlet", 2, "vgg11", 60, "dirichlet"),
        *_shared("vgg11-plain-dirichlet-a", 2, "vgg11-plain", 60, "dirichlet"),
        Member("vgg11-same-2", "vgg11", 60, 2, floor=82.0),
        Member("vgg11-same-3", "vgg11", 60, 3, floor=82.0),
        Member("vgg11-bad-brief", "vgg11", 2, 60),
        Member("vgg11-bad-flipped", "vgg11", 0, 0, origin="vgg11-same-0", damage="flipped"),
        Member("vgg11-bad-noise", "vgg11", 0, 0, origin="vgg11-same-1", damage="noise"),
        trunk,
        *_several("vgg11-branch", 3, "vgg11", 30, origin=trunk.name, first=51, floor=82.0),
        *_several("resnet20-same", 4, "resnet20", 30, floor=88.0),
        *_shared("vgg11-fold", 5, "vgg11", 60, "fold"),
        *_shared("vgg11-halves-b", 2, "vgg11", 60, "halves", 1),
        *_shared("vgg11-halves-c", 2, "vgg11", 60, "halves", 2),
        *_several("vgg11-eighth-same", 2, "vgg11-eighth", 60),
        *_shared("vgg11-plain-dirichlet-b", 4, "vgg11-plain", 60, "dirichlet", 1),
        *(Member(f"smallcnn-same-{k}", "smallcnn", 30, k, floor=90.0) for k in range(4, 20)),
        *_several("smallcnn-wrong", 4, "smallcnn", 30, wrong=0.3),
        *_several("vgg11-full-same", 2, "vgg11-full", 100, floor=91.0, gpu=True),
        *_several("resnet20-wide-same", 2, "resnet20-wide", 100, floor=94.0, gpu=True),
    ]


ROSTER: dict[str, Member] = {member.name: member for member in _roster()}
TINY = Member("digits-tiny", "digits", 6)  # for tests: trained in seconds, not part of the list
