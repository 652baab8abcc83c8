"""Groups of small networks of which it is known what a merge should do: `small_groups()`.

    python benchmarks/default/groups.py            train what is missing, print every member

| kind      | what the members are                     | the right answer                         |
|-----------|------------------------------------------|------------------------------------------|
| same      | same data, other seeds                   | a member; the ensemble is little above   |
| parts     | other images of the same classes         | as "same", with a better ensemble        |
| different | other shares of the classes              | a fold or a pool, far above every member |
| origin    | branches of one network                  | the plain average                        |
| bad       | good ones of kind "same" and one bad one | a good member                            |
| broken    | two good ones and one with a NaN         | an error or a note that names it         |

Every group is there three times (`repeat` 0, 1, 2), with other seeds of everything that is drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn

from benchmarks.common.data import Part
from benchmarks.default.data import Draw, draw, small_data
from benchmarks.default.members import Member, Seen
from benchmarks.members.training import accuracy

KINDS = ("same", "parts", "different", "origin", "bad", "broken")
REPEATS = 3


@dataclass(frozen=True)
class SmallGroup:
    """Members that belong together.

    name: of the group, with the repeat behind a slash. kind: a row of this module's table. members:
    their recipes, in order.
    """

    name: str
    kind: str
    members: tuple[Member, ...]

    @property
    def data(self) -> str:
        """The name of the data in `small_data`."""
        return self.members[0].data

    def models(self) -> list[nn.Module]:
        """The members in evaluation mode; those that are missing are trained first."""
        return [member.model() for member in self.members]

    def draw(self, number: int) -> Draw:
        """Unlabelled and labelled images that no member has seen; `number` 0, 1, 2 ..."""
        return draw(self.data, number)

    def test(self) -> Part:
        """The test images: for figures that are published, never for a choice."""
        return small_data(self.data).test


def small_groups(*, repeats: int = REPEATS, kinds: Sequence[str] = KINDS) -> dict[str, SmallGroup]:
    """Every group by its name, repeat by repeat, without training anything."""
    groups = [group for repeat in range(repeats) for group in _groups(repeat)]
    return {group.name: group for group in groups if group.kind in kinds}


def _groups(repeat: int) -> list[SmallGroup]:
    first = 100 * repeat  # the seed of the first member; draws of data have the number `repeat`

    def several(count: int, like: Member, share: Seen | None = None) -> tuple[Member, ...]:
        """Members that differ in their seeds and, with a share, in their part of it."""
        found = []
        for k in range(count):
            seen = like.seen
            if share is not None:
                seen = replace(share, part=k, of=count, draw=repeat)
            found.append(replace(like, seed=first + k, seen=seen))
        return tuple(found)

    digits_cnn = Member("digits", "digits", 0, epochs=25)
    digits_mlp = Member("mlp", "digits", 0, epochs=60)
    rows = Member("transformer", "digits", 0, epochs=40)
    easy_cnn = Member("smallcnn", "easy", 0, epochs=6)
    easy_mlp = Member("mlp", "easy", 0, epochs=12)
    mlp = Member("mlp", "fashion", 0, epochs=8)
    cnn = Member("smallcnn", "fashion", 0, epochs=6)

    halves, disjoint, dirichlet = Seen("halves"), Seen("disjoint"), Seen("dirichlet")
    parts, folds, few = Seen("parts"), Seen("fold"), Seen("few")
    third = replace(parts, last=3000)

    trunk = replace(easy_cnn, seed=first + 50, epochs=2)
    branch = replace(easy_cnn, origin=trunk, lr=1e-3, epochs=4)
    base = replace(mlp, seed=first + 51, seen=Seen(last=4000))
    tuned = replace(mlp, origin=base, lr=5e-4, epochs=4)
    parted = replace(disjoint, first=4000, last=12000)
    soup = several(5, replace(tuned, seen=Seen(first=4000, last=12000)))
    rates = zip(soup, (1e-4, 3e-4, 5e-4, 1e-3, 2e-3), strict=True)
    soup = tuple(replace(m, lr=lr, weight_decay=0.1 * (m.seed % 2)) for m, lr in rates)
    noisy = several(
        4, replace(tuned, lr=2e-3, epochs=15, wrong=0.2), replace(parts, first=4000, last=8000)
    )

    good = several(3, easy_mlp)
    fourth = replace(easy_mlp, seed=first + 60)
    return [
        SmallGroup(f"{name}/{repeat}", kind, members)
        for name, kind, members in (
            ("digits-cnn", "same", several(4, digits_cnn)),
            ("digits-mlp", "same", several(5, digits_mlp)),
            ("digits-transformer", "same", several(3, rows)),
            ("easy-cnn", "same", several(3, easy_cnn)),
            ("easy-mlp", "same", several(4, easy_mlp)),
            ("fashion-mlp", "same", several(3, mlp)),
            ("fashion-cnn", "same", several(2, cnn)),
            ("folds-mlp", "same", several(5, easy_mlp, folds)),
            ("folds-digits-cnn", "same", several(5, digits_cnn, replace(folds, last=697))),
            ("thirds-mlp", "parts", several(3, mlp, third)),
            ("thirds-digits-cnn", "parts", several(3, digits_cnn, replace(parts, last=697))),
            ("halves-cnn", "different", several(2, cnn, halves)),
            ("halves-mlp", "different", several(2, mlp, halves)),
            ("halves-digits-cnn", "different", several(2, digits_cnn, replace(halves, last=697))),
            ("halves-transformer", "different", several(2, rows, replace(halves, last=697))),
            ("disjoint-mlp", "different", several(2, mlp, disjoint)),
            (
                "disjoint-digits-mlp",
                "different",
                several(2, digits_mlp, replace(disjoint, last=697)),
            ),
            ("dirichlet-2-cnn", "different", several(2, cnn, dirichlet)),
            ("dirichlet-4-mlp", "different", several(4, mlp, dirichlet)),
            ("few-mlp", "different", several(3, mlp, few)),
            ("few-easy-cnn", "different", several(2, easy_cnn, few)),
            ("branches-cnn", "origin", several(3, branch)),
            ("tuned-parts-mlp", "origin", several(2, tuned, parted)),
            ("soup-mlp", "origin", soup),
            ("soup-noisy-mlp", "origin", noisy),
            ("bad-brief", "bad", (*good, replace(fourth, epochs=1, lr=1e-4))),
            ("bad-labels", "bad", (*good, replace(fourth, wrong=0.7))),
            ("bad-flipped", "bad", (*good, replace(fourth, spoilt="flipped"))),
            ("bad-noise", "bad", (*good, replace(fourth, spoilt="noise"))),
            ("broken", "broken", (*good[:2], replace(fourth, spoilt="nan"))),
        )
    ]


def main() -> None:
    torch.set_num_threads(1)
    for name, group in small_groups().items():
        found = [accuracy(model, group.test()) for model in group.models()]
        print(f"{name:<24}{group.kind:<11}", *(f"{value:6.2f}" for value in found), flush=True)


if __name__ == "__main__":
    main()
