"""The code of the guide on methods of one's own works in Python, in a command and in a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from doc_pages import Small, pattern_images
from guide_pages import blocks, commands, run_page, trained

import onefold as of
from onefold.alignment import feature_matchers
from onefold.fold import folds
from onefold.sources import build_model
from onefold.sources.data import data_sources
from onefold.tasks import own_metrics, tasks

PAGE = "guides/own_methods.md"


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    folds.unregister("median", "leaning")
    feature_matchers.unregister("by_size")
    data_sources.unregister("waves")
    tasks.unregister("absolute")
    own_metrics.unregister("largest")


def test_in_python(root: Path) -> None:
    loader, _ = pattern_images()
    models = [trained(loader, k) for k in range(3)]
    data = [x for x, _ in loader]
    names = run_page(root, PAGE, {"models": models, "data": data})
    assert type(names["result"].model) is Small
    for mapped, model in zip(names["aligned"], models, strict=True):
        torch.testing.assert_close(mapped(data[0]), model(data[0]), rtol=1e-3, atol=1e-3)
    states = [model.state_dict() for model in models]
    middle = names["median"](states, [1 / 3] * 3, reference=0)
    assert torch.equal(
        middle["last.bias"], torch.stack([s["last.bias"] for s in states]).median(0).values
    )


def test_the_matcher_finds_a_shuffled_network_again(root: Path) -> None:
    loader, _ = pattern_images()
    model, shuffled = trained(loader, 0), Small()
    run_page(root, PAGE, {"models": [model, trained(loader, 1)], "data": [x for x, _ in loader]})
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    state = {
        name: value[:, order]
        if name == "last.weight"
        else value[order]
        if name.startswith(("first", "norm")) and value.dim()
        else value
        for name, value in model.state_dict().items()
    }
    shuffled.load_state_dict(state)
    aligned = of.align([model, shuffled.eval()], [x for x, _ in loader], method="by_size")
    original, found = (m.state_dict() for m in aligned.apply([model, shuffled]))
    for name, value in original.items():
        torch.testing.assert_close(found[name], value)


def own_file(root: Path, folder: Path) -> None:
    """The definitions of the page, without what is tried with them, as a file."""
    parts = [
        block.split("\n\n\nresult =")[0].split("\n\n\naligned =")[0] for block in blocks(root, PAGE)
    ]
    (folder / "my_methods.py").write_text("\n\n".join(parts[:-1]))


def test_in_a_command_and_in_a_recipe(
    root: Path, tmp_path: Path, onefold: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own_file(root, tmp_path)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        of.save(build_model("digits?width=4"), f"{name}.safetensors")
    ((_, *command),) = commands(root, PAGE)
    done = onefold(*command)
    assert done.status == 0, done.err
    assert "--lean" in onefold("merge", "--use", "my_methods.py", "--help").out
    (recipe,) = blocks(root, PAGE, "yaml")
    content = {
        "model": "digits?width=4",
        "members": ["a.safetensors", "b.safetensors"],
        "data": "waves",
        "output": "again.safetensors",
        **yaml.safe_load(recipe),
    }
    Path("mine.yaml").write_text(yaml.safe_dump(content))
    assert "--trust" in onefold("merge", "mine.yaml").err
    done = onefold("merge", "mine.yaml", "--trust")
    assert done.status == 0, done.err
    assert Path("again.safetensors").read_bytes() == Path("merged.safetensors").read_bytes()


def test_the_task_and_the_metric_decide(root: Path) -> None:
    loader, _ = pattern_images()
    models = [trained(loader, k) for k in range(2)]
    run_page(root, PAGE, {"models": models, "data": [x for x, _ in loader]})
    numbers = [(x, models[0](x).detach()) for x, _ in loader]
    soft = of.SoftMerge(models, "model")
    done = of.fit_gates(soft, numbers, task="absolute", metrics="largest", by="largest", steps=5)
    assert done.scores["gated"].by == "largest"
    scores = of.evaluate(models[0], numbers, task="absolute", metrics="largest", by="largest")
    assert scores["largest"] == 0
    assert scores.kind.highest is False
