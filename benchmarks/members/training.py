"""The training of one member: SGD under a one-cycle rate, resumable at every epoch, same seed, same
bits.

Everything that is drawn at random depends on the seed and the number of the epoch alone. So the
state that is kept after an epoch is the weights, the momenta and the curve.

SGD with Nesterov momentum 0.9. The rate rises linearly from a tenth of its highest value over the
first fifth of the steps and falls to zero by a cosine (Smith & Topin 2019, arXiv 1708.07120). Every
image is shifted by up to an eighth of its size and flipped with probability 1/2.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common.data import Data, Part
from benchmarks.members.roster import BRANCH_LR, SETTINGS, Member, Settings

WARM_UP, MOMENTUM = 0.2, 0.9


def rate(step: int, total: int, highest: float) -> float:
    """The learning rate of step `step` of `total`."""
    done = step / total
    if done < WARM_UP:
        return highest * (0.1 + 0.9 * done / WARM_UP)
    return highest * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def padded(images: Tensor) -> Tensor:
    """Images with a border of an eighth of their size, (n, h, w, c): `crops` reads them."""
    most = images.shape[-1] // 8
    return F.pad(images, (most, most, most, most)).permute(0, 2, 3, 1).contiguous()


def crops(framed: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
    """Shifted and flipped images (n, c, h, w) at `index`, each with draws of its own, channels
    last.

    The draws are made on the CPU, so that they are the same on every device.
    """
    size = round(framed.shape[1] * 0.8)
    most, count = framed.shape[1] - size, len(index)
    down, right = torch.randint(0, most + 1, (2, count, 1), generator=generator)
    columns = torch.arange(size).expand(count, size)
    flip = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(flip, columns.flip(1), columns) + right
    rows = torch.arange(size) + down
    places = (index[:, None, None], rows[:, :, None], columns[:, None, :])
    cut = framed[tuple(place.to(framed.device) for place in places)]
    return cut.permute(0, 3, 1, 2)


def wrong_labels(labels: Tensor, share: float, seed: int) -> Tensor:
    """Labels of which a share is replaced by one of the other classes, drawn evenly."""
    generator = torch.Generator().manual_seed(1_000_003 + seed)
    classes = int(labels.max()) + 1
    other = labels + torch.randint(1, classes, labels.shape, generator=generator)
    chosen = torch.rand(labels.shape, generator=generator) < share
    return torch.where(chosen, other % classes, labels)


@torch.no_grad()
def accuracy(model: nn.Module, part: Part) -> float:
    """Accuracy in percent."""
    model.eval()
    device = next(model.parameters()).device
    pairs = ((x.to(device), y.to(device)) for x, y in part.batches())
    hits = sum(int((model(x).argmax(1) == y).sum()) for x, y in pairs)
    return 100.0 * hits / len(part)


class Training:
    """One member's training, from its beginning or from where it was broken off.

    state: the file that is written after every epoch and read at the start.
    model: with the weights to start from; it is trained in place, on its device.
    """

    def __init__(
        self,
        member: Member,
        model: nn.Module,
        data: Data,
        state: Path,
        settings: Settings | None = None,
    ) -> None:
        self.member, self.model, self.state = member, model, state
        self.settings = settings or SETTINGS[member.network]
        self.device = next(model.parameters()).device
        index = member.share.indices(data.seen.labels)
        labels = data.seen.labels[index]
        labels = wrong_labels(labels, member.wrong, member.seed) if member.wrong else labels
        self.labels = labels.to(self.device)
        self.images = padded(data.seen.images[index]).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            model.parameters(),
            self.settings.lr,
            momentum=MOMENTUM,
            nesterov=True,
            weight_decay=self.settings.weight_decay,
        )
        self.curve: list[dict[str, float]] = []
        if state.exists():
            kept = torch.load(state, weights_only=True, map_location=self.device)
            model.load_state_dict(kept["model"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.curve = kept["curve"]

    @property
    def done(self) -> bool:
        """Whether every epoch is trained."""
        return len(self.curve) >= self.member.epochs

    def run(self, say: Callable[[str], None] = print, until: float = math.inf) -> None:
        """Train the epochs that are missing; none begins after the time `until` (`time.time()`)."""
        while not self.done and time.time() < until:
            entry = self._epoch(len(self.curve))
            self.curve.append(entry)
            self._keep()
            say(
                f"{self.member.name}: epoch {len(self.curve)} of {self.member.epochs}, loss"
                f" {entry['loss']:.3f}, {entry['cpu_seconds']:.0f} CPU-seconds"
            )

    def step(self, images: Tensor, labels: Tensor, lr: float) -> Tensor:
        """One step of the optimizer; returns the sum of the losses and the number of hits, (2,)."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        logits = self.model(images)
        loss = F.cross_entropy(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        hits = (logits.detach().argmax(1) == labels).sum()
        return torch.stack([loss.detach() * len(labels), hits.to(loss.dtype)])

    def _epoch(self, epoch: int) -> dict[str, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        generator = torch.Generator().manual_seed(1000 * self.member.seed + epoch)
        order = torch.randperm(len(self.labels), generator=generator)
        batch = self.settings.batch
        steps = len(order) // batch
        highest = self.settings.lr * (BRANCH_LR if self.member.origin else 1.0)
        self.model.train()
        total = torch.zeros(2, device=self.device)
        for step, index in enumerate(order[: steps * batch].split(batch)):
            lr = rate(epoch * steps + step, self.member.epochs * steps, highest)
            images = crops(self.images, index, generator)
            total += self.step(images, self.labels[index.to(self.device)], lr)
        loss, hits = (total / (steps * batch)).tolist()
        return {
            "loss": round(loss, 4),
            "accuracy": round(100.0 * hits, 2),
            "seconds": round(time.perf_counter() - wall, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
        }

    def _keep(self) -> None:
        kept: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve,
        }
        part = self.state.with_suffix(".part")
        torch.save(kept, part)
        os.replace(part, self.state)
