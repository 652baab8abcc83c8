"""What an encoder answers in all tasks, each with its own head, and how that is kept in JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.finetunes.network import load_encoder, load_head, right
from benchmarks.finetunes.texts import Parts, load
from benchmarks.tasks.examples import Examples

CHOICES = 200  # held-out sentences of a task between merges


@dataclass(frozen=True)
class Bench:
    """The tasks, the sentences of each, and the head that its fine-tune was trained with."""

    parts: Mapping[str, Parts]
    heads: Mapping[str, nn.Linear]

    def held(self) -> Iterator[tuple[str, Examples]]:
        """The sentences that choose."""
        for task, parts in self.parts.items():
            yield task, parts.held[:CHOICES]

    def test(self) -> Iterator[tuple[str, Examples]]:
        """The sentences of published figures."""
        for task, parts in self.parts.items():
            yield task, parts.test

    def on_held(self, encoder: nn.Module) -> dict[str, float]:
        """Accuracy in each task, on the sentences that choose."""
        return {
            task: float(right(encoder, self.heads[task], examples).float().mean())
            for task, examples in self.held()
        }

    def on_test(self, encoder: nn.Module) -> dict[str, Any]:
        """For each task, which test sentences are answered rightly."""
        return {
            task: packed(right(encoder, self.heads[task], examples))
            for task, examples in self.test()
        }


def bench(folders: Mapping[str, Path]) -> Bench:
    """The bench of fine-tunes, by task."""
    return Bench(
        {task: load(task, folder) for task, folder in folders.items()},
        {task: load_head(folder) for task, folder in folders.items()},
    )


def packed(answers: Tensor) -> dict[str, Any]:
    """Rights and wrongs as JSON: their number, how many are right, and all of them as bits."""
    bits = np.packbits(answers.numpy().astype(bool))
    return {"n": len(answers), "right": int(answers.sum()), "bits": bits.tobytes().hex()}


def unpacked(kept: Mapping[str, Any]) -> Any:
    """(n,) of 0 and 1, float64."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(kept["bits"]), dtype=np.uint8))
    return bits[: kept["n"]].astype(np.float64)


def normalised(found: Mapping[str, float], whole: Mapping[str, float]) -> float:
    """The mean over the tasks of an accuracy over that of the fine-tune."""
    return sum(found[task] / whole[task] for task in whole) / len(whole)


def state_of(folder: Path) -> dict[str, Tensor]:
    """The encoder's tensors."""
    return {name: tensor.detach() for name, tensor in load_encoder(folder).state_dict().items()}


def equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether two states have the same bits."""
    return set(first) == set(second) and all(torch.equal(first[k], second[k]) for k in first)
