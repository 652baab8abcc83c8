"""Differences on the same examples are paired: in verdicts and tables, of networks, ensembles and
pools; and only there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

import onefold
from onefold.errors import DataError
from onefold.measure import Scores, difference, evaluate, evaluate_all, score_logits
from onefold.measure.paired import FEW, TWO_ERRORS, mean_error, sign_test
from onefold.report import Candidate, comparison_table, verdict


class Table(nn.Module):
    """Looks its logits up: the input is the number of an example."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, index: Tensor) -> Tensor:
        return self.logits[index]


def answering(hits: Tensor, labels: Tensor, classes: int = 3, sure: float = 3.0) -> Tensor:
    """Logits (n, classes) that are right where `hits` says so, and one class off elsewhere."""
    return (
        sure
        * nn.functional.one_hot(torch.where(hits, labels, (labels + 1) % classes), classes).float()
    )


def two(n: int, both: int, won: int, lost: int, seed: int = 0) -> tuple[Scores, Scores]:
    """Scores of two networks on n examples: `both` right in both, `won` and `lost` in one alone."""
    labels = torch.randint(3, (n,), generator=torch.Generator().manual_seed(seed))
    first, second = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    first[: both + won] = True
    second[:both] = True
    second[both + won : both + won + lost] = True
    return score_logits(answering(first, labels), labels), score_logits(
        answering(second, labels), labels
    )


def candidate(name: str, scores: Scores) -> Candidate:
    return Candidate(name, scores, 1, 1.0)


def test_few_discordant_answers_tell_more_than_two_wide_error_bars() -> None:
    first, second = two(540, 480, 3, 14)
    found = difference(first, second)
    assert (found.won, found.lost, found.paired, found.clear) == (3, 14, True, True)
    assert 100 * found.gain == pytest.approx(-2.04, abs=0.01)
    assert 100 * found.error == pytest.approx(0.76, abs=0.005)
    assert (
        math.hypot(first.accuracy_error, second.accuracy_error) > 2 * found.error
    )  # what an unpaired error would say
    assert found.p == pytest.approx(binomtest(3, 17).pvalue)
    assert (
        verdict(candidate("the fold", first), [candidate("the ensemble", second)])
        == "The fold: less accurate than the ensemble by 2.04 percentage points (standard error"
        " 0.76, 3 answers gained and 14 lost)."
    )


@pytest.mark.parametrize(
    ("won", "lost"), [(0, 0), (1, 0), (5, 0), (6, 0), (3, 14), (12, 12), (0, 24)]
)
def test_few_discordant_answers_are_judged_by_the_binomial_distribution(
    won: int, lost: int
) -> None:
    assert won + lost < FEW
    assert sign_test(won, lost) == pytest.approx(
        binomtest(won, won + lost).pvalue if won + lost else 1.0
    )
    assert sign_test(won, lost) == sign_test(lost, won)


@pytest.mark.parametrize(
    ("won", "lost", "clear"), [(60, 40, True), (59, 41, False), (50, 50, False), (40, 60, True)]
)
def test_many_discordant_answers_are_judged_by_mcnemar(won: int, lost: int, clear: bool) -> None:
    found = difference(*two(1000, 500, won, lost))
    assert found.clear == clear == (abs(won - lost) >= 2 * math.sqrt(won + lost))
    assert found.p == pytest.approx(
        math.erfc(abs(won - lost) / math.sqrt(won + lost) / math.sqrt(2))
    )
    assert math.erfc(2 / math.sqrt(2)) == TWO_ERRORS


def test_the_error_is_that_of_a_mean_of_paired_differences() -> None:
    first, second = two(200, 90, 20, 11)
    steps = torch.tensor([1.0] * 20 + [-1.0] * 11 + [0.0] * 169, dtype=torch.float64)
    found = difference(first, second)
    assert found.error == pytest.approx(float(steps.std() / 200**0.5))
    losses = first.answers.losses.double() - second.answers.losses.double()
    assert (
        found.loss
        == pytest.approx(float(losses.mean()))
        == pytest.approx(first.nll - second.nll, rel=1e-5)
    )
    assert (
        found.loss_error
        == pytest.approx(mean_error(losses))
        == pytest.approx(float(losses.std() / 200**0.5))
    )
    generator = torch.Generator().manual_seed(1)
    drawn = [
        float(steps[torch.randint(200, (200,), generator=generator)].mean()) for _ in range(4000)
    ]
    assert found.error == pytest.approx(
        float(torch.tensor(drawn).std()), rel=0.05
    )  # the bootstrap agrees


def test_a_network_beside_itself_gives_the_same_answers() -> None:
    first, _ = two(60, 40, 3, 5)
    found = difference(first, first)
    assert (found.gain, found.error, found.p, found.same, found.clear) == (
        0.0,
        0.0,
        1.0,
        True,
        False,
    )
    told = verdict(candidate("the fold", first), [candidate("member 0", first)])
    assert (
        told
        == "The fold: the same answers as member 0 (+0.00 percentage points, standard error 0.00)."
    )


def test_other_confidence_in_the_same_answers_is_told_apart() -> None:
    labels = torch.arange(30) % 3
    hits = torch.arange(30) < 20
    first, second = (score_logits(answering(hits, labels, sure=s), labels) for s in (3.0, 1.0))
    assert not difference(first, second).same
    assert "the same answers right and wrong as b (" in verdict(
        candidate("a", first), [candidate("b", second)]
    )


