"""The groups of the benchmark of polish: committed members, and pairs that are trained here.

    python benchmarks/polish/members.py --members members/

trains what is missing: six VGG11/4 epochs or ten on half of the images, twelve of a small network.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.common.data import load_data
from benchmarks.common.groups import Group
from benchmarks.common.networks import NETWORKS
from benchmarks.common.storage import store
from benchmarks.members.roster import Member
from benchmarks.members.shares import Share
from benchmarks.members.training import Training

SAME, HALVES = "same images", "halves of the classes 80/20"
DRAW = 7  # of the shares, and of the seeds, which are 100 times that


def brief(network: str, kind: str, epochs: int) -> list[Member]:
    """A pair that is trained for so many epochs."""
    shares = {"same": Share(), "halves": None}
    return [
        Member(
            f"brief-{network}-{kind}-{k}",
            network,
            epochs,
            100 * DRAW + k,
            shares[kind] or Share(kind, k, 2, DRAW),
        )
        for k in range(2)
    ]


BRIEF = {
    "small, halves": brief("smallcnn", "halves", 12),
    "vgg11, halves": brief("vgg11", "halves", 10),
    "vgg11, same": brief("vgg11", "same", 6),
}


def polish_groups(folder: Path) -> dict[str, Group]:
    """The groups by name; those of brief members from `folder`."""
    own = {
        name: Group(name, pair[0].network, tuple(m.name for m in pair), "", files=folder)
        for name, pair in BRIEF.items()
    }
    four = tuple(f"smallcnn-same-{k}" for k in range(4))
    halves = ("resnet20-halves-0", "resnet20-halves-1")
    return {
        "small, same": Group("small, same", "smallcnn", four, SAME),
        **own,
        "resnet20, halves": Group("resnet20, halves", "resnet20", halves, HALVES),
    }


def train(member: Member, folder: Path) -> None:
    """Train a brief member, unless it is there."""
    path = folder / f"{member.name}.safetensors"
    if path.exists():
        return
    torch.manual_seed(member.seed)
    model = NETWORKS[member.network].build()
    data = load_data(NETWORKS[member.network].data)
    training = Training(member, model, data, folder / f"{member.name}.pt")
    training.run()
    store(model.state_dict(), path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=Path, default=Path("members"))
    folder = parser.parse_args().members
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for pair in BRIEF.values():
        for member in pair:
            train(member, folder)


if __name__ == "__main__":
    main()
