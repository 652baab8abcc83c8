"""The loss at a temperature, the statistics of batch norms, and the estimate of the time."""

from __future__ import annotations

import pytest
import torch
from small_networks import Plain, Residual, loader, members
from spoilt_networks import equal
from torch import nn

import onefold
from onefold.errors import SettingError
from onefold.fold import Polish, polish
from onefold.fold.distillation.estimate import told
from onefold.tasks import Classification

divergence = Classification().divergence
UNLABELLED = [x for x, _ in loader(128, batch=32)]


def test_the_loss_at_a_temperature() -> None:
    logits, aim = torch.randn(7, 4), torch.log_softmax(torch.randn(7, 4), -1)
    ours = torch.log_softmax(logits / 3, -1)
    expected = 9 * (aim.exp() * (aim - ours)).sum(1).mean()
    torch.testing.assert_close(divergence(logits, aim, 3.0), expected)


def test_gradients_keep_their_size_at_any_temperature() -> None:
    teacher = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    sizes = []
    for temperature in (1.0, 4.0, 100.0):
        logits = torch.zeros(50, 4, requires_grad=True)
        divergence(logits, torch.log_softmax(teacher / temperature, -1), temperature).backward()
        sizes.append(float(logits.grad.norm()))
    assert max(sizes) < 1.5 * min(sizes)
    # In the limit the gradient is that of half the squared distance of centred logits, by class
    centred = teacher - teacher.mean(1, keepdim=True)
    torch.testing.assert_close(logits.grad, -centred / 4 / 50, rtol=0.05, atol=1e-3)


def test_temperature_and_rate_reach_the_steps() -> None:
    pair = members(Plain, 2)
    plain = polish(pair[0], pair, UNLABELLED, passes=2, lr=1e-3)
    for change in ({"temperature": 3.0}, {"schedule": "cosine"}, {"warmup": 0.5}):
        other = polish(pair[0], pair, UNLABELLED, passes=2, lr=1e-3, **change)
        assert not equal(plain.model, other.model)
        ((name, value),) = change.items()
        assert other.to_dict()[name] == value
    first = polish(pair[0], pair, UNLABELLED[:1], passes=1, temperature=3.0)
    with torch.no_grad():
        logits = [m(UNLABELLED[0]) for m in pair]
    aim = torch.log_softmax(torch.stack(logits).mean(0) / 3, -1)
    assert first.divergence[0] == pytest.approx(float(divergence(logits[0], aim, 3.0)), rel=1e-5)


def statistics(network: nn.Module) -> torch.Tensor:
    return torch.cat([network.norm0.running_mean, network.norm1.running_var])


def test_statistics_follow_as_asked() -> None:
    pair = members(Residual, 2)
    found = {
        mode: polish(pair[0], pair, UNLABELLED, Polish(2, 1e-3, batchnorm=mode, views="mixed"))
        for mode in ("eval", "train", "reestimate")
    }
    before = statistics(pair[0])
    assert torch.equal(statistics(found["eval"].model), before)
    trained, measured = (found[mode].model for mode in ("train", "reestimate"))
    assert not torch.equal(statistics(trained), before)
    assert torch.equal(trained.conv1.weight, measured.conv1.weight)
    assert not torch.equal(statistics(trained), statistics(measured))
    onefold.fold.distillation.training.reestimate(trained, UNLABELLED)  # without views
    assert equal(trained, measured)
    assert not measured.training


def test_the_trial_that_is_timed_changes_nothing() -> None:
    pair = members(Residual, 2)
    one = polish(pair[0], pair, UNLABELLED, Polish(1, 1e-30, batchnorm="train"))
    own = pair[0].train()
    with torch.no_grad():
        order = torch.randperm(4, generator=torch.Generator().manual_seed(0)).tolist()
        for k in order:
            own(UNLABELLED[k])
    torch.testing.assert_close(statistics(own), statistics(one.model))


def test_the_time_is_estimated_before_and_told_with_what_it_took() -> None:
    pair = members(Plain, 2)
    few, many = (polish(pair[0], pair, UNLABELLED, passes=n) for n in (1, 40))
    assert 0 < few.estimated_seconds < many.estimated_seconds
    assert many.seconds > few.seconds > 0
    assert {"estimated_seconds", "seconds"} <= set(few.to_dict())
    report = onefold.merge(
        pair,
        UNLABELLED,
        align="none",
        repair="none",
        polish=Polish(1, views="mixed+flips"),
        fold="average",
    ).report
    assert report.polished["estimated_seconds"] > 0
    assert "views mixed+flips" in str(report)


def test_a_network_that_went_away_from_the_ensemble_is_told() -> None:
    pair = members(Residual, 2)
    good = polish(pair[0], pair, UNLABELLED, passes=2, lr=1e-3)
    assert good.notes == []
    assert good.start > good.divergence[-1]
    own = polish(pair[0], pair[:1], UNLABELLED, passes=1, lr=1e-5)  # nothing to learn
    assert own.notes == []
    wild = Polish(passes=1, lr=0.3)
    (note,) = polish(pair[0], pair, UNLABELLED, wild).notes
    assert "went up in distillation, from 0." in note
    report = onefold.merge(pair, UNLABELLED, align="none", repair="none", polish=wild).report
    assert any("take a lower rate" in warning for warning in report.warnings)


def test_a_long_time_is_told_in_words() -> None:
    assert told(2.0) == ""
    assert told(41.2) == ", about 41 s"
    assert told(400.0) == ", about 7 min"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, "temperature of distillation is 0.0; it must be greater than 0"),
        ({"temperature": float("inf")}, "temperature of distillation is inf"),
        ({"warmup": 1.0}, "warmup of distillation is 1.0; give a share"),
        ({"warmup": -0.1}, "warmup of distillation is -0.1"),
        ({"warmup": float("nan")}, "warmup of distillation is nan"),
        ({"schedule": "cosin"}, "no schedule 'cosin'; did you mean 'cosine'"),
    ],
)
def test_settings_are_checked(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Polish(**fields)  # type: ignore[arg-type]
