"""Members of the benchmarks of tasks: trained once, and kept outside the repository.

Everything random depends on a member's seed. Its file is named by all that it depends on and lies
in the folder that ONEFOLD_TASKS_STATE names (default: ~/.cache/onefold/tasks). Training that was
stopped begins with the first member that has no file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.tasks.examples import Parts
from benchmarks.tasks.registry import Benchmark, Group


def state_folder() -> Path:
    """Where trained members are kept."""
    home = Path.home() / ".cache" / "onefold" / "tasks"
    return Path(os.environ.get("ONEFOLD_TASKS_STATE", home))


@dataclass(frozen=True)
class Member:
    """One network: the benchmark, the entry of `Parts.seen` that it learns, and the seed."""

    benchmark: Benchmark
    seen: str
    seed: int

    @property
    def file(self) -> Path:
        """Where the weights are kept."""
        own = self.benchmark
        told = repr((own.name, self.seen, self.seed, own.sizes, own.training))
        number = hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
        return state_folder() / f"{own.name}-{self.seen}-{self.seed}-{number}.safetensors"

    @property
    def seconds(self) -> float:
        """Of the training, as it was noted beside the weights."""
        noted = json.loads(self.file.with_suffix(".json").read_text())
        return float(noted["seconds"])

    def model(self, parts: Parts) -> nn.Module:
        """The network in evaluation mode; it is trained if that was not done before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = self.benchmark.build()
            if self.file.exists():
                model.load_state_dict(load_file(self.file))
                return model.eval()
            start = time.perf_counter()
            train(model, self.benchmark, parts.seen[self.seen], self.seed)
        _keep(model, self.file, time.perf_counter() - start)
        return model.eval()


def members(benchmark: Benchmark, group: Group) -> list[Member]:
    """The members of a group, in order."""
    return [Member(benchmark, seen, seed) for seen, seed in group.members]


def outputs_of(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    """What a network returns for a labelled batch, as a tensor, and the labels."""
    if isinstance(batch, dict):
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        found = model(**inputs)
        return getattr(found, "logits", found), batch["labels"]
    inputs, labels = batch
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs), labels


@torch.enable_grad()
def train(model: nn.Module, benchmark: Benchmark, examples: Any, seed: int) -> None:
    """Train a network in place; parameters that want no gradient stay."""
    own = benchmark.training
    steps = own.epochs * math.ceil(len(examples) / own.batch)
    wanted = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(wanted, own.lr, weight_decay=own.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    step = 0
    model.train().to(memory_format=torch.channels_last if own.bfloat16 else torch.preserve_format)
    for _ in range(own.epochs):
        for index in torch.randperm(len(examples), generator=generator).split(own.batch):
            for group in optimizer.param_groups:
                group["lr"] = own.lr * _rate(step / steps)
            step += 1
            if len(index) > 1:  # batch norm needs two
                with torch.autocast("cpu", torch.bfloat16, enabled=own.bfloat16):
                    outputs, labels = outputs_of(model, examples[index].batch())
                loss = benchmark.loss(outputs.float(), labels)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(wanted, 1.0)
                optimizer.step()


def _rate(done: float) -> float:
    return min(1.0, 10 * done + 0.1) * 0.5 * (1 + math.cos(math.pi * done))


def _keep(model: nn.Module, file: Path, seconds: float) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".json").write_text(json.dumps({"seconds": round(seconds, 1)}) + "\n")
    part = file.with_suffix(f".{os.getpid()}.part")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, part)
    part.replace(file)
