"""Training with labels or towards a teacher, for many passes or a few.

The rate rises over the first fifth of the steps and falls to zero by a cosine, as in
`benchmarks.members.training`. Images are shifted and flipped, sentences stay as they are. All that
is drawn depends on the seed and on the number of the pass alone, so that a training goes on where
it was broken off, and every method is tuned on the same batches.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common.data import Part
from benchmarks.members.training import crops, padded, rate
from benchmarks.pruning.sentences import cut


@dataclass(frozen=True)
class Settings:
    """passes: over the examples. lr: the highest rate. optimizer: "sgd", with Nesterov momentum
    0.9, or "adamw". decay: of the weights. batch: examples of a step. seed: of what is drawn.
    """

    passes: int
    lr: float
    optimizer: str = "sgd"
    decay: float = 5e-4
    batch: int = 128
    seed: int = 0


class Examples:
    """Labelled examples, of which batches are drawn.

    part: images (n, c, h, w) or numbers of words (n, t), and labels (n,).
    """

    def __init__(self, part: Part) -> None:
        self.labels = part.labels
        self.pictures = part.images.dim() == 4
        self.inputs = padded(part.images) if self.pictures else part.images

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(inputs, labels) at `index`; images are shifted and flipped."""
        if self.pictures:
            return crops(self.inputs, index, generator), self.labels[index]
        return cut(self.inputs[index]), self.labels[index]


def optimizer_of(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The optimizer over all parameters."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), settings.lr, weight_decay=settings.decay)
    return torch.optim.SGD(
        model.parameters(), settings.lr, 0.9, weight_decay=settings.decay, nesterov=True
    )


class Training:
    """A training in place, from its beginning or from where it was broken off.

    state: the file that is written after every pass and read at the start; None: none.
    teacher: a network whose outputs are learned (Hinton, Vinyals & Dean 2015, arXiv 1503.02531); no
    labels are read then. None: the labels are learned.
    """

    def __init__(
        self,
        model: nn.Module,
        examples: Examples,
        settings: Settings,
        state: Path | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        self.model, self.examples, self.settings, self.state = model, examples, settings, state
        self.teacher = teacher
        if examples.pictures:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = optimizer_of(model, settings)
        self.curve: list[dict[str, float]] = []
        if state is not None and state.exists():
            kept = torch.load(state, weights_only=True)
            model.load_state_dict(kept["model"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.curve = kept["curve"]

    def run(self, say: Callable[[str], None] = lambda _: None) -> list[dict[str, float]]:
        """Train the passes that are missing; loss, accuracy and CPU-seconds of each."""
        with torch.enable_grad():
            while len(self.curve) < self.settings.passes:
                self.curve.append(self._pass(len(self.curve)))
                self._keep()
                say(f"pass {len(self.curve)} of {self.settings.passes}: {self.curve[-1]}")
        self.model.eval()
        return self.curve

    def _pass(self, number: int) -> dict[str, float]:
        start = time.process_time()
        own = self.settings
        generator = torch.Generator().manual_seed(1000 * own.seed + number)
        order = torch.randperm(len(self.examples), generator=generator)
        steps = len(order) // own.batch
        self.model.train()
        losses, hits = 0.0, 0
        for step, index in enumerate(order[: steps * own.batch].split(own.batch)):
            lr = rate(number * steps + step, own.passes * steps, own.lr)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            inputs, labels = self.examples.batch(index, generator)
            logits = self.model(inputs)
            loss = F.cross_entropy(logits, self._wanted(inputs, labels))
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            losses += float(loss.detach())
            if self.teacher is None:
                hits += int((logits.detach().argmax(1) == labels).sum())
        return {
            "loss": round(losses / steps, 4),
            "accuracy": round(100 * hits / (steps * own.batch), 2),
            "cpu_seconds": round(time.process_time() - start, 1),
        }

    def _wanted(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """The labels (n,), or the teacher's probabilities (n, classes)."""
        if self.teacher is None:
            return labels
        with torch.no_grad():
            found: Tensor = self.teacher(inputs).softmax(1)
        return found

    def _keep(self) -> None:
        if self.state is None:
            return
        kept: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve,
        }
        part = self.state.with_suffix(".part")
        torch.save(kept, part)
        os.replace(part, self.state)
