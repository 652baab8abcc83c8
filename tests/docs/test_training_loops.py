"""The code of docs/guides/training_loops.md runs, and does what the page says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from doc_pages import Small, pattern_images, run_section, untested_sections
from short_texts import short_texts
from torch import distributed
from torch.utils.data import DataLoader

import onefold as of

PAGE = "guides/training_loops.md"


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
    return lambda title, **names: run_section(root, PAGE, title, own | names)


@pytest.fixture
def process_group() -> Iterator[None]:
    """A group of this process alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_every_section_with_code_belongs_to_a_test_here(root: Path) -> None:
    assert untested_sections(root, PAGE, Path(__file__).read_text()) == []


def test_a_plain_loop(section: Any, images: tuple[DataLoader, DataLoader]) -> None:
    names = section("A plain loop")
    for found in (names["midpoint"], names["averaged"]):
        assert type(found) is Small
        assert of.evaluate(found, images[1]).accuracy > 0.8
    assert not torch.equal(names["midpoint"].last.weight, names["averaged"].last.weight)


def test_lightning(section: Any, images: tuple[DataLoader, DataLoader]) -> None:
    pytest.importorskip("pytorch_lightning")
    names = section("Lightning")
    for found in (names["midpoint"], names["averaged"]):
        assert type(found) is Small
        assert of.evaluate(found, images[1]).accuracy > 0.7
    logged = names["trainer"].callback_metrics
    for name in (
        "accuracy",
        "subspace/penalty",
        "subspace/midpoint/accuracy",
        "subspace/midpoint/nll",
        "subspace/midpoint/ece",
        "subspace/vertex_0/accuracy",
        "average/accuracy",
    ):
        assert name in logged
    longer = names["pl"].Trainer(
        max_epochs=5, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    longer.fit(names["Lit"](), images[0], ckpt_path="loop.ckpt")
    assert longer.global_step == 5 * len(images[0])


def test_the_trainer_of_transformers(section: Any) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    own = {"texts": short_texts(256, 0), "held_out": short_texts(64, 1)}
    names = section("The Trainer of transformers", **own)
    trainer = names["trainer"]
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] < 0.5 < 0.6931
    for name in ("eval_midpoint_accuracy", "eval_vertex_0_nll", "eval_average_accuracy"):
        assert name in metrics
    assert any("subspace_penalty" in each for each in trainer.state.log_history)
    assert list(Path("trained").glob("checkpoint-*/onefold_average_uniform.safetensors"))
    loaded = transformers.DistilBertForSequenceClassification.from_pretrained("midpoint").eval()
    ids = torch.stack([each["input_ids"] for each in short_texts(16, 2)])
    midpoint = names["space"].midpoint()
    torch.testing.assert_close(loaded(input_ids=ids).logits, midpoint(input_ids=ids).logits)


@pytest.mark.usefixtures("process_group")
def test_several_processes(section: Any, images: tuple[DataLoader, DataLoader]) -> None:
    import onefold

    names = section("Several processes", onefold=onefold, torch=torch, F=torch.nn.functional)
    assert names["space"].drawn == len(images[0])
