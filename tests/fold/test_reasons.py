"""Reasons that the library gives for its choices are what it chose by."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import SimpleNamespace

import pytest
import torch
from small_networks import Plain, Residual, examples, loader, members
from torch import Tensor, nn

import onefold
from onefold.explore import measure_pairs
from onefold.fold import SoftMerge, fit_gates, merge
from onefold.fold.reasons import reason
from onefold.fold.soft.choice import choose
from onefold.fold.soft.prune_gates import prune_gates
from onefold.fold.soft.screening import Guess, MemberScore, screen
from onefold.measure import Scores, difference, score_logits
from onefold.result_reports.persistent_rounds import alone


class Fixed(nn.Module):
    """Looks its logits up: the input is the number of an example."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, index: Tensor) -> Tensor:
        return self.logits[index]


def answers(accuracy: float, sure: float, n: int = 200, seed: int = 0) -> Scores:
    """Scores of a network that is right on the first examples, with a confidence of its own."""
    labels = torch.arange(n) % 4
    guess = torch.where(torch.arange(n) < accuracy * n, labels, (labels + 1) % 4)
    noise = 0.1 * torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return score_logits(sure * nn.functional.one_hot(guess, 4) + noise, labels)


def told(text: str) -> dict[str, tuple[float, float]]:
    """name -> accuracy and loss, as a printed choice lists them."""
    found = re.findall(r"(gated|aligned average|member \d+) ([\d.]+) %, ([\d.]+) nats", text)
    return {name: (float(a), float(loss)) for name, a, loss in found}


@pytest.mark.slow
@pytest.mark.parametrize("level", ["model", "layer"])
@pytest.mark.parametrize("seed", [0, 1])
def test_gates_choose_by_what_they_say(level: str, seed: int) -> None:
    result = fit_gates(
        SoftMerge(members(Plain, 3), level), loader(256, seed=seed + 40), steps=20, seed=seed
    )
    done, text = result.decision, str(result)
    assert done is not None
    assert result.choice == done.name
    assert text.startswith(f"{result.choice} was chosen on {done.examples} held-out examples")
    listed = told(text)
    assert set(listed) == set(done.candidates)
    for name, (accuracy, loss) in listed.items():
        assert accuracy == pytest.approx(100 * result.scores[name].accuracy, abs=0.006)
        assert loss == pytest.approx(result.held_out_losses[name], abs=6e-5)
    top = max((result.scores[name] for name in done.candidates), key=lambda each: each.accuracy)
    within = [
        name
        for name in done.candidates
        if difference(top, result.scores[name]).gain <= difference(top, result.scores[name]).error
    ]
    assert list(done.close) == within
    lowest = min(listed[name][1] for name in within)
    assert any(listed[name][1] == lowest for name in done.level)
    assert result.choice == done.level[-1]  # of the candidates' order, from many parts to few
    assert set(done.level) <= set(within)
    assert all(name in text for name in within)
    (best,) = [name for name in done.candidates if name.startswith("member")]
    losses = {
        k: float(v)
        for k, v in re.findall(
            r"(member \d+) ([\d.]+)[,) ]", text.partition("labelled examples")[2]
        )
    }
    assert set(losses) == {f"member {k}" for k in result.soft.survivors}
    assert losses[best] == min(losses.values())
    assert done.labelled == 256
    assert result.to_dict()["chosen by"]["reason"] in text


def test_a_tie_in_accuracy_goes_to_the_lower_loss_and_says_so() -> None:
    unsure, more = answers(0.9, 1.0), answers(0.9, 1.5)
    for scores in ({"gated": unsure, "member 0": more}, {"gated": more, "member 0": unsure}):
        done = choose(scores, scores, {"member 0": 0.5}, 300)
        assert done.name == min(scores, key=lambda name: scores[name].nll)
        assert done.close == ("gated", "member 0")
        assert done.level == (done.name,)
        assert (
            "one paired standard error of the highest accuracy (gated, member 0) it has the lowest"
            " loss" in str(done)
        )


