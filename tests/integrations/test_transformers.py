"""The callbacks for the Trainer of transformers, in tiny trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from loops import Net, batches, same
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

import onefold as of
from onefold.errors import SettingError, SubspaceError
from onefold.integrations import Average

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from onefold.integrations.transformers import AveragingCallback, SubspaceCallback  # noqa: E402


class WithLoss(Net):
    """A network as those of transformers: takes keywords, returns its loss beside the logits."""

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        logits = super().forward(x)
        output = transformers.modeling_outputs.SequenceClassifierOutput(logits=logits)
        if labels is not None:
            output["loss"] = F.cross_entropy(logits, labels)
        return output


class Kept(transformers.TrainerCallback):
    """As the loggers that come before: keeps what is logged."""

    def __init__(self) -> None:
        self.values: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any, **kwargs: Any) -> None:
        self.values.append(dict(logs))


class Own(transformers.Trainer):
    """The penalty added as without the callback."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(**inputs)
        loss = outputs["loss"] + (model.diversity_penalty() if model.training else 0)
        return (loss, outputs) if return_outputs else loss


def items(n: int = 128, seed: int = 0) -> list[dict[str, Any]]:
    return [{"x": x, "labels": y} for x, y in batches(n, seed).dataset]


def loader(n: int = 128, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    return [{"x": x, "labels": y} for x, y in batches(n, seed)]


def model_of(shape: str | None = None, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return of.Subspace(WithLoss(), shape=shape) if shape else WithLoss()


def trainer_of(
    model: nn.Module, folder: Path, epochs: int = 2, kind: Any = None, **options: Any
) -> Any:
    settings: dict[str, Any] = {
        "num_train_epochs": epochs,
        "per_device_train_batch_size": 16,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "report_to": "none",
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "logging_steps": 4,
    }
    arguments = transformers.TrainingArguments(str(folder), **(settings | options))
    trainer = (kind or transformers.Trainer)(
        model, arguments, train_dataset=items(), eval_dataset=items(64, 1), callbacks=[Kept()]
    )
    trainer.kept = next(c for c in trainer.callback_handler.callbacks if isinstance(c, Kept))
    return trainer


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 3}])
def test_the_penalty_is_that_of_a_trainer_which_adds_it_itself(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    own, by_callback, without = model_of("line"), model_of("line"), model_of("line")
    trainer_of(own, tmp_path, kind=Own, **options).train()
    trainer = trainer_of(by_callback, tmp_path, **options)
    trainer.add_callback(SubspaceCallback(trainer))
    trainer.train()
    same(own, by_callback)
    trainer_of(without, tmp_path, **options).train()
    with pytest.raises(AssertionError):
        same(own, without)


def test_the_loggers_receive_penalty_and_scores(tmp_path: Path) -> None:
    space = model_of("line")
    trainer = trainer_of(space, tmp_path, eval_strategy="epoch", metric_for_best_model="loss")
    trainer.add_callback(SubspaceCallback(trainer))
    trainer.train()
    penalties = [each for each in trainer.kept.values if "subspace_penalty" in each]
    assert [each["subspace_penalty"] >= 0 for each in penalties] == [True] * 4
    assert [each["step"] for each in trainer.state.log_history if "loss" in each] == [4, 8, 12, 16]
    (*_, last) = [each for each in trainer.kept.values if "eval_vertex_1_accuracy" in each]
    for point, network in (
        ("midpoint", space.midpoint(loader())),
        ("vertex_0", space.vertex(0, loader())),
        ("vertex_1", space.vertex(1, loader())),
    ):
        scores = of.evaluate(network, loader(64, 1))
        assert last[f"eval_{point}_accuracy"] == pytest.approx(scores.accuracy, abs=0.05)
    assert not space._forward_hooks


def test_scores_are_metrics_of_the_evaluation_and_leave_no_trace(tmp_path: Path) -> None:
    scored, plain = model_of("simplex"), model_of("simplex")
    options = {"eval_strategy": "steps", "eval_steps": 3}
    trainer = trainer_of(scored, tmp_path, **options)
    trainer.add_callback(SubspaceCallback(trainer, statistics=loader()))
    trainer.train()
    trainer.args.per_device_eval_batch_size = 64
    metrics = trainer.evaluate()
    scores = of.evaluate(scored.vertex(2, loader()), loader(64, 1))
    assert metrics["eval_vertex_2_nll"] == pytest.approx(scores.nll, rel=1e-4)
    trainer = trainer_of(plain, tmp_path)
    trainer.add_callback(SubspaceCallback(trainer))
    trainer.train()
    same(scored, plain)


def test_a_training_resumed_from_a_checkpoint_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    def trained(model: nn.Module, folder: Path, start: int, **options: Any) -> Any:
        trainer = trainer_of(model, folder, epochs=4, **options)
        averaging = AveragingCallback(trainer, Average(start=start))
        trainer.add_callback(SubspaceCallback(trainer))
        trainer.add_callback(averaging)
        trainer.train(resume_from_checkpoint=model.seed == 5)
        return averaging

    whole, half = model_of("line"), model_of("line")
    average = trained(whole, tmp_path / "whole", 10)
    folder = tmp_path / "half"
    trained(half, folder, 10, save_strategy="steps", save_steps=12, max_steps=12)
    resumed = of.Subspace(WithLoss(), shape="line", seed=5)
    again = trained(resumed, folder, 10)
    same(whole, resumed)
    same(average.averaged(), again.averaged())
    assert again._running.averaged == 22

    (folder / "checkpoint-12" / "onefold_average_uniform.safetensors").unlink()
    with pytest.raises(SettingError, match="so that the average of the steps so far is lost"):
        trained(of.Subspace(WithLoss(), shape="line", seed=5), folder, 10)
    late = trained(of.Subspace(WithLoss(), shape="line", seed=5), folder, 20)
    assert late._running.averaged == 12


@pytest.mark.parametrize("settings", [Average(), Average("exponential", start=4, decay=0.8)])
def test_the_average_is_that_of_torch_with_statistics_of_its_own(
    tmp_path: Path, settings: Average
) -> None:
    network = model_of()
    trainer = trainer_of(network, tmp_path, eval_strategy="epoch")
    averaging = AveragingCallback(trainer, settings, statistics=loader())
    trainer.add_callback(averaging)
    by_hand: list[AveragedModel] = []

    class ByHand(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step > settings.first_step(16):
                if not by_hand:
                    ema = torch.optim.swa_utils.get_ema_multi_avg_fn(settings.decay)
                    function = ema if settings.kind == "exponential" else None
                    by_hand.append(AveragedModel(kwargs["model"], multi_avg_fn=function))
                by_hand[0].update_parameters(kwargs["model"])

    trainer.add_callback(ByHand())
    trainer.train()
    averaged = averaging.averaged()
    wanted = of.recalibrate(by_hand[0].module, loader())
    torch.testing.assert_close(dict(wanted.state_dict()), dict(averaged.state_dict()))
    assert type(averaged) is WithLoss
    assert not torch.equal(averaged.last.weight, network.last.weight)
    logged = [each for each in trainer.kept.values if "eval_average_accuracy" in each]
    scores = of.evaluate(averaged, loader(64, 1))
    assert logged[-1]["eval_average_accuracy"] == pytest.approx(scores.accuracy)


def test_what_the_penalty_cannot_join_is_refused(tmp_path: Path) -> None:
    trainer = trainer_of(model_of(), tmp_path)
    trainer.add_callback(SubspaceCallback(trainer))
    with pytest.raises(SubspaceError, match="a WithLoss, holds no subspace; give the trainer one"):
        trainer.train()
    trainer = trainer_of(model_of("line"), tmp_path)
    trainer.compute_loss_func = lambda outputs, labels, **options: outputs["logits"].sum()
    trainer.add_callback(SubspaceCallback(trainer))
    with pytest.raises(SubspaceError, match="label_smoothing_factor or compute_loss_func"):
        trainer.train()


def test_hooks_of_a_training_that_broke_off_are_gone(tmp_path: Path) -> None:
    space, plain = model_of("line"), model_of("line")
    broken = trainer_of(space, tmp_path)
    broken.add_callback(SubspaceCallback(broken))

    class Stop(transformers.TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("stopped")

    broken.add_callback(Stop())
    with pytest.raises(RuntimeError, match="stopped"):
        broken.train()
    for each in (space, plain):
        trainer = trainer_of(each, tmp_path)
        trainer.add_callback(SubspaceCallback(trainer))
        trainer.train()
    same(space, plain)


def test_a_network_of_transformers(tmp_path: Path) -> None:
    config = transformers.DistilBertConfig(
        vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=8
    )
    torch.manual_seed(0)
    space = of.Subspace(transformers.DistilBertForSequenceClassification(config), shape="line")
    texts = [{"input_ids": torch.randint(1, 50, (6,)), "labels": k % 2} for k in range(32)]
    trainer = trainer_of(space, tmp_path, eval_strategy="epoch")
    trainer.train_dataset = trainer.eval_dataset = texts
    averaging = AveragingCallback(trainer)
    trainer.add_callback(SubspaceCallback(trainer))
    trainer.add_callback(averaging)
    trainer.train()
    metrics = trainer.evaluate()
    for name in ("eval_midpoint_nll", "eval_vertex_0_nll", "eval_average_nll"):
        assert metrics[name] == pytest.approx(0.7, abs=0.4)
    assert metrics["eval_loss"] == pytest.approx(metrics["eval_midpoint_nll"], rel=1e-3)
    midpoint = averaging.averaged().midpoint()
    assert type(midpoint) is transformers.DistilBertForSequenceClassification
