"""The default of a merge: the best member, unless something is above it beyond noise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest
import torch
import torch.nn.functional as F
from small_networks import Plain, Residual, examples, loader, members, trained
from spoilt_networks import equal, near
from torch import Tensor, nn

import onefold as of
from onefold.ensemble import ClassPool
from onefold.errors import DataError, MembersError, Note, SettingError, TraceError
from onefold.fold import merge
from onefold.fold.auto import Auto, most_cost
from onefold.fold.candidates import ALIGNED, led_by
from onefold.fold.least_squares import LeastSquares

LABELLED = loader(512, seed=7)
UNLABELLED = [x for x, _ in LABELLED]
TEST = loader(512, seed=99, batch=128)


def knowing(classes: Sequence[int], seed: int, kind: type[nn.Module] = Plain) -> nn.Module:
    """A network that saw these classes a hundred times as often as the others."""
    images, labels = examples(2000, 300 + seed)
    known = torch.isin(labels, torch.tensor(list(classes)))
    few = torch.rand(len(labels), generator=torch.Generator().manual_seed(seed)) < 0.01
    images, labels = images[known | few], labels[known | few]
    torch.manual_seed(seed)
    network = kind()
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(80):
        index = torch.arange(64) + 64 * (step % (len(labels) // 64))
        loss = F.cross_entropy(network(images[index]), labels[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


@pytest.fixture(scope="module")
def same() -> list[nn.Module]:
    return members(Plain, 3)


@pytest.fixture(scope="module")
def different() -> list[nn.Module]:
    return [knowing((0, 1), 1), knowing((2, 3), 2)]


def accuracy(model: nn.Module) -> float:
    return of.evaluate(model, TEST).accuracy


def test_of_the_same_knowledge_a_member_is_kept_and_nothing_else_is_done(
    same: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in ("trace_on", "align"):
        monkeypatch.setattr(f"onefold.fold.steps.{step}", lambda *_, **__: pytest.fail("a step"))
    result = merge(same, UNLABELLED)
    report = result.report
    choice = report.folded["choice"]
    agree = report.folded["evidence"]["knowledge"]["with_ensemble"]
    assert choice == f"member {agree.index(max(agree))}"
    assert equal(result.model, same[int(choice[-1])])
    assert str(report).startswith(f"The default took {choice}, unchanged.\nThese networks know the")
    assert report.chosen[-1].startswith("To gain more: keep the ensemble at 3 times the cost")
    assert "budget" not in report.chosen[-1]
    assert (report.align, report.repair, result.alignment) == ("none", "none", None)


def test_of_different_knowledge_something_above_every_member_is_taken(
    different: list[nn.Module],
) -> None:
    result = merge(different, UNLABELLED)
    folded = result.report.folded
    assert folded["evidence"]["relation"] == "different knowledge"
    assert accuracy(result.model) > max(map(accuracy, different)) + 0.05
    assert folded["gains"][folded["choice"]]["gain"] > 0
    assert "judged by the members' own opinion" in " ".join(result.report.chosen)
    assert set(folded["expected accuracy"]) == {folded["baseline"], *folded["gains"]}
    assert any("classes of the calibration data are taken to be even" in w for w in result.notes)
    assert folded["examples judged"] == 128  # the last fifth of eight batches
    assert "LeastSquares(budget='1.5x')" in result.report.chosen[-1]


def test_labels_choose_on_examples_that_no_fold_read(different: list[nn.Module]) -> None:
    result = merge(different, UNLABELLED, validation=TEST)
    folded = result.report.folded
    best = max(map(accuracy, different))
    assert folded["scores"][folded["baseline"]] == pytest.approx(best)
    assert folded["scores"][folded["choice"]] == pytest.approx(accuracy(result.model))
    assert accuracy(result.model) > best
    assert "On 512 labelled examples that no fold read it is above" in " ".join(
        result.report.chosen
    )
    assert set(folded["gains"]) == {
        "member 0, balanced",
        "member 1, balanced",
        ALIGNED,
        "least squares",
        "least squares, logits",
    }
    for name, gain in folded["gains"].items():
        assert gain["gain"] == pytest.approx(
            folded["scores"][name] - folded["scores"][folded["baseline"]]
        )


def test_labels_in_the_data_are_split_off(same: list[nn.Module]) -> None:
    folded = merge(same, LABELLED).report.folded
    assert folded["validation examples"] == 128
    assert "128 labelled examples that no fold read" in " ".join(
        merge(same, LABELLED).report.chosen
    )


def test_without_a_clear_gain_the_best_member_by_labels_is_kept() -> None:
    """One member is right on everything, so that nothing can be above it."""
    good = knowing((0, 1, 2, 3), 5)
    images = torch.cat([x for x, _ in TEST])
    labels = good(images).argmax(1)
    validation = list(zip(images.split(128), labels.split(128), strict=True))
    result = merge([trained(Plain, 1, steps=4), good], UNLABELLED, validation=validation)
    assert result.report.folded["choice"] == result.report.folded["baseline"] == "member 1"
    assert equal(result.model, good)
    assert "none of" in " ".join(result.report.chosen)
    assert "is above it by more than a standard error" in " ".join(result.report.chosen)
    # The alignment was computed for a candidate, and does not belong to the result.
    assert result.alignment is None
    assert result.report.align == "none"


def test_it_costs_one_alignment_and_two_solves(
    different: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"align": 0, "solve": 0, "trace": 0}

    def counted(name: str, function):  # type: ignore[no-untyped-def]
        def call(*args, **kwargs):  # type: ignore[no-untyped-def]
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    from onefold.fold import steps

    monkeypatch.setattr(steps, "align", counted("align", steps.align))
    monkeypatch.setattr(steps, "trace_on", counted("trace", steps.trace_on))
    monkeypatch.setattr(LeastSquares, "fold", counted("solve", LeastSquares.fold))
    merge(different, UNLABELLED, validation=TEST)
    assert calls == {"align": 1, "solve": 2, "trace": 1}
    merge(different, UNLABELLED)
    assert calls == {"align": 1, "solve": 4, "trace": 2}  # no alignment without labels


@pytest.mark.parametrize("labels", [False, True])
def test_of_one_origin_the_plain_average_is_taken_or_tried(labels: bool) -> None:
    base = trained(Plain, 1)
    models = [near(base, seed) for seed in range(3)]
    result = merge(models, UNLABELLED, validation=TEST if labels else None)
    folded = result.report.folded
    assert folded["evidence"]["relation"] == "one origin"
    average = merge(models, align="none", fold="average", repair="none").model
    if labels:
        assert "average" in folded["gains"]
        assert ALIGNED not in folded["gains"]
    else:
        assert folded["choice"] == "average"
        assert equal(result.model, average)
        assert result.report.repair == "none"


def test_statistics_of_batch_norms_follow_an_average() -> None:
    base = trained(Residual, 1)
    of.recalibrate(base, UNLABELLED)
    models = [near(base, seed, 0.3) for seed in range(3)]
    result = merge(models, UNLABELLED)
    assert result.report.folded["choice"] == "average"
    assert result.report.repair == "batchnorm"
    assert result.report.repaired["norms"] == 3


def test_a_named_fold_takes_members_of_one_origin_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = trained(Plain, 1)
    models = [near(base, seed) for seed in range(2)]
    monkeypatch.setattr("onefold.fold.steps.align", lambda *_, **__: pytest.fail("no alignment"))
    result = merge(models, UNLABELLED, fold="average")
    assert result.report.align == "none"
    assert any("nothing was aligned: these networks share an" in w for w in result.notes)
    monkeypatch.undo()
    named = merge(models, UNLABELLED, fold="average", align="permutation")
    assert named.report.align == "permutation"


def test_a_named_fold_aligns_other_members(same: list[nn.Module]) -> None:
    assert merge(same, UNLABELLED, fold="average").report.align == "cca"


def test_a_named_alignment_is_carried_out(different: list[nn.Module]) -> None:
    result = merge(different, UNLABELLED, align="permutation", validation=TEST)
    assert result.report.align == "permutation"
    assert result.alignment is not None


class Numbers(nn.Module):
    """A regressor of one number."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last = nn.Linear(5, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.first(x).relu())
        return out


