"""The code of docs/subspaces.md runs as it stands there, section by section, and does what the page
says; so does examples/subspace.py.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from doc_pages import Small, pattern_images, run_section, untested_sections
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import onefold as of

HIGH, LOW = 8, 100  # tokens below HIGH make a text of class 1


@pytest.fixture(scope="module")
def images() -> tuple[DataLoader, DataLoader]:
    return pattern_images()


@pytest.fixture
def section(
    root: Path,
    images: tuple[DataLoader, DataLoader],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    monkeypatch.chdir(tmp_path)
    own = {"network": Small, "loader": images[0], "test": images[1]}
    return lambda title, **names: run_section(root, "subspaces.md", title, own | names)


def trained(loader: DataLoader, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = Small()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        for x, y in loader:
            loss = F.cross_entropy(model(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


def test_every_block_of_the_page_belongs_to_a_test_here(root: Path) -> None:
    assert untested_sections(root, "subspaces.md", Path(__file__).read_text()) == []


def test_a_plain_loop(section: Any, images: tuple[DataLoader, DataLoader]) -> None:
    names = section("In a plain loop")
    losses = names["losses"]
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])
    assert type(names["midpoint"]) is Small
    assert of.evaluate(names["midpoint"], images[1]).accuracy > 0.8


def test_lightning(section: Any, images: tuple[DataLoader, DataLoader]) -> None:
    pytest.importorskip("pytorch_lightning")
    names = section("In Lightning")
    assert type(names["midpoint"]) is Small
    assert of.evaluate(names["midpoint"], images[1]).accuracy > 0.8
    assert float(names["trainer"].callback_metrics["accuracy"]) > 0.5
    again = names["Lit"].load_from_checkpoint("subspace.ckpt")
    torch.testing.assert_close(
        dict(again.space.state_dict()), dict(names["lit"].space.state_dict()), rtol=0, atol=0
    )
    longer = names["pl"].Trainer(
        max_epochs=5, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    longer.fit(names["Lit"](), images[0], ckpt_path="subspace.ckpt")
    assert longer.global_step == 5 * len(images[0])


def texts(count: int, seed: int) -> list[dict[str, Any]]:
    """Short texts whose class is whether they hold a token below HIGH, at a place that varies."""
    random = torch.Generator().manual_seed(seed)
    found = []
    for k in range(count):
        tokens = torch.randint(HIGH, LOW, (8,), generator=random)
        if k % 2:
            tokens[torch.randperm(8, generator=random)[:3]] = torch.randint(
                1, HIGH, (3,), generator=random
            )
        found.append(
            {
                "input_ids": tokens,
                "attention_mask": torch.ones(8, dtype=torch.long),
                "labels": k % 2,
            }
        )
    return found


def test_the_hugging_face_trainer(section: Any) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    names = section("With the Hugging Face Trainer", texts=texts(256, 0), held_out=texts(64, 1))
    space, trainer = names["space"], names["trainer"]
    assert trainer.model_accepts_loss_kwargs is False
    assert trainer.evaluate()["eval_loss"] < 0.5 < 0.6931
    loaded = transformers.DistilBertForSequenceClassification.from_pretrained("midpoint").eval()
    ids = torch.stack([each["input_ids"] for each in texts(16, 2)])
    torch.testing.assert_close(loaded(input_ids=ids).logits, space.midpoint()(input_ids=ids).logits)
    (last,) = sorted(
        Path("trained").glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1])
    )[-1:]
    saved = of.load(last / "model.safetensors")
    torch.testing.assert_close(
        {name: saved[name] for name in saved}, dict(space.state_dict()), rtol=0, atol=0
    )


def test_resuming_the_hugging_face_trainer(section: Any) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    names = section("With the Hugging Face Trainer", texts=texts(32, 0), held_out=texts(16, 1))
    before = names["space"].drawn
    arguments = copy.copy(names["arguments"])
    arguments.num_train_epochs = 7
    fresh = of.Subspace(
        names["DistilBertForSequenceClassification"](names["config"]), shape="line", seed=5
    )
    trainer = names["SubspaceTrainer"](fresh, arguments, train_dataset=texts(32, 0))
    trainer.train(resume_from_checkpoint=True)
    assert before == 12
    assert (fresh.seed, fresh.drawn, trainer.state.global_step) == (0, 14, 14)


def test_points_midpoints_and_ensembles(
    section: Any, images: tuple[DataLoader, DataLoader]
) -> None:
    names = section("Points, midpoints, ensembles")
    x, _ = next(iter(images[1]))
    plain = Small()
    plain.load_state_dict(of.load("midpoint.safetensors"))
    torch.testing.assert_close(plain.eval()(x), names["midpoint"](x))
    assert all(
        type(names[name]) is Small and not names[name].training
        for name in ("midpoint", "vertex", "between")
    )
    torch.testing.assert_close(
        names["ensemble"](x).logsumexp(-1), torch.zeros(len(x)), rtol=0, atol=1e-5
    )
    with pytest.raises(of.OnefoldError, match="needs data"):
        names["space"].midpoint()


def test_between_two_trained_networks(section: Any, images: tuple[DataLoader, DataLoader]) -> None:
    loader, test = images
    a, b = (trained(loader, seed) for seed in (0, 1))
    names = section("Between two trained networks", a=a, b=b)
    for end, own in ((0, a), (2, b)):
        torch.testing.assert_close(
            names["curve"].vertex(end, loader).first.weight, own.first.weight
        )
    bent, straight = (
        of.evaluate(names[name].at(0.5, loader), test) for name in ("curve", "straight")
    )
    assert bent.nll < straight.nll
    x, _ = next(iter(test))
    torch.testing.assert_close(names["aligned"][1](x), b(x), rtol=1e-3, atol=1e-3)
    assert len(names["shorter"].vertices) == 3


def test_growing(section: Any) -> None:
    names = section("Growing")
    line, triangle = names["line"], names["triangle"]
    assert len(triangle.vertices) == 3
    for k in (0, 1):
        torch.testing.assert_close(
            dict(triangle.vertices[k].state_dict()),
            dict(line.vertices[k].state_dict()),
            rtol=0,
            atol=0,
        )


def test_networks_without_reset_parameters(section: Any) -> None:
    names = section("Networks without reset_parameters")
    space = names["space"]
    with pytest.raises(of.OnefoldError, match="pass init="):
        of.Subspace(names["Scaled"](), shape="line")
    assert type(space.midpoint()) is names["Scaled"]
    first, second = (vertex.get_parameter("scale") for vertex in space.vertices)
    assert not torch.equal(first, second)


def test_saving_and_resuming(section: Any, images: tuple[DataLoader, DataLoader]) -> None:
    names = section("Saving and resuming")
    batches = list(images[0])

    def steps(space: nn.Module, optimiser: torch.optim.Optimizer, these: list[Any]) -> None:
        for x, y in these:
            optimiser.zero_grad()
            (F.cross_entropy(space(x), y) + space.diversity_penalty()).backward()
            optimiser.step()

    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(3)
        space = of.Subspace(Small(), shape="curve", seed=1)
        return space, torch.optim.SGD(space.parameters(), lr=0.05, momentum=0.9)

    whole, optimiser = made()
    steps(whole, optimiser, batches)
    first, optimiser = made()
    steps(first, optimiser, batches[:4])
    names["space"].load_state_dict(first.state_dict())
    names["optimiser"].load_state_dict(optimiser.state_dict())
    steps(names["space"], names["optimiser"], batches[4:])
    torch.testing.assert_close(
        dict(names["space"].state_dict()), dict(whole.state_dict()), rtol=0, atol=0
    )


def test_mixed_precision_and_accumulation(
    section: Any, images: tuple[DataLoader, DataLoader]
) -> None:
    names = section("Mixed precision, accumulation, distributed training")
    assert names["space"].drawn == 2
    assert {p.dtype for p in names["space"].parameters()} == {torch.float32}
    assert bool(names["loss"].isfinite())


def test_what_the_page_says_raises() -> None:
    space, x = of.Subspace(nn.Sequential(nn.Linear(4, 3)), shape="line"), torch.randn(5, 4)
    loss = space(x).sum()
    space.midpoint()
    with pytest.raises(of.OnefoldError, match="no longer stands"):
        loss.backward()
    loss = space(x).sum()
    space.eval()
    with pytest.raises(of.OnefoldError, match="no longer stands"):
        loss.backward()
    with pytest.raises(of.OnefoldError, match="belongs to a step of training"):
        space.diversity_penalty()
    space.train()
    space(x)
    penalty = space.diversity_penalty()
    with torch.no_grad():
        next(space.parameters()).mul_(2)
    with pytest.raises((RuntimeError, of.OnefoldError), match="modified"):
        penalty.backward()


def test_a_new_point_compiles_nothing_anew() -> None:
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    counter = CompileCounter()
    space = of.Subspace(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), shape="simplex")
    compiled = torch.compile(space, backend=counter)
    for _ in range(5):
        (compiled(torch.ones(6, 4)).sum() + space.diversity_penalty()).backward()
    assert space.drawn == 5
    assert counter.frame_count == 1


def test_the_example_runs(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(root / "src"), str(root / "examples"))),
    }
    command = [sys.executable, "-c", "from subspace import main; main(epochs=2)"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for row in (
        "plain",
        "midpoint",
        "vertex 2",
        "ensemble of 3",
        "edge between two vertices",
        "line between two networks",
    ):
        assert re.search(rf"^{row}.* \d+\.\d+", done.stdout, flags=re.MULTILINE), (row, done.stdout)
