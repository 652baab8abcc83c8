"""The rule: an origin, different classes, odd members, the same knowledge, no classes."""

from __future__ import annotations

import copy

import pytest
import torch
from spoilt_networks import near
from torch import Tensor, nn

from onefold.batchnorm import reestimate
from onefold.comparison import Evidence, Relation, gather
from onefold.comparison.knowledge import knowledge_of
from onefold.comparison.origin import NEAR, Origin, average_network, likeness
from onefold.comparison.predictions import Predictions
from onefold.comparison.rule import label_shares
from onefold.ensemble.told_apart import APART, SYSTEMATIC
from onefold.errors import DataError
from onefold.inference import ANY

FAR = Origin(0.01)


def evidence(*answers: Tensor, origin: Origin = FAR, classes: int = 10) -> Evidence:
    """What is told of networks that give these answers (n,), all quite sure."""
    rows = tuple(20.0 * nn.functional.one_hot(a, classes).float() for a in answers)
    seen = knowledge_of(Predictions(rows, True, len(answers[0])), len(answers))
    return Evidence(len(answers), origin, seen)


TRUE = torch.arange(1000) % 10


def wrong(share: float, seed: int, towards: int | None = None) -> Tensor:
    """Right answers but for a share of them, which go to any class, or to one."""
    drawn = torch.Generator().manual_seed(seed)
    answers, count = TRUE.clone(), int(share * len(TRUE))
    moved = torch.randperm(len(TRUE), generator=drawn)[:count]
    random = torch.randint(0, 10, (count,), generator=drawn)
    answers[moved] = random if towards is None else towards
    return answers


def test_errors_that_cancel_are_no_other_knowledge() -> None:
    found = evidence(wrong(0.3, 0), wrong(0.3, 1), wrong(0.3, 2))
    assert found.relation is Relation.SAME
    assert found.odd == ()
    assert "know the same classes" in found.sentence
    assert "does not pay" in found.sentence


def test_errors_that_shift_the_classes_are_other_knowledge() -> None:
    found = evidence(wrong(0.3, 0, towards=0), wrong(0.3, 1, towards=5))
    assert found.relation is Relation.DIFFERENT
    assert "fold them with least squares towards the class pool" in found.sentence


def test_a_small_shift_is_none() -> None:
    shift = APART / 2
    found = evidence(wrong(shift, 0, towards=0), wrong(shift, 1, towards=5))
    assert 0 < (found.knowledge.apart or 0) < APART
    assert found.relation is Relation.SAME


def test_a_shift_beside_many_errors_that_cancel_is_none() -> None:
    # The shares differ by more than APART, but that is little of the disagreement.
    first = torch.where(wrong(0.16, 0, towards=0) == TRUE, wrong(0.6, 1), 0)
    second = torch.where(wrong(0.16, 2, towards=5) == TRUE, wrong(0.6, 3), 5)
    found = evidence(first, second)
    seen = found.knowledge
    assert seen.agreement is not None
    assert seen.apart is not None
    assert APART < seen.apart < SYSTEMATIC * (1 - float(seen.agreement[0, 1]))
    assert found.relation is Relation.SAME


def test_one_against_a_majority_is_odd() -> None:
    noise = torch.full_like(TRUE, 3)
    found = evidence(wrong(0.1, 0), noise, wrong(0.1, 1), wrong(0.1, 2))
    assert found.relation is Relation.SAME
    assert found.odd == (1,)
    assert found.different
    assert "member 1 may know other classes or nothing" in found.sentence
    # Of two there is no majority, nor of two against two.
    assert evidence(wrong(0.1, 0), noise).odd == ()
    pair = evidence(wrong(0.1, 0), noise, wrong(0.1, 1), torch.full_like(TRUE, 3))
    assert pair.odd == ()
    assert pair.relation is Relation.DIFFERENT


def test_an_origin_goes_first() -> None:
    shared = Origin(0.9, 0.1, 0.2)
    shifted = (wrong(0.3, 0, towards=0), wrong(0.3, 1, towards=5))
    assert evidence(*shifted, origin=shared).relation is Relation.ORIGIN
    assert "average them without alignment" in evidence(*shifted, origin=shared).sentence
    apart = Origin(0.9, 0.3, 0.2)  # alike in weights, but the average has come apart
    assert evidence(*shifted, origin=apart).relation is Relation.DIFFERENT


class Net(nn.Module):
    """Two layers with a batch norm, or a regressor."""

    def __init__(self, seed: int, outputs: int = 4) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm = nn.Linear(6, 32), nn.BatchNorm1d(32)
        self.last = nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.norm(self.first(x)).relu())
        return out


