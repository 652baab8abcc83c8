"""How sure estimated shares of classes are: the chance of the examples, and the confidence of
members that know little.
"""

from __future__ import annotations

import json
import math

import pytest
import torch
from small_networks import Plain, loader, members
from torch import Tensor, nn

import onefold
from onefold.ensemble.class_shares import matching_shifts
from onefold.ensemble.pool import DOUBT, ClassPool
from onefold.ensemble.share_errors import corrected_shares, sampling_errors
from onefold.fold import merge
from onefold.result_reports.merges import add_shares, pooled_candidates

CENTRES = torch.tensor([[2.0, 0.0], [-1.0, 1.5], [0.0, -2.0], [1.0, 1.0]], dtype=torch.float64)
EVEN = torch.full((4,), 0.25, dtype=torch.float64)
FIRST, SECOND = (
    torch.tensor(own, dtype=torch.float64) for own in ([0.56, 0.2, 0.14, 0.1], [0.1, 0.2, 0.3, 0.4])
)


class Member(nn.Module):
    """log p(c | x) of four normal classes that come in the shares `seen`; scaled, and drowned in
    noise of its own.
    """

    def __init__(
        self, seen: Tensor, clear: float = 1.0, noise: float = 0.0, sure: float = 1.0, seed: int = 0
    ) -> None:
        super().__init__()
        self.prior = nn.Parameter(seen.log())
        self.clear, self.noise, self.sure, self.seed = clear, noise, sure, seed

    def forward(self, x: Tensor) -> Tensor:
        drawn = torch.randn(
            len(x), 4, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64
        )
        return self.sure * (
            self.prior
            - self.clear * (x[:, None] - CENTRES).square().sum(-1) / 2
            + self.noise * drawn
        )