def test_a_tie_in_loss_goes_to_the_network_of_fewest_parts_and_says_so() -> None:
    """The gated network has the lowest loss by far less than its paired error."""
    scores = {
        "gated": answers(0.9, 1.5, seed=1),
        "aligned average": answers(0.9, 1.5, seed=2),
        "member 0": answers(0.9, 1.5, seed=3),
    }
    order = sorted(scores.values(), key=lambda each: each.nll)
    scores = dict(zip(scores, order, strict=True))
    done = choose(scores, scores, {"member 0": 0.5}, 300)
    assert scores["gated"].nll < scores["member 0"].nll
    assert difference(scores["member 0"], scores["gated"]).loss_error > 0
    inside = [
        name
        for name in scores
        if difference(scores[name], scores["gated"]).loss
        <= difference(scores[name], scores["gated"]).loss_error
    ]
    assert len(inside) > 1
    assert done.level == tuple(inside)
    assert done.name == inside[-1]
    assert f"within a paired standard error of the lowest ({', '.join(inside)})" in str(done)


def test_noise_is_that_of_paired_answers() -> None:
    """Twelve answers of 200 lost and none gained: within one wide error bar of 50 %, far beyond one
    paired one.
    """
    better, worse = answers(0.5, 2.0), answers(0.44, 1.0)
    assert better.accuracy - worse.accuracy < 2 * better.accuracy_error
    scores = {"gated": better, "aligned average": worse}
    done = choose(scores, scores, {}, 100)
    assert done.close == (done.name,) == ("gated",)
    assert "behind in accuracy by more than one paired standard error" in str(done)


def test_the_member_that_stands_has_the_lowest_loss_on_all_labelled_examples() -> None:
    """Held out, member 1 is ahead; on all examples member 0 is, and both the choice and the
    sentence go by that.
    """
    scores = {
        "gated": answers(0.3, 1.0),
        "member 0": answers(0.9, 3.0),
        "member 1": answers(0.9, 3.0, seed=1),
    }
    done = choose(scores, scores, {"member 0": 0.20, "member 1": 0.40}, 200)
    assert done.name == "member 0"
    losses = {name: scores[name].nll for name in ("member 0", "member 1")}
    whole = {"member 0": (losses["member 0"] + 0.2) / 2, "member 1": (losses["member 1"] + 0.4) / 2}
    assert done.members == pytest.approx(whole)
    assert "member 1 90" not in str(done)  # it did not stand
    assert "only member 0 was a candidate" in str(done)
    listed = ", ".join(f"{name} {loss:.4f}" for name, loss in whole.items())
    assert f"all 400 labelled examples ({listed} nats)" in str(done)


@pytest.mark.slow
def test_the_alignment_that_gates_took_is_the_one_of_the_least_loss_that_is_told() -> None:
    result = fit_gates(SoftMerge(members(Residual, 2), "layer"), loader(256), steps=5)
    note = next(note for note in result.notes if note.startswith("alignment chosen"))
    assert "at its best temperature" in note
    losses = {
        name: float(value)
        for name, value in re.findall(
            r"(none|permutation|cca) ([\d.]+|inf)", note.partition("(")[2]
        )
    }
    chosen = re.search(r"temperature: (\w+) \(", note)
    assert chosen is not None
    assert losses[chosen[1]] == min(losses.values())
    assert result.soft.basis is not None
    alignment = result.soft.basis.alignment
    assert (alignment.method if alignment else "none") == chosen[1]


def test_who_is_screened_out_is_told_by_the_numbers_that_decided() -> None:
    scores = [
        MemberScore(
            True, 1000.0, 0.100, 0.10
        ),  # the lowest loss, at outputs a thousand times too large
        MemberScore(True, 1.0, 0.140, 0.14),
        MemberScore(True, 1.1, 0.900, 0.90),
        MemberScore(True, 1.0, 3.000, 1.37, "is no better than guessing"),
    ]
    reasons = screen(scores, Guess(math.log(4), 1.0, "nats"))
    assert set(reasons) == {0, 3}
    assert (
        "of member 1, of those within 0.05 nats of the lowest loss the one of the smallest outputs"
        in reasons[0]
    )
    assert reasons[3] == "it is no better than guessing"


