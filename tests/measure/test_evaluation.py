"""Networks on data: one pass for all, ensembles, agreement, and networks left as they were."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.errors import DataError, MembersError, SettingError
from onefold.inference import predictions
from onefold.measure import agreement, evaluate, evaluate_all, score_logits, score_probabilities


class Fixed(nn.Module):
    """Looks its logits up: the input is the number of an example."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(logits)

    def forward(self, index: Tensor) -> Tensor:
        return self.table[index]


def small(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4)
    ).double()


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(50, 5, generator=generator, dtype=torch.float64), torch.randint(
        4, (50,), generator=generator
    )


def loader(x: Tensor, y: Tensor, size: int = 7) -> list[tuple[Tensor, Tensor]]:
    return list(zip(x.split(size), y.split(size), strict=True))


def test_batches_add_up_to_the_whole(inputs: tuple[Tensor, Tensor]) -> None:
    model = small(0).eval()
    expected = score_logits(model(inputs[0]).detach(), inputs[1])
    found = onefold.evaluate(model, loader(*inputs))
    assert found.values == pytest.approx(expected.values)
    assert {**found.to_dict(), **expected.values} == expected.to_dict()


def test_a_dict_batch_and_one_shot_iterators_are_fine(inputs: tuple[Tensor, Tensor]) -> None:
    model = small(0)
    expected = evaluate(model, loader(*inputs))
    assert (
        evaluate(model, iter([{"input": x, "labels": y} for x, y in loader(*inputs)])) == expected
    )


def test_both_ensembles_equal_their_definitions_and_differ(inputs: tuple[Tensor, Tensor]) -> None:
    models = [small(seed).eval() for seed in range(3)]
    logits = torch.stack([model(inputs[0]).detach() for model in models])
    by_probability = evaluate(models, loader(*inputs))
    by_logit = evaluate(models, loader(*inputs), ensemble="logits")
    assert by_probability.nll == pytest.approx(
        score_probabilities(logits.softmax(-1).mean(0), inputs[1]).nll, rel=1e-12
    )
    assert by_logit.nll == pytest.approx(score_logits(logits.mean(0), inputs[1]).nll, rel=1e-12)
    assert by_probability.nll != pytest.approx(by_logit.nll, rel=1e-6)
    assert (by_probability.ensemble, by_probability.members, by_logit.ensemble) == (
        "probabilities",
        3,
        "logits",
    )
    assert "ensemble of 3 by mean logits" in str(by_logit)


def test_all_in_one_pass(inputs: tuple[Tensor, Tensor]) -> None:
    models = [small(seed) for seed in range(3)]
    passes = []

    class Counting(list[tuple[Tensor, Tensor]]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            passes.append(1)
            return super().__iter__()

    result = evaluate_all(models, Counting(loader(*inputs)))
    assert len(passes) == 1
    assert list(result.members) == [evaluate(model, loader(*inputs)) for model in models]
    assert result.ensemble == evaluate(models, loader(*inputs))
    assert result.members[result.best].accuracy == max(scores.accuracy for scores in result.members)


def test_agreement_is_the_share_of_equal_predictions() -> None:
    first = torch.eye(4)
    second = first[[0, 1, 3, 2]]
    data = [torch.tensor([0, 1, 2]), torch.tensor([3])]
    shares = agreement([Fixed(first), Fixed(second), Fixed(-first + 1)], data)
    assert shares.tolist()[0][:2] == [1.0, 0.5]
    assert torch.equal(shares, shares.T)
    assert torch.equal(shares.diag(), torch.ones(3, dtype=torch.float64))
    assert float(shares[0, 2]) == 0


def test_a_broken_member_breaks_the_ensemble_openly_and_agrees_with_nobody() -> None:
    good = 9 * torch.eye(4)
    bad = good.clone()
    bad[1] = torch.nan
    result = evaluate_all([Fixed(good), Fixed(bad)], [(torch.arange(4), torch.arange(4))])
    assert [scores.nonfinite for scores in (*result.members, result.ensemble)] == [0, 1, 1]
    assert [scores.accuracy for scores in (*result.members, result.ensemble)] == [1, 0.75, 0.75]
    assert result.agreement.tolist() == [[1, 0.75], [0.75, 1]]
    assert result.ensemble.agreement == 0.75


def test_networks_are_left_as_they_were_also_after_an_error(inputs: tuple[Tensor, Tensor]) -> None:
    model = small(0).train()
    model[1].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    evaluate(model, loader(*inputs))
    with pytest.raises(DataError, match="Batch 0 of the data has no labels"):
        evaluate(model, [inputs[0]])
    assert torch.is_grad_enabled()
    assert [module.training for module in model] == [True, False, True, True, True]
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_evaluation_runs_in_eval_mode(inputs: tuple[Tensor, Tensor]) -> None:
    model = small(0).train()
    assert evaluate(model, loader(*inputs)) == evaluate(
        model, loader(*inputs)
    )  # dropout would make them differ
    assert evaluate(model, loader(*inputs, size=50)).nll == pytest.approx(
        evaluate(model, loader(*inputs)).nll
    )


def test_predictions(inputs: tuple[Tensor, Tensor]) -> None:
    model = small(0).eval()
    logits, labels = predictions(model, loader(*inputs))
    assert torch.allclose(logits, model(inputs[0]))
    assert not logits.requires_grad
    assert labels is not None
    assert torch.equal(labels, inputs[1])
    assert predictions(model, [inputs[0]])[1] is None
    with pytest.raises(DataError, match="Only 1 of 2 batches have labels"):
        predictions(model, [inputs[0], (inputs[0], inputs[1])])


def test_a_device_elsewhere_leaves_the_network_where_it_is(inputs: tuple[Tensor, Tensor]) -> None:
    model = small(0)
    with pytest.raises(
        DataError, match="cannot run"
    ):  # the meta device has no numbers to score, but shows where things went
        evaluate(nn.Sequential(model, _NeedsCpu()), loader(*inputs), device="meta")
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


class _NeedsCpu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            raise RuntimeError("not on the CPU")
        return x


def test_what_does_not_fit_is_refused(inputs: tuple[Tensor, Tensor]) -> None:
    model = small(0)
    with pytest.raises(MembersError, match="no network"):
        evaluate([], loader(*inputs))
    with pytest.raises(MembersError, match="Member 1 is a dict"):
        evaluate([model, model.state_dict().copy() and {}], loader(*inputs))
    with pytest.raises(MembersError, match="Member 1 returns logits of shape"):
        evaluate([model, nn.Linear(5, 3).double()], loader(*inputs))
    with pytest.raises(SettingError, match="did you mean 'logits'"):
        evaluate(model, loader(*inputs), ensemble="logit")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no batch"):
        evaluate(model, [])
