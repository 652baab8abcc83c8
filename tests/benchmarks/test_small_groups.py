"""The groups of small networks: what members saw, and that a member is the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.default.data import draw, small_data
from benchmarks.default.features import of_predictions, of_weights, probabilities
from benchmarks.default.groups import KINDS, small_groups
from benchmarks.default.members import Member, Seen
from benchmarks.default.trained import trained_groups


def labels(count: int = 4000) -> torch.Tensor:
    return torch.randint(10, (count,), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["disjoint", "parts"])
def test_parts_take_every_image_of_the_range_once(kind: str) -> None:
    parts = [Seen(kind, k, 3, draw=1, first=100, last=2000).indices(labels()) for k in range(3)]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(100, 2000))


def test_disjoint_members_share_no_class() -> None:
    y = labels()
    low, high = (y[Seen("disjoint", k, 2).indices(y)] for k in range(2))
    assert low.unique().tolist() == [0, 1, 2, 3, 4]
    assert high.unique().tolist() == [5, 6, 7, 8, 9]


def test_a_member_saw_few_images_of_three_classes() -> None:
    y = labels()
    seen = y[Seen("few", 1, 3).indices(y)].bincount()
    whole = y.bincount()
    assert (seen[3:6] < 0.15 * whole[3:6]).all()
    assert torch.equal(seen[[0, 1, 2, 6, 7, 8, 9]], whole[[0, 1, 2, 6, 7, 8, 9]])


def test_every_kind_has_groups_and_no_name_is_there_twice() -> None:
    groups = small_groups()
    assert {group.kind for group in groups.values()} == set(KINDS)
    assert all(len({m.file for m in group.members}) > 1 for group in groups.values())
    assert len({name.split("/")[0] for name in groups}) >= 14


def test_draws_differ_and_are_the_same_again() -> None:
    first, again, other = draw("digits", 0), draw("digits", 0), draw("digits", 1)
    assert torch.equal(torch.cat(first.unlabelled), torch.cat(again.unlabelled))
    assert not torch.equal(torch.cat(first.unlabelled), torch.cat(other.unlabelled))
    assert sum(len(y) for _, y in first.labelled) == 200
    held = small_data("digits")
    assert len(held.seen) + len(held.unlabelled) + len(held.choices) + len(held.test) == 1797


def test_a_member_is_trained_once_and_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Member("mlp", "digits", 3, Seen(last=200), epochs=2)
    member = Member("mlp", "digits", 4, Seen(last=200), epochs=1, origin=base)
    states = []
    for folder in ("a", "b"):
        monkeypatch.setenv("ONEFOLD_DEFAULT_STATE", str(tmp_path / folder))
        states.append(member.model().state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))
    kept = member.file.read_bytes()
    member.model()
    assert member.file.read_bytes() == kept


@pytest.mark.parametrize("kind", ["noise", "flipped", "nan"])
def test_a_spoilt_member_answers_no_more(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEFOLD_DEFAULT_STATE", str(tmp_path))
    good = Member("mlp", "digits", 0, Seen(last=697), epochs=15)
    test = small_data("digits").test

    def hits(member: Member) -> float:
        with torch.no_grad():
            logits = member.model()(test.images)
        return float(((logits.argmax(1) == test.labels) & logits.isfinite().all(1)).float().mean())

    spoilt = Member("mlp", "digits", 0, Seen(last=697), epochs=15, spoilt=kind)
    assert hits(good) > 0.85
    assert hits(spoilt) < 0.6


def test_features_of_the_same_and_of_opposite_predictions() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(400, 10, generator=generator).softmax(1)
    same = of_predictions(torch.stack([one, one]))
    assert same["variation"] == same["hard"] == same["chance"] == 0
    assert same["agree least"] == same["follow"] == 1
    apart = torch.zeros(2, 400, 10)
    apart[0, :, 0], apart[1, :, 1] = 1.0, 1.0
    opposite = of_predictions(apart)
    assert opposite["variation"] == opposite["hard"] == opposite["alone"] == 1
    assert opposite["agree mean"] == 0


def test_the_chance_variation_is_that_of_members_with_one_mean() -> None:
    generator = torch.Generator().manual_seed(1)
    found = [
        of_predictions(torch.randn(2, 500, 6, generator=generator).softmax(2)) for _ in range(40)
    ]
    mean, chance = (sum(row[name] for row in found) / 40 for name in ("variation", "chance"))
    assert abs(mean / chance - 1) < 0.15


def test_the_middle_of_a_member_and_itself_loses_nothing() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    images = [torch.randn(50, 5)]
    p = probabilities(model, images)
    found = of_weights([model, model], images, torch.stack([p, p]))
    assert found == {"distance": 0.0, "line": 1.0, "mean": 1.0}
    other = torch.nn.Linear(5, 3)
    with torch.no_grad():
        other.weight.copy_(-model.weight)
    p = torch.stack([p, probabilities(other, images)])
    assert of_weights([model, other], images, p)["distance"] == pytest.approx(2.0)


def test_the_groups_of_stored_members_have_kinds_and_data() -> None:
    groups = trained_groups(trained=False)
    kinds = {name.split("/")[0]: group.kind for name, group in groups.items()}
    assert kinds["same-data"] == kinds["cross-validation"] == "same"
    assert kinds["halves"] == kinds["dirichlet-plain-4"] == "different"
    assert (kinds["branches"], kinds["bad"]) == ("origin", "bad")
    assert groups["many/0"].data == "fashion"
    assert groups["halves-resnet20/0"].data == "cifar10"
    assert not {*groups} & {*small_groups()}