@pytest.mark.parametrize(
    ("rise", "suspect", "out"),
    [(-0.01, False, True), (0.3, False, False), (0.02, True, True), (0.5, True, False)],
)
def test_a_member_is_gated_out_only_where_that_costs_no_more_than_its_gates(
    rise: float, suspect: bool, out: bool
) -> None:
    gate = SimpleNamespace(alive=torch.ones(1, 2, dtype=torch.bool))
    values = torch.tensor([[0.8, 0.2]])
    generator = torch.Generator().manual_seed(0)
    noise = 0.2 * torch.randn(100, generator=generator)

    class Gate:
        alive = gate.alive

        def __call__(self, _: bool) -> Tensor:
            return values * self.alive

    own = Gate()
    found = prune_gates(
        own,
        lambda: torch.zeros(100) if own.alive.all() else rise + noise - noise.mean(),
        0.01,
        [1] if suspect else [],
    )  # type: ignore[arg-type]
    assert (found == [1]) == out


@pytest.mark.parametrize(
    ("scores", "contains", "lacks"),
    [
        (
            {"a": answers(0.9, 3.0), "b": answers(0.5, 3.0)},
            "each of the others is clearly worse",
            "chance",
        ),
        (
            {"a": answers(0.9, 3.0), "b": answers(0.89, 3.0)},
            "chance may have decided against 1 of them",
            "clearly less",
        ),
        (
            {"a": answers(0.9, 3.0), "b": answers(0.9, 1.0)},
            "as b has, and has no higher loss than they",
            "clearly less",
        ),
        (
            {"a": answers(0.9, 3.0), "b": answers(0.9, 3.0)},
            "as b has, and is the first of them",
            "no higher loss",
        ),
    ],
)
def test_reasons_tell_chance_and_ties(
    scores: Mapping[str, Scores], contains: str, lacks: str
) -> None:
    text = reason("a", scores)
    assert contains in text
    assert lacks not in text


@pytest.mark.slow
def test_a_matcher_that_stood_in_is_told_for_the_groups_that_it_served() -> None:
    networks = members(Residual, 2)
    result = merge(networks, loader(), align="cca", fold="average")
    assert result.alignment is not None
    for group, why in result.alignment.fallbacks.items():
        served = result.alignment.matchers[group]
        assert any(
            group in w and f"{served} instead of cca ({why})" in w for w in result.report.warnings
        )
    told_of = [w for w in result.report.warnings if " instead of cca" in w]
    assert bool(told_of) == bool(result.alignment.fallbacks)


def test_repair_says_why_nothing_was_repaired() -> None:
    result = merge(members(Plain, 2), loader(), align="none", repair="batchnorm", fold="average")
    assert "the network has no batch norm, so nothing was repaired" in result.report.warnings
    assert result.report.repaired["norms"] == 0


@pytest.mark.parametrize(
    ("validation", "text"),
    [
        ({"round 0": 0.5}, "Round 0 is the only round"),
        (
            {"round 0": 0.6, "round 1": 0.5},
            "No other round was more accurate than round 0 on the validation data",
        ),
        (
            {"round 0": 0.6, "round 1": 0.6, "restart 1": 0.2},
            "No other round was more accurate than round 0 on the validation data",
        ),
    ],
)
def test_rounds_without_rivals(validation: dict[str, float], text: str) -> None:
    best = max(
        (name for name in validation if name.startswith("round")), key=validation.__getitem__
    )
    assert alone(best, validation).startswith(text)


def test_the_best_member_of_an_evaluation_is_the_most_accurate_and_then_the_surest() -> None:
    labels = torch.arange(100) % 4
    right = 4.0 * nn.functional.one_hot(labels, 4)
    found = onefold.measure.evaluate_all(
        [Fixed(right / 4), Fixed(right), Fixed(-right)], [(torch.arange(100), labels)]
    )
    assert found.best == 1


def test_networks_without_symmetry_are_not_called_alike() -> None:
    class Straight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(64, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.flatten(1))

    images, labels = examples(64, 0)
    torch.manual_seed(0)
    found = measure_pairs([Straight(), Straight()], [(images, labels)], points=3)
    assert "No symmetry was found" in found.note
    assert found.aligned is None