torch.manual_seed(5)
DATA = [torch.randn(32, 6) for _ in range(8)]


def test_networks_drawn_apart_share_no_origin() -> None:
    found = gather([Net(0), Net(1), Net(2)], DATA, ANY)
    assert abs(found.origin.likeness) < NEAR
    assert found.origin.average_off is None
    assert not found.origin.shared


def test_neighbours_of_one_network_share_an_origin() -> None:
    base = Net(0)
    reestimate(base, DATA)
    models = [near(base, seed, 0.3) for seed in range(3)]
    found = gather(models, DATA, ANY)
    assert found.relation is Relation.ORIGIN
    assert found.origin.average_off is not None
    assert found.origin.members_off is not None
    assert found.origin.average_off < found.origin.members_off


def test_networks_that_are_alike_but_came_apart_share_none() -> None:
    """Half of the units are renumbered: weights stay alike, the average is no such network."""
    base = Net(0)
    twin = copy.deepcopy(base)
    order = torch.cat([torch.arange(16).roll(1), torch.arange(16, 32)])
    with torch.no_grad():
        for tensor in (base.first.weight, base.last.weight):
            tensor *= 8
        twin.first.weight.copy_(base.first.weight[order])
        twin.first.bias.copy_(base.first.bias[order])
        twin.last.weight.copy_(base.last.weight[:, order])
    found = gather([base, twin], DATA, ANY)
    assert found.origin.likeness > NEAR
    assert found.origin.average_off is not None
    assert not found.origin.shared
    assert found.knowledge.apart == pytest.approx(0, abs=1e-6)


def test_the_average_is_that_of_all_and_members_stay() -> None:
    models = [Net(0), Net(1)]
    before = [copy.deepcopy(m.state_dict()) for m in models]
    mean = average_network(models, DATA)
    assert isinstance(mean, Net)
    torch.testing.assert_close(
        mean.first.weight, (models[0].first.weight + models[1].first.weight) / 2
    )
    wanted = torch.cat(DATA) @ mean.first.weight.T + mean.first.bias
    torch.testing.assert_close(mean.norm.running_mean, wanted.mean(0).detach(), atol=1e-5, rtol=0)
    for model, state in zip(models, before, strict=True):
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, state[name])


def test_likeness_is_the_least_to_the_first() -> None:
    base = Net(0)
    flipped = copy.deepcopy(base)
    with torch.no_grad():
        flipped.first.weight.neg_()
        flipped.last.weight.neg_()
    assert likeness([base, base]) == pytest.approx(1.0)
    assert likeness([base, base, flipped]) == pytest.approx(-1.0)


def test_regressors_are_untold() -> None:
    found = gather([Net(0, 1), Net(1, 1)], DATA, ANY)
    assert found.relation is Relation.UNTOLD
    assert found.pool is None
    assert "no scores of classes" in found.sentence
    labelled = [(x, torch.randn(len(x), 3)) for x in DATA]  # one label for every output
    assert gather([Net(0, 3), Net(1, 3)], labelled, ANY).relation is Relation.UNTOLD


def test_outputs_that_are_not_finite_are_refused() -> None:
    broken = Net(1)
    with torch.no_grad():
        broken.last.bias[0] = torch.inf
    with pytest.raises(DataError, match="Member 1 puts out something that is not finite"):
        gather([Net(0), broken], DATA, ANY)


def labels(*counts: int) -> list[tuple[Tensor, Tensor]]:
    """So many labels of each class, and one that is no class."""
    of_all = torch.tensor([k for k, count in enumerate(counts) for _ in range(count)] + [-100])
    return [(torch.zeros(len(of_all), 6), of_all)]


def test_shares_of_labels_count_every_class_once_more() -> None:
    assert label_shares(labels(40, 20, 0), 3).tolist() == pytest.approx([41 / 63, 21 / 63, 1 / 63])


def test_shares_that_chance_explains_are_even() -> None:
    # chi-square of 24, 20, 16 is 1.6; of 32, 20, 8 it is 14.4, above 2 + 3 * 2
    assert label_shares(labels(24, 20, 16), 3).tolist() == pytest.approx([1 / 3] * 3)
    assert label_shares(labels(32, 20, 8), 3).tolist() == pytest.approx([33 / 63, 21 / 63, 9 / 63])


def test_labels_that_are_no_numbers_of_classes_say_nothing() -> None:
    soft = [(torch.zeros(2, 6), torch.zeros(2, 3))]
    assert label_shares(soft, 3).tolist() == pytest.approx([1 / 3] * 3)
