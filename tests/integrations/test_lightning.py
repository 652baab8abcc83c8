"""The callbacks for Lightning's Trainer, in tiny trainings."""

from __future__ import annotations

import contextlib
import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from loops import Net, batches, module_of, same, small, trainer_of
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

import onefold as of
from onefold.errors import SettingError, SubspaceError
from onefold.integrations import Average

pl = pytest.importorskip("pytorch_lightning")
from onefold.integrations import lightning  # noqa: E402
from onefold.integrations.lightning import AveragingCallback, SubspaceCallback  # noqa: E402


class Logger(pl.loggers.Logger):
    """Keeps every value that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[float]] = {}
        self.name, self.version = "kept", 0  # type: ignore[misc]

    name = version = None

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            self.values.setdefault(name, []).append(value)


@pytest.fixture(params=["pytorch_lightning", "lightning.pytorch"])
def package(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip(request.param)


def test_the_penalty_is_that_of_a_loop_which_adds_it_itself(package: Any) -> None:
    own, by_callback = small(shape="line"), small(shape="line")
    trainer_of(package).fit(module_of(package, own, penalty=True), batches())
    trainer_of(package, SubspaceCallback()).fit(module_of(package, by_callback), batches())
    same(own, by_callback)


def test_without_the_callback_there_is_no_penalty() -> None:
    own, without = small(shape="line"), small(shape="line")
    trainer_of(pl).fit(module_of(pl, own, penalty=True), batches())
    trainer_of(pl).fit(module_of(pl, without), batches())
    with pytest.raises(AssertionError):
        same(own, without)


def test_accumulated_gradients_and_clipping() -> None:
    options = {"accumulate_grad_batches": 3, "gradient_clip_val": 0.5}
    own, by_callback = small(shape="simplex"), small(shape="simplex")
    trainer_of(pl, **options).fit(module_of(pl, own, penalty=True), batches())
    trainer_of(pl, SubspaceCallback(), **options).fit(module_of(pl, by_callback), batches())
    torch.testing.assert_close(
        dict(own.state_dict()), dict(by_callback.state_dict()), rtol=1e-5, atol=1e-6
    )


def test_scores_leave_no_trace_in_the_training() -> None:
    """Shuffled batches, with a generator of their own and with workers that persist."""
    for options in (
        {},
        {"generator": torch.Generator().manual_seed(3)},
        {"num_workers": 1, "persistent_workers": True},
    ):
        with_scores, without = small(shape="line"), small(shape="line")
        for space, every in ((with_scores, 1), (without, 0)):
            torch.manual_seed(7)
            loader = batches(64, shuffle=True, **copy.deepcopy(options))
            trainer = trainer_of(pl, SubspaceCallback(every=every), val_check_interval=2)
            trainer.fit(module_of(pl, space), loader, batches(seed=1))
        same(with_scores, without)


def test_readings_of_the_training_batches_would_leave_a_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What restores the generators is needed: the same without it trains to other weights."""
    monkeypatch.setattr(lightning, "order_kept", lambda *data: contextlib.nullcontext())
    spaces = small(shape="line"), small(shape="line")
    for space, every in zip(spaces, (1, 0), strict=True):
        torch.manual_seed(7)
        trainer = trainer_of(pl, SubspaceCallback(every=every))
        trainer.fit(module_of(pl, space), batches(64, shuffle=True), batches(seed=1))
    with pytest.raises(AssertionError):
        same(*spaces)


def test_a_scaled_loss_gets_a_scaled_penalty() -> None:
    """float16 gradients are scaled, by 256 here, and so must the penalty be."""
    from pytorch_lightning.plugins.precision import MixedPrecision

    def plugin() -> Any:
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        precision = MixedPrecision("16-mixed", "cpu", scaler=scaler)
        precision.forward_context = contextlib.nullcontext  # float32 sums, so that they compare
        return precision

    own, by_callback = small(shape="line"), small(shape="line")
    trainer_of(pl, plugins=[plugin()]).fit(module_of(pl, own, penalty=True), batches())
    trainer = trainer_of(pl, SubspaceCallback(), plugins=[plugin()])
    trainer.fit(module_of(pl, by_callback), batches())
    torch.testing.assert_close(
        dict(own.state_dict()), dict(by_callback.state_dict()), rtol=1e-5, atol=1e-6
    )
    assert trainer.precision_plugin.scaler.get_scale() == 256


@pytest.mark.slow
def test_several_processes() -> None:
    """Two processes train as one that adds the penalty itself does; all ranks log their mean."""
    options = {"strategy": "ddp_fork", "devices": 2, "accumulate_grad_batches": 2}
    own, by_callback = small(shape="simplex"), small(shape="simplex")
    loaders = batches(), batches(seed=1)
    trainer_of(pl, **options).fit(module_of(pl, own, penalty=True), *loaders)
    trainer = trainer_of(pl, SubspaceCallback(), AveragingCallback(Average(start=2)), **options)
    trainer.fit(module_of(pl, by_callback), *loaders)
    torch.testing.assert_close(dict(own.state_dict()), dict(by_callback.state_dict()))
    assert 0 <= float(trainer.callback_metrics["average/accuracy"]) <= 1
    accuracy = float(trainer.callback_metrics["subspace/midpoint/accuracy"])
    alone = of.evaluate(by_callback.midpoint(loaders[0]), loaders[1]).accuracy
    assert accuracy == pytest.approx(alone, abs=0.02)