def test_of_a_regressor_the_member_nearest_to_the_mean_is_kept() -> None:
    models: list[nn.Module] = [Numbers(k) for k in range(3)]
    torch.manual_seed(0)
    data = [torch.randn(16, 5) for _ in range(4)]
    result = merge(models, data)
    outputs = torch.stack([model(torch.cat(data)) for model in models])
    off = (outputs - outputs.mean(0)).square().mean((1, 2))
    assert result.report.folded["choice"] == f"member {int(off.argmin())}"
    assert "no scores of classes" in " ".join(result.report.chosen)


class Branching(Plain):
    """A network that cannot be traced, as it asks for a value."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(x.sum()) > -1e9 else -x)


def test_a_network_that_cannot_be_traced_falls_back_and_says_so() -> None:
    different = [knowing((0, 1), 1, Branching), knowing((2, 3), 2, Branching)]
    with pytest.raises(TraceError):
        merge(different, UNLABELLED, fold="least_squares")
    result = merge(different, UNLABELLED)
    assert any(
        "least squares was not tried, as the network cannot be traced" in w for w in result.notes
    )
    assert set(result.report.folded["gains"]) == {"member 0, balanced", "member 1, balanced"}
    assert accuracy(result.model) >= max(map(accuracy, different))
    with pytest.raises(TraceError):
        merge(different, UNLABELLED, align="permutation")


def test_without_data_it_says_what_to_do(same: list[nn.Module]) -> None:
    with pytest.raises(SettingError, match="reads the members' predictions on unlabelled data"):
        merge(same)
    assert merge(same, align="none", fold="average", repair="none").report.fold == "average"


def test_polish_aims_at_the_pool_of_members_that_know_different_classes(
    same: list[nn.Module], different: list[nn.Module]
) -> None:
    assert merge(different, UNLABELLED, polish=1).report.polished["ensemble"] == "classes"
    assert merge(same, UNLABELLED, polish=1).report.polished["ensemble"] == "probabilities"
    asked = merge(different, UNLABELLED, polish=of.Polish(passes=1, ensemble="logits"))
    assert asked.report.polished["ensemble"] == "logits"


def test_an_ensemble_that_was_asked_for_is_aimed_at(
    different: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    fold = LeastSquares.fold
    monkeypatch.setattr(
        LeastSquares, "fold", lambda self, job: (seen.append(self.ensemble), fold(self, job))[1]
    )
    merge(different, UNLABELLED, ensemble="probabilities")
    merge(different, UNLABELLED)
    assert seen[:2] == ["probabilities"] * 2
    assert isinstance(seen[2], ClassPool)
    assert seen[3] == "logits"


def test_repair_by_name_repairs_what_is_kept() -> None:
    networks = members(Residual, 2)
    result = merge(networks, UNLABELLED, repair="batchnorm", validation=TEST)
    assert result.report.repair == "batchnorm"
    folded = result.report.folded
    assert folded["scores"][folded["choice"]] == pytest.approx(accuracy(result.model))


def test_same_seed_same_bits(different: list[nn.Module]) -> None:
    first, second = (merge(different, UNLABELLED, validation=TEST) for _ in range(2))
    assert equal(first.model, second.model)


def test_members_stay_as_they_are(different: list[nn.Module]) -> None:
    before = [copy.deepcopy(model) for model in different]
    merge(different, UNLABELLED, validation=TEST)
    for model, kept in zip(different, before, strict=True):
        assert equal(model, kept)


def test_other_widths_are_refused_as_before() -> None:
    wide = Numbers(0)
    wide.first, wide.last = nn.Linear(5, 20), nn.Linear(20, 1)
    with pytest.raises(MembersError):
        merge([Numbers(1), wide], [torch.randn(4, 5)])


def test_the_best_member_leads_by_its_share_or_more() -> None:
    assert led_by(1, (0.5, 0.25, 0.25)) == pytest.approx((0.2, 0.7, 0.1))
    assert led_by(0, (0.8, 0.2)) == pytest.approx((0.8, 0.2))
    assert led_by(0, (1.0, 0.0)) == (1.0, 0.0)


def test_the_cost_is_said_in_one_sentence_and_settings_are_checked() -> None:
    assert "one alignment, two least-squares solves and the scores of 8 networks" in most_cost(2)
    with pytest.raises(SettingError):
        Auto(rows=0)
    with pytest.raises(SettingError):
        Auto(ensemble="logit")  # type: ignore[arg-type]


def numbers_for(labels: Callable[[int], Tensor]) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    return [(torch.randn(16, 5), labels(16)) for _ in range(4)]


class Scores(Numbers):
    """The same of three numbers, which may be scores of classes."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.last = nn.Linear(16, 3)


