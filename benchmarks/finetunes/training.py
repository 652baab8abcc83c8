"""One fine-tune: all weights of the encoder and a linear head, trained on one task.

Everything random depends on the seed. A finished fine-tune is a folder in the cache; it is not
trained again. One that was killed has left nothing and begins anew.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.finetunes.network import HEAD, load_encoder, pooled, right
from benchmarks.finetunes.texts import LENGTH, TASKS, Parts, load, shuffled_batches
from benchmarks.tasks.examples import Examples
from benchmarks.tasks.sentences import encoder_folder

LOG = "finetune.json"
PARTS = 3  # points of a curve
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


@dataclass(frozen=True)
class Settings:
    """Of all fine-tunes: AdamW, a linear warm-up over a tenth of the steps, then a cosine to 0.

    lr: of the encoder, embeddings included. head_factor: the head's rate over the encoder's; a head
    starts from zeros, so that all seeds of a task start alike.
    """

    lr: float = 1e-4
    head_factor: float = 10.0
    steps: int = 240
    batch: int = 32
    weight_decay: float = 0.01
    length: int = LENGTH


@dataclass(frozen=True)
class Finetune:
    """One of them: the task, the seed, the settings."""

    task: str
    seed: int
    settings: Settings = Settings()

    @property
    def name(self) -> str:
        return f"{self.task}-{self.seed}"

    @property
    def folder(self) -> Path:
        return state_folder() / self.name


def state_folder() -> Path:
    """Where fine-tunes are kept: ONEFOLD_FINETUNES, or ~/.cache/onefold/finetunes."""
    home = Path.home() / ".cache" / "onefold" / "finetunes"
    return Path(os.environ.get("ONEFOLD_FINETUNES", home))


def base_folder(origin: Path | None = None) -> Path:
    """The encoder before any fine-tune, in the form of the fine-tunes: without its pooler."""
    place = state_folder() / "base"
    if not place.exists():
        origin = origin or encoder_folder()
        _keep(load_encoder(origin), origin, place)
    return place


def finetuned(own: Finetune) -> dict[str, Any]:
    """The log of a fine-tune, which is trained if that was not done before."""
    log = own.folder / LOG
    if log.exists():
        kept: dict[str, Any] = json.loads(log.read_text())
        if kept["settings"] != asdict(own.settings):
            raise ValueError(f"{own.folder} has other settings; remove it to train anew.")
        return kept
    base = base_folder()
    encoder, head, found = trained(own, base)
    _keep(encoder, base, own.folder, head, found)
    return found


def trained(own: Finetune, base: Path) -> tuple[nn.Module, nn.Linear, dict[str, Any]]:
    """The encoder, the head and the log of a training."""
    wall, cpu = time.perf_counter(), time.process_time()
    parts = load(own.task, base)
    encoder = load_encoder(base)
    width = encoder.config.hidden_size  # type: ignore[union-attr]
    head = nn.Linear(width, TASKS[own.task].classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(own.seed)  # of dropout
        curve = _train(encoder, head, parts, own)
    log = {
        "task": own.task,
        "seed": own.seed,
        "settings": asdict(own.settings),
        "sentences": len(parts.seen),
        "held out": len(parts.held),
        "curve": curve,
        "wall seconds": round(time.perf_counter() - wall, 1),
        "cpu seconds": round(time.process_time() - cpu, 1),
        "versions": versions(),
    }
    return encoder.eval(), head.eval(), log


def _train(encoder: nn.Module, head: nn.Linear, parts: Parts, own: Finetune) -> list[Any]:
    settings = own.settings
    generator = torch.Generator().manual_seed(own.seed)
    rates = (settings.lr, settings.lr * settings.head_factor)
    groups = [{"params": list(part.parameters())} for part in (encoder, head)]
    wanted = [p for group in groups for p in group["params"]]
    optimizer = torch.optim.AdamW(
        groups, settings.lr, weight_decay=settings.weight_decay, fused=True
    )
    curve: list[dict[str, Any]] = []
    losses: list[float] = []
    encoder.train()
    for step, index in enumerate(_endless(parts.seen, settings.batch, generator)):
        if step and step % (settings.steps // PARTS) == 0:
            curve.append(_point(encoder, head, parts, step, losses))
            print(own.name, settings.lr, curve[-1], flush=True)
            losses = []
        if step == settings.steps:
            return curve
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * _share(step / settings.steps)
        batch = parts.seen[index].batch()
        labels = batch.pop("labels")
        loss = nn.functional.cross_entropy(head(pooled(encoder, **batch)), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(wanted, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    raise AssertionError("batches are endless")


def _endless(examples: Examples, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    while True:
        yield from shuffled_batches(examples, size, generator)


def _point(
    encoder: nn.Module, head: nn.Linear, parts: Parts, step: int, losses: list[float]
) -> dict[str, Any]:
    share = float(right(encoder.eval(), head, parts.held).float().mean())
    encoder.train()
    loss = round(sum(losses) / len(losses), 4)
    return {"step": step, "loss": loss, "held-out accuracy": round(100 * share, 2)}


def _share(done: float) -> float:
    return min(1.0, 10 * done) * 0.5 * (1 + math.cos(math.pi * done))


def versions() -> dict[str, str]:
    """What a result was computed with."""
    import transformers

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _keep(
    encoder: nn.Module,
    origin: Path,
    place: Path,
    head: nn.Linear | None = None,
    log: dict[str, Any] | None = None,
) -> None:
    """Write a folder that appears in full or not at all."""
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    encoder.save_pretrained(part)  # type: ignore[operator]
    for name in TOKENIZER:
        if (origin / name).exists():
            shutil.copy(origin / name, part / name)
    if head is not None:
        save_file(head.state_dict(), part / HEAD)
    if log is not None:
        (part / LOG).write_text(json.dumps(log, indent=1) + "\n")
    part.rename(place)