def test_the_loop_s_logger_receives_penalty_and_scores(package: Any) -> None:
    logger, space = Logger(), small(shape="line")
    loader, held_out = batches(), batches(seed=1)
    trainer = trainer_of(package, SubspaceCallback(), logger=logger, log_every_n_steps=1, epochs=3)
    trainer.fit(module_of(package, space), loader, held_out)
    assert len(logger.values["subspace/penalty"]) == 3 * len(loader)
    assert min(logger.values["subspace/penalty"]) >= 0
    for point, network in (
        ("midpoint", space.midpoint(loader)),
        ("vertex_0", space.vertex(0, loader)),
        ("vertex_1", space.vertex(1, loader)),
    ):
        scores = of.evaluate(network, held_out)
        values = logger.values[f"subspace/{point}/accuracy"]
        assert len(values) == 3
        assert values[-1] == pytest.approx(scores.accuracy)
        assert logger.values[f"subspace/{point}/nll"][-1] == pytest.approx(scores.nll, rel=1e-5)
    assert "subspace/midpoint/accuracy" in trainer.callback_metrics
    assert "subspace/vertex_2/accuracy" not in logger.values


def test_settings_of_the_scores() -> None:
    logger, space = Logger(), small(shape="curve")
    callback = SubspaceCallback(
        ends=False, every=2, score=lambda network: {"weights": float(network.last.weight.sum())}
    )
    trainer = trainer_of(pl, callback, logger=logger, epochs=4)
    trainer.fit(module_of(pl, space), batches(), batches(seed=1))
    found = {name: values for name, values in logger.values.items() if "/m" in name or "/v" in name}
    assert {name: len(values) for name, values in found.items()} == {"subspace/midpoint/weights": 2}


def test_several_validation_loaders_and_given_data() -> None:
    logger = Logger()
    trainer = trainer_of(pl, SubspaceCallback(ends=False), logger=logger)

    class Two(type(module_of(pl, small(shape="line")))):  # type: ignore[misc]
        def validation_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
            super().validation_step(batch, index)

    trainer.fit(Two(), batches(), [batches(seed=1), batches(seed=2)])
    assert "subspace/midpoint/accuracy/dataloader_idx_1" in logger.values


def test_a_training_resumed_from_a_checkpoint_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = small(shape="line")
    trainer_of(pl, SubspaceCallback(), epochs=4).fit(
        module_of(pl, whole), batches(), batches(seed=1)
    )
    first = trainer_of(pl, SubspaceCallback(), epochs=2)
    first.fit(module_of(pl, small(shape="line")), batches(), batches(seed=1))
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed = small(seed=5, shape="line")
    trainer_of(pl, SubspaceCallback(), epochs=4).fit(
        module_of(pl, resumed), batches(), batches(seed=1), ckpt_path=tmp_path / "half.ckpt"
    )
    same(whole, resumed)


