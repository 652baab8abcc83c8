"""Reports of gates, rounds and subspaces say what was learned from and chosen on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_networks import Plain, loader, members
from torch import nn
from watched_loaders import Spy, Watched, facts_of, size

import onefold.recipe.persist.run as persisting
import onefold.recipe.subspace.run as spanning
from onefold.fold import SoftMerge, fit_gates

DIGITS = ["--model", "digits?width=4", "--data", "sklearn:digits"]


@pytest.fixture(scope="module")
def plain() -> list[nn.Module]:
    return members(Plain, 2)


@pytest.mark.slow
def test_gates_report_what_they_learned_from_and_chose_on(
    onefold: Callable, members: list[Path], tmp_path: Path
) -> None:
    flags = [
        "--level",
        "layer",
        "--samples",
        "5000",
        "--steps",
        "7",
        "--no-screen",
        "--eval-split",
        "test",
        "--eval-samples",
        "50",
    ]
    result = onefold("soft", *members[:2], *DIGITS, *flags, "-o", tmp_path / "s.safetensors")
    assert result.status == 0, result.err
    facts = facts_of(tmp_path / "s.report.json")
    data = json.loads((tmp_path / "s.report.json").read_text())["data"]["soft"]
    chosen_on = next(iter(data["held-out scores"].values()))["n"]
    everything = 1257  # of the training split, far fewer than were asked for
    assert facts["examples chosen on"] == chosen_on == round(0.3 * everything)
    assert facts["examples learned from"] == everything - chosen_on
    assert facts["steps"] == len(data["losses"]) == 7
    assert facts["evaluation examples"] == 50
    assert facts["align"] in ("none", "permutation", "cca")
    assert facts["stochastic"] is False  # "auto" of layers
    assert facts["reference"] == f"member {data['reference']}"
    assert facts["held-out data"] == "a share of 0.3 of the labelled data"


@pytest.mark.slow
def test_gates_count_their_examples(plain: list[nn.Module]) -> None:
    data, held_out = Watched(loader(120, batch=50)), Watched(loader(40, seed=5))
    given = fit_gates(SoftMerge(plain, "model"), data, held_out=held_out, steps=2)
    assert (
        given.examples
        == {"learned from": data.longest, "chosen on": held_out.longest}
        == {"learned from": 120, "chosen on": 40}
    )
    alone = fit_gates(SoftMerge(plain, "model"), data, steps=2, fallback=False)
    assert alone.examples == {"learned from": 120, "chosen on": 0}


@pytest.mark.slow
def test_rounds_report_what_they_trained_on(
    onefold: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Spy(persisting.train_rounds)
    monkeypatch.setattr(persisting, "train_rounds", train)
    flags = ["--rounds", "2", "--epochs", "1", "--kernel", "function", "--reference", "50"]
    data = [*DIGITS, "--samples", "100", "--held-out", "0.2", "--batch-size", "20"]
    result = onefold("persist", *data, *flags, "-o", tmp_path / "out")
    assert result.status == 0, result.err
    rounds = train.calls[0][0][1]
    facts = facts_of(next((tmp_path / "out").glob("*.json")))
    assert facts["training examples"] == len(rounds.epochs(0).data.images) == 80
    assert facts["validation examples"] == size(rounds.validation) == facts["scored examples"] == 20
    assert facts["scored on"] == "validation data"
    assert (
        facts["examples that predictions are compared on"] == 20
    )  # a batch, not the 50 that were asked for
    assert facts["warm up"] == pytest.approx(0.1)
    assert rounds.training.warm_up is None


@pytest.mark.slow
def test_a_subspace_reports_what_it_trained_on(
    onefold: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Spy(spanning.train)
    monkeypatch.setattr(spanning, "train", train)
    flags = [
        "--shape",
        "line",
        "--epochs",
        "1",
        "--samples",
        "60",
        "--batch-size",
        "20",
        "--eval-split",
        "test",
        "--eval-samples",
        "30",
    ]
    result = onefold("subspace", *DIGITS, *flags, "-o", tmp_path / "out")
    assert result.status == 0, result.err
    facts = facts_of(next((tmp_path / "out").glob("*.json")))
    assert len(train.calls) == 1
    assert facts["training examples"] == 60
    assert facts["evaluation examples"] == 30
    assert facts["vertices"] == 2
    assert facts["warm up"] == pytest.approx(0.1)
    assert facts["epochs"] == 1
