"""The benchmark of pruning: costs are counted right, budgets are kept, a run compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.common.data import REPOSITORY, load_data
from benchmarks.pruning import cases, run, tuning
from benchmarks.pruning.cases import Case, Data
from benchmarks.pruning.cost import multiply_adds, parameters
from benchmarks.pruning.largest_units import narrowed
from benchmarks.pruning.methods import METHODS, Method, NotRunError, Task, largest_ratio, methods
from benchmarks.pruning.model_folding import axes_of, first_units
from benchmarks.pruning.networks import LSTM, MobileNet, ViT
from benchmarks.pruning.table import differences, reasons, shown
from onefold.sources.networks import digits, resnet20, vgg11

IMAGE = torch.zeros(1, 3, 32, 32)
WORDS = torch.arange(1, 8)[None]


def task(network: nn.Module, example: Tensor, budget: float = 0.5) -> Task:
    labels = torch.zeros(len(example), dtype=torch.int64)
    return Task(network.eval(), [example], [labels], example, budget)


def test_multiply_adds_are_those_of_the_equations() -> None:
    block = 64 * 96 * 96 * 4 + 64 * 96 * 384 * 2 + 2 * 64 * 64 * 96
    assert multiply_adds(ViT(), IMAGE) == 4 * block + 64 * 48 * 96 + 960
    gates = 4 * 128 * (64 + 128)
    assert multiply_adds(LSTM(10, 6), WORDS) == 7 * gates + 128 * 6
    depthwise = nn.Conv2d(3, 3, 3, padding=1, groups=3)
    assert multiply_adds(depthwise, IMAGE) == 3 * 9 * 32 * 32
    assert parameters(depthwise) == 30


def test_counting_leaves_the_network_as_it_was() -> None:
    network = MobileNet().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    multiply_adds(network, IMAGE)
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_the_largest_units_stay_and_the_budget_is_kept() -> None:
    network = LSTM(10, 6, width=8, hidden=12).eval()
    with torch.no_grad():
        for unit in (1, 4, 7):
            network.lstm.weight_hh_l0[:, unit] *= 50
        same, small = narrowed(network, 1.0), narrowed(network, 0.25)
        assert torch.equal(same(WORDS), network(WORDS))
    assert torch.equal(small.head.weight, network.head.weight[:, [1, 4, 7]])
    own = task(network, WORDS)
    found = methods()["largest units"].run(own)
    assert multiply_adds(found, WORDS) <= 0.5 * multiply_adds(network, WORDS)
    share = largest_ratio(lambda s: narrowed(network, s), own)
    assert not own.fits(narrowed(network, share + 1 / 8))


@pytest.mark.parametrize("build", [lambda: vgg11(0.125, norm=True), resnet20, MobileNet])
def test_the_axes_of_model_folding_are_all_that_belong_together(build: type) -> None:
    network = build().eval()
    axes = axes_of(network)
    same = first_units(network, axes, 1.0)
    half = first_units(network, axes, 0.5)
    with torch.no_grad():
        x = torch.rand(2, 3, 32, 32)
        assert torch.equal(same(x), network(x))
        assert half(x).shape == (2, 10)
    assert multiply_adds(half, IMAGE) < 0.35 * multiply_adds(network, IMAGE)


def test_peers_without_their_code_say_so() -> None:
    own = task(vgg11(0.125, norm=True), IMAGE)
    for name in ("model folding", "intra-fusion"):
        with pytest.raises(NotRunError, match="checkout"):
            methods()[name].run(own)
    with pytest.raises(NotRunError, match="LSTM"):
        methods()["largest units"].run(own)


def test_torch_pruning_keeps_the_budget() -> None:
    pytest.importorskip("torch_pruning")
    network = digits(8).eval()
    with torch.no_grad():
        before = network(torch.ones(1, 1, 8, 8))
    example = torch.rand(1, 1, 8, 8)
    for name in ("torch-pruning magnitude local", "torch-pruning Taylor global"):
        found = methods()[name].run(task(network, example))
        assert multiply_adds(found, example) <= 0.5 * multiply_adds(network, example)
    with torch.no_grad():
        assert torch.equal(network(torch.ones(1, 1, 8, 8)), before)


def test_a_run_measures_compares_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEFOLD_PRUNING_STATE", str(tmp_path / "state"))
    whole = load_data("digits")
    data = Data(whole.seen, whole.unlabelled, whole.choices, whole.test)
    case = Case("tiny", "digits", lambda: digits(8), lambda: data)
    monkeypatch.setattr(Case, "trained", lambda self: self.build().eval())
    monkeypatch.setitem(run.CASES, "tiny", case)
    choice = tmp_path / "choice.json"
    choice.write_text(json.dumps({"tiny": {"fine-tuning": 0.05, "distillation": 1e-3}}))
    monkeypatch.setattr(run, "CHOICE", choice)

    def refused(task: Task) -> nn.Module:
        raise NotRunError("it is not here")

    calls: list[float] = []

    def same(task: Task) -> nn.Module:
        calls.append(task.budget)
        return task.copy()

    given = {
        "own": Method("own", same, own=True),
        "peer": Method("peer", same),
        "absent": Method("absent", refused),
    }
    for name, method in given.items():
        monkeypatch.setitem(METHODS, name, method)
    one = run.Run("tiny", tmp_path, None)
    for name, method in given.items():
        if one.narrow(name, method, 0.5):
            for stage in run.STAGES[1:]:
                one.follow(name, 0.5, stage)
    one.compare()
    again = run.Run("tiny", tmp_path, None).record
    row = again["own, 0.5x"]
    assert row["fine-tuned"] > row["raw"] + 10
    assert row["multiply_adds"] == again["original"]["multiply_adds"]
    for found in differences(again)["0.5x"].values():
        assert (found["difference"], found["low"], found["high"]) == (0.0, 0.0, 0.0)
        assert found["peer"] == "peer"
    assert reasons(again) == ["absent (it is not here)"]
    assert len(shown(again)) == 2 + 1 + 2
    again_run = run.Run("tiny", tmp_path, None)
    again_run.follow("own", 0.5, "fine-tuned")  # is there already
    assert calls == [0.5, 0.5]


def test_fine_tuning_is_the_same_for_all_and_changes_nothing_it_is_given() -> None:
    whole = load_data("digits")
    data = Data(whole.seen, whole.unlabelled, whole.choices, whole.test)
    case = Case("tiny", "digits", lambda: digits(8), lambda: data)
    network = case.build().eval()
    own = tuning.Bench(case, data, network, tuning.Examples(data.tuning()))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, second = (tuning.fine_tuned(network, own, 0.05) for _ in range(2))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_part_is_cut_with_its_labels() -> None:
    cut = cases.part_of(load_data("digits").seen, slice(10))
    assert len(cut) == 10
    assert torch.equal(cut.labels, load_data("digits").seen.labels[:10])


def test_what_the_page_says_is_what_was_measured() -> None:
    text = " ".join((REPOSITORY / "docs" / "evidence" / "pruning.md").read_text().split())
    results = REPOSITORY / "benchmarks" / "results" / "pruning"
    vgg, resnet, mobile, trec, sst2 = (
        json.loads((results / f"{name}.json").read_text())
        for name in ("vgg11-same-0", "resnet20-halves-0", "mobilenet", "lstm-trec", "lstm-sst2")
    )

    def best(record: dict[str, Any], stage: str) -> float:
        peer = differences(record)["0.5x"][stage]["peer"]
        return float(record[f"{peer}, 0.5x"][stage])

    def pair(record: dict[str, Any]) -> str:
        unit = " %" if record is vgg else ""
        return f"{record['onefold, 0.5x']['raw']:.1f}{unit} of {record['original']['accuracy']:.1f}"

    own, last = vgg["onefold, 0.5x"], mobile["onefold, 0.5x"]
    peers = [f"{best(record, 'recalibrated'):.1f}" for record in (vgg, resnet, mobile)]
    assert (
        f"VGG11/4 has {pair(vgg)}, ResNet-20 {pair(resnet)} and a MobileNet {pair(mobile)}; the"
        f" best peers with batch norms re-estimated have {peers[0]}, {peers[1]} and {peers[2]}"
    ) in text
    assert (
        f"VGG11/4 has {own['fine-tuned']:.1f} against {best(vgg, 'fine-tuned'):.1f} and the"
        f" MobileNet {last['fine-tuned']:.1f} against {best(mobile, 'fine-tuned'):.1f}"
    ) in text
    assert all(0.7 < one["raw"] - one["fine-tuned"] < 1.3 for one in (own, last))
    distilled = differences(vgg)["0.7x"]["distilled"]
    assert distilled["low"] > 0
    assert f"leave VGG11/4 {distilled['difference']:.1f} above the best peer" in text
    found = [differences(record)["0.5x"] for record in (trec, sst2)]
    raw, tuned = ([each[stage]["difference"] for each in found] for stage in ("raw", "fine-tuned"))
    assert (
        f"is {raw[0]:.1f} and {raw[1]:.1f} points below, of which fine-tuning leaves"
        f" {tuned[0]:.1f} and {tuned[1]:.1f}"
    ) in text
    for record in (trec, sst2):
        assert record["onefold, 0.5x"]["raw"] >= record["original"]["accuracy"]