def manual(model: Any, outer: bool) -> Any:
    """Two optimisers: one of a subspace, one of another network, whose loss comes first."""

    class Lit(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.model, self.other = model, Net()

        def training_step(self, batch: Any, index: int) -> None:
            first, second = self.optimizers()
            other = F.cross_entropy(self.other(batch[0]), batch[1])
            second.zero_grad()
            self.manual_backward(other)
            self.seen = [p.grad is None for p in self.model.parameters()]
            second.step()
            loss = F.cross_entropy(self.model(batch[0]), batch[1])
            first.zero_grad()
            self.manual_backward(loss + self.model.diversity_penalty() if outer else loss)
            first.step()
            first.zero_grad()

        def configure_optimizers(self) -> Any:
            return [
                torch.optim.SGD(self.model.parameters(), lr=0.1),
                torch.optim.Adam(self.other.parameters()),
            ]

    return Lit()


def test_several_optimisers() -> None:
    """The penalty joins the loss of the subspace, and not that of the other network."""
    own, by_callback = small(shape="line"), small(shape="line")
    torch.manual_seed(3)
    trainer_of(pl).fit(manual(own, outer=True), batches())
    torch.manual_seed(3)
    lit = manual(by_callback, outer=False)
    averaging = AveragingCallback(Average(start=0.5), network="other")
    trainer_of(pl, SubspaceCallback(), averaging).fit(lit, batches())
    same(own, by_callback)
    assert all(lit.seen)
    assert averaging._running.averaged == len(batches())


def test_a_penalty_that_reaches_no_loss_is_told() -> None:
    class Elsewhere(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.model, self.other = small(shape="line"), Net()

        def training_step(self, batch: Any, index: int) -> None:
            self.manual_backward(F.cross_entropy(self.other(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    with pytest.warns(UserWarning, match="never added"):
        trainer_of(pl, SubspaceCallback(), epochs=1).fit(Elsewhere(), batches())


def test_a_module_without_a_subspace_is_refused() -> None:
    with pytest.raises(SubspaceError, match=r"Lit holds no subspace; .*onefold\.Subspace"):
        trainer_of(pl, SubspaceCallback()).fit(module_of(pl, small()), batches())


# ---- averages


def averaged_by_hand(settings: Average, steps: int) -> tuple[Net, AveragedModel]:
    """The same training in a plain loop, with torch's own average."""
    network, loader = small(), batches()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    ema = torch.optim.swa_utils.get_ema_multi_avg_fn(settings.decay)
    average = AveragedModel(network, multi_avg_fn=ema if settings.kind == "exponential" else None)
    seen = 0
    while seen < steps:
        for x, y in loader:
            optimiser.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimiser.step()
            seen += 1
            if seen > settings.first_step(steps):
                average.update_parameters(network)
    return network, average


@pytest.mark.parametrize("settings", [Average(), Average("exponential", start=4, decay=0.8)])
def test_the_average_is_that_of_torch_with_statistics_of_its_own(
    package: Any, settings: Average
) -> None:
    network, loader = small(), batches()
    callback = AveragingCallback(settings)
    trainer_of(package, callback).fit(module_of(package, network), loader)
    alone, average = averaged_by_hand(settings, 2 * len(loader))
    torch.testing.assert_close(dict(alone.state_dict()), dict(network.state_dict()))
    by_callback = callback.averaged()
    wanted = of.recalibrate(average.module, loader)
    torch.testing.assert_close(dict(wanted.state_dict()), dict(by_callback.state_dict()))
    assert type(by_callback) is Net
    assert not by_callback.training
    assert not torch.equal(by_callback.last.weight, network.last.weight)  # the module is as trained
    assert all(p.requires_grad for p in by_callback.parameters())


def test_an_average_counts_optimiser_steps_and_begins_late() -> None:
    callback = AveragingCallback(Average(start=2, every=2))
    trainer_of(pl, callback, accumulate_grad_batches=2).fit(module_of(pl, small()), batches())
    assert callback._running.seen == 8
    assert callback._running.averaged == 3  # after steps 3, 5 and 7


def test_the_average_is_scored_beside_the_loop() -> None:
    logger, network = Logger(), small()
    callback, held_out = AveragingCallback(), batches(seed=1)
    trainer = trainer_of(pl, callback, logger=logger, epochs=4)
    trainer.fit(module_of(pl, network), batches(), held_out)
    assert len(logger.values["average/accuracy"]) == 1  # in the last quarter alone
    scores = of.evaluate(callback.averaged(), held_out)
    assert logger.values["average/accuracy"][-1] == pytest.approx(scores.accuracy)
    assert len(logger.values["accuracy"]) == 4


def test_a_resumed_average_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    def callbacks() -> list[Any]:
        return [AveragingCallback(Average(start=4)), AveragingCallback(Average("exponential", 4))]

    whole = callbacks()
    trainer_of(pl, *whole, epochs=3).fit(module_of(pl, small()), batches())
    first = trainer_of(pl, *callbacks(), epochs=2)
    lit = module_of(pl, small())
    first.fit(lit, batches())
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed = callbacks()
    trainer_of(pl, *resumed, epochs=3).fit(
        module_of(pl, small(seed=4)), batches(), ckpt_path=tmp_path / "half.ckpt"
    )
    for one, other in zip(whole, resumed, strict=True):
        assert one._running.averaged == other._running.averaged == 20
        same(one.averaged(), other.averaged())


def test_a_subspace_can_be_averaged() -> None:
    space, averaging = small(shape="line"), AveragingCallback()
    trainer_of(pl, SubspaceCallback(), averaging).fit(module_of(pl, space), batches())
    averaged = averaging.averaged()
    assert type(averaged) is of.Subspace
    assert of.evaluate(averaged.midpoint(batches()), batches(seed=1)).accuracy > 0.3


def test_what_cannot_be_averaged_is_refused() -> None:
    callback = AveragingCallback(network="head")
    with pytest.raises(SettingError, match="Lit has no module 'head'"):
        trainer_of(pl, callback).fit(module_of(pl, small()), batches())
    lit = module_of(pl, small())
    lit.second = Net()
    with pytest.raises(SettingError, match=re.escape("(model, second); say with network=")):
        trainer_of(pl, AveragingCallback()).fit(lit, batches())
    with pytest.raises(SettingError, match="did you mean 'uniform'"):
        AveragingCallback("unifrom")
    late = AveragingCallback(Average(start=1000))
    trainer_of(pl, late).fit(module_of(pl, small()), batches())
    with pytest.raises(SettingError, match="averaging begins after step 1000, and 16 were taken"):
        late.averaged()
    endless = trainer_of(pl, AveragingCallback(), epochs=-1)
    with pytest.raises(SettingError, match="start as a number of steps"):
        endless.fit(module_of(pl, small()), batches())