@pytest.mark.parametrize(
    ("kind", "labels", "by"),
    [
        (Numbers, lambda n: torch.randn(n, 1), "rmse"),
        (Numbers, lambda n: torch.randn(n), "rmse"),
        (Numbers, lambda n: torch.randint(2, (n,)), "accuracy"),
        (Scores, lambda n: torch.randn(n, 3), "rmse"),
        (Scores, lambda n: torch.randint(2, (n, 3)).float(), "mean_average_precision"),
        (Scores, lambda n: F.one_hot(torch.randint(3, (n,)), 3).float(), "accuracy"),
    ],
    ids=["numbers", "a number each", "yes or no", "three numbers", "several", "one-hot"],
)
def test_labels_of_every_task_choose(
    kind: type[Numbers], labels: Callable[[int], Tensor], by: str
) -> None:
    data, models = numbers_for(labels), [kind(0), kind(1)]
    facts = merge(models, data).report.folded
    assert facts["scored by"] == by
    alone = [of.evaluate(model, data[-1:]).primary for model in models]
    assert facts["members"] == pytest.approx(alone)
    best = (min if by == "rmse" else max)(range(2), key=lambda k: alone[k])
    assert facts["baseline"] == f"member {best}"
    assert merge(models, [x for x, _ in data], validation=data).report.folded["scored by"] == by


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        (Numbers, lambda n: torch.randint(2, (n,)).float()),
        (Scores, lambda n: torch.randn(n, 5)),
        (Scores, lambda n: torch.randn(n)),
    ],
    ids=["0.0 and 1.0", "too many", "too few"],
)
def test_labels_of_the_data_that_tell_no_task_are_left_and_told(
    kind: type[Numbers], labels: Callable[[int], Tensor]
) -> None:
    data, models = numbers_for(labels), [kind(0), kind(1)]
    result = merge(models, data)
    (told,) = [note for note in result.notes if "labels of the data were not used" in note]
    assert isinstance(told, Note)
    assert "choice by labels" not in result.report.used
    with pytest.raises(DataError):  # what is given to choose by must serve
        merge(models, [x for x, _ in data], validation=data)