def test_outputs_that_are_not_finite_are_wrong_answers_and_no_error() -> None:
    labels = torch.arange(30) % 3
    whole = answering(torch.ones(30, dtype=torch.bool), labels)
    broken = whole.clone()
    broken[:7] = torch.nan
    good, bad = score_logits(whole, labels), score_logits(broken, labels)
    found = difference(bad, good)
    assert (found.won, found.lost, found.loss) == (0, 7, math.inf)
    assert found.error > 0
    assert difference(bad, bad).same
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("size", [1, 7, 60])
def test_batches_do_not_matter_but_order_and_data_do(size: int) -> None:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(3, (60,), generator=generator)
    a, b = (Table(torch.randn(60, 3, generator=generator)) for _ in range(2))
    index = torch.arange(60)
    batches = list(zip(index.split(size), labels.split(size), strict=True))
    mixed = torch.randperm(60, generator=generator)
    one, other = evaluate(a, [(index, labels)]), evaluate(b, batches)
    assert difference(one, other).paired
    assert torch.equal(other.answers.hits, b.logits.argmax(-1) == labels)
    for scores, why in (
        (evaluate(b, [(mixed, labels[mixed])]), "other examples or in another order"),
        (evaluate(b, [(index[:59], labels[:59])]), "scored on 60 and 59 examples"),
        (evaluate(b, [(index, (labels + 1) % 3)]), "other examples or in another order"),
        (Scores.from_dict(other.to_dict()), "single answers were not kept"),
    ):
        found = difference(one, scores)
        assert not found.paired
        assert found.error == pytest.approx(math.hypot(one.accuracy_error, scores.accuracy_error))
        assert why in found.why
        assert f"unpaired, as {found.why}" in verdict(candidate("a", one), [candidate("b", scores)])


def test_ensembles_and_pools_are_paired_as_networks_are() -> None:
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(3, (400,), generator=generator)
    models = [
        Table(torch.randn(400, 3, generator=generator) + 1.5 * nn.functional.one_hot(labels, 3))
        for _ in range(3)
    ]
    data = [(torch.arange(400), labels)]
    found = evaluate_all(models, data)
    mean = torch.stack([m.logits.softmax(-1) for m in models]).mean(0)
    assert torch.equal(found.ensemble.answers.hits, mean.argmax(-1) == labels)
    pool = onefold.class_pool(models, counts=torch.ones(3, 3))
    pooled = evaluate(models, data, ensemble=pool)
    assert difference(pooled, found.ensemble).same  # equal counts: the mean of probabilities
    own = difference(found.ensemble, found.members[0])
    assert own.paired
    assert own.error < math.hypot(found.ensemble.accuracy_error, found.members[0].accuracy_error)


def test_the_examples_of_pixels_and_tokens_are_images_and_series() -> None:
    labels = torch.randint(3, (4, 5), generator=torch.Generator().manual_seed(0))
    scores = evaluate(Table(torch.randn(4, 5, 3)), [(torch.arange(4), labels)])
    assert len(scores.answers.hits) == scores.n == 4
    assert float(scores.answers.hits.mean()) == pytest.approx(scores.accuracy)


def test_what_is_kept_is_no_part_of_equality_or_of_json() -> None:
    first, _ = two(20, 10, 3, 5)
    assert first == Scores.from_dict(first.to_dict())
    assert "answers" not in first.to_dict()
    assert "answers" not in repr(first)


def test_a_table_holds_every_row_against_one_and_sets_the_best_in_bold() -> None:
    first, second = two(540, 480, 3, 14)
    apart = Scores.from_dict(second.to_dict())
    rows = [
        candidate("member 0", second),
        candidate("folded", first),
        candidate("elsewhere", apart),
    ]
    table = comparison_table(rows, against="folded")
    place = table.headings.index("difference to folded (points)")
    assert table.headings[place + 1] == "its standard error, paired (points)"
    cells = [row[place : place + 2] for row in table.rows]
    assert cells[0] == (
        pytest.approx(100 * 11 / 540),
        pytest.approx(100 * difference(second, first).error),
    )
    assert cells[1] == (None, None)
    assert cells[2] == (pytest.approx(100 * 11 / 540), None)  # the pairs are lost
    assert table.emphasis == (0, 2)  # the best, though ours stands beside them
    assert comparison_table(rows[:2], emphasis=["folded"]).emphasis == (1,)
    with pytest.raises(DataError, match="no candidate named 'fold'"):
        comparison_table(rows, against="fold")


def test_a_file_merged_with_itself_is_the_same_network(
    onefold: Callable, members: list[Path], tmp_path: Path
) -> None:
    data = [
        "--model",
        "digits?width=4",
        "--data",
        "sklearn:digits",
        "--samples",
        "200",
        "--eval-split",
        "test",
    ]
    flags = ["--align", "none", "--repair", "none"]
    result = onefold(
        "merge", members[0], members[0], *data, *flags, "-o", tmp_path / "f.safetensors"
    )
    assert result.status == 0, result.err
    assert (
        "The fold: the same answers as the best member (member 0) (+0.00 percentage points,"
        " standard error 0.00)" in result.out
    )


def test_the_command_eval_pairs_its_networks(onefold: Callable, members: list[Path]) -> None:
    data = ["--model", "digits?width=4", "--data", "sklearn:digits"]
    shown = onefold("eval", *members[:2], *data)
    assert shown.status == 0, shown.err
    assert "The best of them (" in shown.out
    assert "standard error" in shown.out
    assert "answers gained and" in shown.out
    plain = json.loads(onefold("eval", *members[:2], *data, "--json").out)
    paired = plain["less the best, paired"]
    best = plain["best"]
    assert len(paired) == 3  # two networks and their ensemble
    assert paired[best]["same"]
    for scores, one in zip([*plain["members"], plain["ensemble"]], paired, strict=True):
        assert one["gain"] == pytest.approx(scores["accuracy"] - plain["members"][best]["accuracy"])
        assert one["gain"] == pytest.approx((one["won"] - one["lost"]) / scores["n"])