def points(n: int = 1500, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    return [CENTRES[labels] + torch.randn(n, 2, generator=generator, dtype=torch.float64)]


def test_errors_are_those_of_a_bootstrap_and_fall_with_the_examples() -> None:
    for shares in (EVEN, torch.tensor([0.4, 0.1, 0.2, 0.3], dtype=torch.float64)):
        logits = Member(FIRST)(points()[0]).detach()
        shifts = matching_shifts(logits, shares)
        seen = (shares.log() - shifts).softmax(-1)
        errors = sampling_errors(logits, shifts, shares, seen)
        generator = torch.Generator().manual_seed(1)
        drawn = []
        for _ in range(60):
            own = logits[torch.randint(len(logits), (len(logits),), generator=generator)]
            drawn.append((shares.log() - matching_shifts(own, shares)).softmax(-1))
        torch.testing.assert_close(errors, torch.stack(drawn).std(0), rtol=0.3, atol=2e-4)
    few = onefold.class_pool([Member(FIRST)], points(200))
    many = onefold.class_pool([Member(FIRST)], points(3200))
    assert few.errors is not None
    assert many.errors is not None
    assert float((few.errors / many.errors).mean()) == pytest.approx(4, rel=0.3)
    assert (few.examples, many.examples) == (200, 3200)


@pytest.mark.parametrize("seed", range(3))
def test_members_that_know_their_classes_raise_no_doubt(seed: int) -> None:
    pool = onefold.class_pool([Member(FIRST), Member(SECOND)], points(seed=seed))
    assert pool.doubts == []
    assert pool.errors is not None
    off = (pool.seen - torch.stack([FIRST, SECOND])).abs()
    assert float((off / pool.errors).max()) < 4  # the errors cover what is off


def test_specialists_raise_no_doubt() -> None:
    halves = [
        torch.tensor([0.49, 0.49, 0.01, 0.01], dtype=torch.float64),
        torch.tensor([0.01, 0.01, 0.49, 0.49], dtype=torch.float64),
    ]
    assert onefold.class_pool([Member(own) for own in halves], points()).doubts == []


@pytest.mark.parametrize(("sure", "noise"), [(4.0, 0.5), (8.0, 1.0)])
@pytest.mark.parametrize(
    "peer", [Member(SECOND), Member(SECOND, 0.2, 1.0, 6.0, seed=2)], ids=["sound peer", "weak peer"]
)
def test_a_weak_member_that_is_sure_of_itself_is_not_believed(
    sure: float, noise: float, peer: nn.Module
) -> None:
    """Near chance, and trained to 56 % on class 0; its predictions say nearly everything."""
    weak = Member(FIRST, clear=0.2, noise=noise, sure=sure, seed=1)
    pool = onefold.class_pool([weak, peer], points())
    assert float(pool.seen[0, 0]) > 0.85
    assert pool.errors is not None
    assert float(pool.errors[0, 0]) < 0.05  # the draw of examples alone would not show it
    assert pool.doubts[0].startswith(
        "what member 0 saw of the classes cannot be told from its predictions"
    )
    assert f"{float(pool.seen[0, 0]):.2f} of class 0" in pool.doubts[0]
    assert pool.corrected is not None
    assert abs(float(pool.corrected[0, 0]) - 0.56) < abs(float(pool.seen[0, 0]) - 0.56)
    assert pool.doubts[0] in str(pool)


def test_a_member_of_nearly_no_examples_is_not_believed_either() -> None:
    pool = onefold.class_pool([Member(FIRST), Member(SECOND)], points(8))
    assert any(
        "from 8 examples" in doubt or "from its predictions" in doubt for doubt in pool.doubts
    )
    assert pool.errors is not None
    assert float(pool.errors.max()) > DOUBT


def test_one_member_alone_says_that_nothing_checks_it() -> None:
    pool = onefold.class_pool([Member(FIRST)], points())
    assert pool.doubts == []
    assert "no other member to check the confidence" in str(pool)
    assert pool.corrected is not None
    assert bool(pool.corrected.isnan().all())


def test_answers_that_no_shift_evens_out_are_known_to_tell_nothing() -> None:
    class Stuck(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([1e6, 0.0, 0.0, 0.0], dtype=torch.float64).expand(len(x), 4)

    pool = onefold.class_pool([Stuck(), Member(SECOND)], points())
    assert pool.errors is not None
    assert float(pool.errors[0].min()) == 1.0
    assert any("member 0" in doubt for doubt in pool.doubts)


def test_facts_survive_json_and_change_no_answer() -> None:
    pool = onefold.class_pool([Member(FIRST), Member(SECOND)], points(100))
    again = ClassPool.from_dict(json.loads(json.dumps(pool.to_dict(), allow_nan=False)))
    assert again.doubts == pool.doubts
    assert str(again) == str(pool)
    single = ClassPool.from_dict(json.loads(json.dumps(pool.only(1).to_dict(), allow_nan=False)))
    assert str(single) == str(pool.only(1))
    old = {name: pool.to_dict()[name] for name in ("seen", "shares", "weights", "estimated")}
    rows = [member(points(100)[0]) for member in (Member(FIRST), Member(SECOND))]
    torch.testing.assert_close(ClassPool.from_dict(old).combined(rows), pool.combined(rows))
    counted = onefold.class_pool([Member(FIRST)] * 2, counts=[[1, 2, 3, 4], [4, 3, 2, 1]])
    assert counted.doubts == []
    assert "by counts" in str(counted)
    assert "±" not in str(counted)


def test_errors_of_very_many_classes_are_left_out() -> None:
    logits = torch.zeros(3, 2001, dtype=torch.float64)
    even = torch.full((2001,), 1 / 2001, dtype=torch.float64)
    assert bool(
        sampling_errors(logits, torch.zeros(2001, dtype=torch.float64), even, even).isnan().all()
    )


def test_temperatures_are_compared_on_a_part_of_large_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.ensemble.share_errors.VALUES", 4 * 300)
    rows = [member(points()[0]).detach() for member in (Member(FIRST), Member(SECOND))]
    seen: list[int] = []

    def shifts(logits: Tensor, shares: Tensor) -> Tensor:
        seen.append(len(logits))
        return matching_shifts(logits, shares)

    found = corrected_shares(rows, EVEN, shifts)
    assert set(seen) == {300}
    torch.testing.assert_close(found.sum(1), torch.ones(2, dtype=torch.float64))


@pytest.mark.slow
def test_merges_and_reports_carry_the_doubts() -> None:
    networks = members(Plain, 2)
    for network in networks:
        with torch.no_grad():
            network.head.weight.mul_(0.02).add_(
                0.3
                * torch.randn(network.head.weight.shape, generator=torch.Generator().manual_seed(1))
            )
            network.head.bias.copy_(torch.tensor([6.0, 0.0, 0.0, 0.0]))
    data = [x for x, _ in loader(200, batch=50)]
    for settings in (
        {"align": "none", "repair": "none", "polish": 1},
        {"align": "none", "repair": "none", "fold": "least_squares"},
    ):
        report = merge(networks, data, ensemble="classes", **{"fold": "average", **settings}).report
        kept = report.polished.get("classes") or report.folded["classes"]
        assert kept["examples"] == 200
        assert kept["doubts"]
        assert set(kept["doubts"]) <= set(report.warnings)
    pool = ClassPool.from_dict(kept)
    notes = [row.note for row in pooled_candidates(networks, report, loader(40), 0)]
    assert "each member weighed on a class by how much it is estimated to have seen of it" in notes
    section = onefold.report.Report(title="t").section("s")
    add_shares(section, pool)
    table, *texts = section.blocks
    assert "Estimated from predictions on 200 examples, not counted" in table.caption
    assert [column.name for column in table.columns][-1] == "standard error of member 1"
    assert table.rows[0][1:] == pytest.approx(
        (*pool.seen[:, 0].tolist(), *pool.errors[:, 0].tolist())
    )
    assert {f"Note: {doubt}." for doubt in pool.doubts} <= {text.text for text in texts}
    assert math.isclose(sum(row[1] for row in table.rows), 1.0)