def test_of_one_labelled_batch_every_fifth_example_chooses(same: list[nn.Module]) -> None:
    inputs, labels = torch.cat(UNLABELLED), torch.cat([y for _, y in LABELLED])
    result = merge(same, [(inputs, labels)])
    facts = result.report.folded
    assert facts["validation examples"] == len(inputs) // 5
    alone = [of.evaluate(model, [(inputs[4::5], labels[4::5])]).accuracy for model in same]
    assert facts["members"] == pytest.approx(alone)


def test_one_batch_that_cannot_be_split_is_folded_on_and_chooses_nothing(
    same: list[nn.Module],
) -> None:
    result = merge(same, [(torch.cat(UNLABELLED)[:9], torch.cat([y for _, y in LABELLED])[:9])])
    assert any("the labels were not used, as the data cannot be split" in w for w in result.notes)
    assert "choice by labels" not in result.report.used


def test_few_examples_leave_the_alignment_out_and_say_so() -> None:
    def network(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 3)).eval()

    torch.manual_seed(9)
    x, y = torch.randn(24, 10), torch.randint(3, (24,))
    result = merge([network(0), network(1)], [x], validation=[(x, y)])
    assert any("no average was tried" in note for note in result.notes)
    assert result.report.folded["choice"]
    with pytest.raises(DataError, match="24 samples"):
        merge([network(0), network(1)], [x], align="cca", fold="average")


def test_what_is_chosen_by_is_read_by_nothing_else(
    different: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the alignment nor a fold sees the last fifth, though the loader shuffles anew."""

    class Shuffled:
        def __init__(self) -> None:
            self.turn = 0

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            self.turn += 1
            order = torch.randperm(8, generator=torch.Generator().manual_seed(self.turn))
            return (LABELLED[k] for k in order.tolist())

        def __len__(self) -> int:
            return 8

    from onefold.fold import auto, steps

    read: dict[str, set[float]] = {"align": set(), "fold": set(), "judge": set()}

    def sums(data: Iterable[tuple[Tensor, Tensor]]) -> set[float]:
        return {float(x.double().sum()) for x, _ in data}

    def seen(name: str, function: Callable[..., object], data: int) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            value = args[data]
            read[name] |= sums(getattr(value, "data", value))  # type: ignore[arg-type]
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(steps, "align", seen("align", steps.align, 1))
    monkeypatch.setattr(LeastSquares, "fold", seen("fold", LeastSquares.fold, 1))
    monkeypatch.setattr(auto, "scored", seen("judge", auto.scored, 1))
    merge(different, Shuffled())
    assert len(read["judge"]) == 2
    assert read["align"] == read["fold"]
    assert len(read["fold"]) == 6
    assert not read["judge"] & read["fold"]
