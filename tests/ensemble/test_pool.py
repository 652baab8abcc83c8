"""Pools of classifiers that saw the classes in different shares: Bayes' rule, and estimates."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_networks import Plain, loader, members
from torch import Tensor, nn

import onefold
from onefold.ensemble.pool import FLOOR, mean_pool
from onefold.errors import DataError, SettingError
from onefold.fold import LeastSquares, merge

CENTRES = torch.tensor([[2.0, 0.0], [-1.0, 1.5], [0.0, -2.0], [1.0, 1.0]], dtype=torch.float64)
SEEN = torch.tensor([[0.6, 0.3, 0.05, 0.05], [0.1, 0.1, 0.3, 0.5]], dtype=torch.float64)


class Bayes(nn.Module):
    """log p(c | x) of four normal classes that come in the shares s, up to what does not depend on
    c.
    """

    def __init__(self, seen: Tensor) -> None:
        super().__init__()
        self.prior = nn.Parameter(seen.log())

    def forward(self, x: Tensor) -> Tensor:
        return self.prior - (x[:, None] - CENTRES).square().sum(-1) / 2


def points(shares: Tensor, n: int = 20_000, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.multinomial(shares, n, replacement=True, generator=generator)
    return CENTRES[y] + torch.randn(n, 2, generator=generator, dtype=torch.float64), y


EVEN = torch.full((4,), 0.25, dtype=torch.float64)
BAYES = [Bayes(seen) for seen in SEEN]


@pytest.mark.slow
def test_what_members_saw_is_read_off_their_predictions() -> None:
    for shares in (EVEN, torch.tensor([0.4, 0.1, 0.2, 0.3], dtype=torch.float64)):
        x, _ = points(shares)
        pool = onefold.class_pool(BAYES, list(x.split(1000)), shares=shares)
        torch.testing.assert_close(pool.seen, SEEN, atol=0.02, rtol=0.05)
        assert pool.estimated
        for k, member in enumerate(BAYES):  # what defines it
            torch.testing.assert_close(
                (member(x) + pool.shifts[k]).softmax(-1).mean(0), shares, atol=1e-4, rtol=0
            )
    wrong = onefold.class_pool(
        BAYES, list(x.split(1000))
    )  # the control: data that are not even, taken to be even
    assert (wrong.seen - SEEN).abs().max() > 0.05


@given(st.integers(0, 1000))
def test_shifted_members_answer_as_if_they_had_seen_the_shares(seed: int) -> None:
    """With exact densities every member is the Bayes classifier of the data's shares, and so is the
    pool.
    """
    generator = torch.Generator().manual_seed(seed)
    counts = torch.rand(3, 4, generator=generator, dtype=torch.float64) * 1000 + 100
    shares = torch.rand(4, generator=generator, dtype=torch.float64) + 0.1
    networks = [Bayes(own / own.sum()) for own in counts]
    pool = onefold.class_pool(networks, counts=counts, shares=shares)
    x, _ = points(shares, 50, seed)
    wanted = Bayes(shares / shares.sum())(x).softmax(-1)
    answers = [network(x) for network in networks]
    torch.testing.assert_close(pool.combined(answers).softmax(-1), wanted)
    torch.testing.assert_close((answers[1] + pool.shifts[1]).softmax(-1), wanted)
    torch.testing.assert_close(pool.parts, counts / counts.sum(0))
    assert (mean_pool([1, 1, 1]).combined(answers).softmax(-1) - wanted).abs().max() > 1e-3


@given(st.permutations([0, 1, 2]))
def test_the_order_of_members_does_not_matter(order: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    answers = [torch.randn(30, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    counts = torch.rand(3, 4, generator=generator, dtype=torch.float64)
    one = onefold.class_pool([nn.Identity()] * 3, counts=counts).led_by([1, 2, 3]).combined(answers)
    other = (
        onefold.class_pool([nn.Identity()] * 3, counts=counts[order])
        .led_by([k + 1 for k in order])
        .combined([answers[k] for k in order])
    )
    torch.testing.assert_close(one, other)


def test_a_class_that_a_member_never_saw_is_left_to_the_others() -> None:
    pool = onefold.class_pool([nn.Identity()] * 2, counts=[[100, 0, 50], [100, 10, 50]])
    assert pool.parts[:, 1].tolist() == [0.0, 1.0]
    assert torch.isfinite(pool.shifts).all()
    assert float(pool.shifts.max()) <= -torch.tensor(FLOOR).log() + 1e-9
    assert pool.led_by([1, 0]).parts.tolist() == [
        [1.0] * 3,
        [0.0] * 3,
    ]  # of the first alone, although it never saw the second class
    z = torch.tensor([[0.0, 5.0, 1.0]], dtype=torch.float64)
    p = pool.combined([z, torch.zeros(1, 3, dtype=torch.float64)])
    assert torch.isfinite(p).all()
    assert float(p[0, 1]) == pytest.approx(
        float(pool.shifts[1].softmax(-1)[1].log())
    )  # the second member's own


def test_a_mean_pool_is_the_mean_of_probabilities() -> None:
    x, y = points(EVEN, 500)
    data = [(x, y)]
    plain, pooled = (
        onefold.evaluate(BAYES, data, ensemble=e) for e in ("probabilities", mean_pool([0.5, 0.5]))
    )
    assert pooled.nll == pytest.approx(plain.nll)
    assert (plain.ensemble, pooled.ensemble) == ("probabilities", "classes")


def test_scores_of_a_pool_and_of_one_member_alone() -> None:
    x, y = points(EVEN)
    data, images = [(x, y)], list(x.split(1000))
    exact = onefold.evaluate(Bayes(EVEN), data)
    assert onefold.evaluate(
        BAYES, data, ensemble=onefold.class_pool(BAYES, images)
    ).nll == pytest.approx(exact.nll, abs=1e-3)
    alone = onefold.evaluate(BAYES[:1], data, ensemble=onefold.class_pool(BAYES[:1], images))
    assert alone.nll == pytest.approx(exact.nll, abs=1e-3)
    assert onefold.evaluate(BAYES[0], data).nll > exact.nll + 0.1  # the control
    assert onefold.evaluate(BAYES, data).nll > exact.nll + 0.02


def test_what_cannot_be_pooled_is_refused() -> None:
    x = [torch.randn(8, 2, dtype=torch.float64)]
    pair = [nn.Identity()] * 2
    for counts, message in (
        ([[1, 2]], "one row for each of 2 members"),
        ([[1, 2], [3]], "no table"),
        ([[1, -2], [3, 4]], "negative"),
        ([[1, float("nan")], [3, 4]], "not finite"),
        ([[0, 0], [3, 4]], "Member 0 saw nothing"),
        ([[1, 0], [3, 0]], "No member saw class 1"),
    ):
        with pytest.raises(SettingError, match=message):
            onefold.class_pool(pair, counts=counts)
    for shares in ([0.5, 0.5, 0.0], [1.0, 2.0], [1.0, float("inf"), 1.0], ["a", "b", "c"]):
        with pytest.raises(SettingError, match="shares"):
            onefold.class_pool(pair, counts=[[1, 2, 3], [4, 5, 6]], shares=shares)
    with pytest.raises(SettingError, match="unlabelled `data`, or `counts`"):
        onefold.class_pool(pair)
    with pytest.raises(DataError, match="Member 1 puts out something that is not finite"):
        onefold.class_pool([BAYES[0], Bayes(SEEN[1] * torch.nan)], x)
    with pytest.raises(DataError, match="pooling member 0 needs two classes or more"):
        onefold.class_pool([nn.Linear(2, 1).double()], x)
    pool = onefold.class_pool(BAYES, x)
    with pytest.raises(SettingError, match="of 2 members but there are 1 networks"):
        onefold.evaluate(BAYES[:1], [points(EVEN, 8)], ensemble=pool)
    with pytest.raises(SettingError, match="of 4 classes but the members put out 3"):
        pool.combined([torch.zeros(1, 3)] * 2)
    with pytest.raises(SettingError, match="did you mean 'classes'"):
        merge(members(Plain, 2), loader(), fold="least_squares", ensemble="clases")
    with pytest.raises(SettingError, match="did you mean 'classes'"):
        LeastSquares(ensemble="clases")  # type: ignore[arg-type]
