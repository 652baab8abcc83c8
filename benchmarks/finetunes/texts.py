"""Five tasks of English sentences, each in three parts.

| part | what it is | purpose |
|---|---|---|
| seen | four fifths of the training sentences | fine-tunes and heads |
| held | the other fifth, 200 of each task where merges are chosen | settings, scales, densities |
| test | the test file, of SUBJ its first 1,000 | published figures, nothing else |

SST-2 and TREC have an official test split. CR, MPQA and SUBJ have none; what stands in their files
is a fixed random fifth. Phrases of MPQA are short and repeat: 616 of its 2,120 test phrases are in
its training file as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.common.data import data_folder
from benchmarks.tasks.examples import Examples
from onefold.sources import build_data

LENGTH = 48  # tokens, longer sentences are cut
HELD = 5  # one sentence in so many is held out


@dataclass(frozen=True)
class Task:
    """One data set: its name in words, its classes, and where its columns are.

    official: the test split is the one that everybody uses. most: test sentences at most.
    """

    title: str
    classes: int
    official: bool
    columns: tuple[tuple[str, str | bool], ...] = (("text", "0"), ("label", "1"))
    most: int | None = None


TASKS = {
    "sst2": Task("SST-2", 2, True),
    "trec": Task("TREC", 6, True, (("text", "text"), ("label", "label"), ("header", True))),
    "subj": Task("SUBJ", 2, False, most=1000),
    "mpqa": Task("MPQA", 2, False),
    "cr": Task("CR", 2, False),
}


@dataclass(frozen=True)
class Parts:
    """One task in the parts of this module's table."""

    seen: Examples
    held: Examples
    test: Examples


def load(task: str, encoder: Path) -> Parts:
    """A task's sentences as tokens of an encoder's folder."""
    whole = _read(task, "train", encoder)
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
    count = len(whole) // HELD
    return Parts(
        whole[order[count:]], whole[order[:count]], _read(task, "test", encoder)[: TASKS[task].most]
    )


def _read(task: str, split: str, encoder: Path) -> Examples:
    batches = build_data(
        f"text:{data_folder() / 'text' / task}",
        split=split,
        batch_size=1000,
        tokenizer=str(encoder),
        max_length=LENGTH,
        **dict(TASKS[task].columns),
    )
    parts: dict[str, list[torch.Tensor]] = {"input_ids": [], "attention_mask": [], "labels": []}
    for batch in batches:
        parts["labels"].append(batch["labels"])
        for name in ("input_ids", "attention_mask"):
            wide = LENGTH - batch[name].shape[1]
            parts[name].append(torch.nn.functional.pad(batch[name], (0, wide)))
    joined = {name: torch.cat(values) for name, values in parts.items()}
    labels = joined.pop("labels")
    return Examples(joined, labels, joined["attention_mask"].sum(1), keywords=True)


def sorted_batches(examples: Examples, size: int) -> list[torch.Tensor]:
    """The numbers of all examples by their length, cut into batches that need little padding."""
    assert examples.lengths is not None
    return list(torch.argsort(examples.lengths, stable=True).split(size))


def shuffled_batches(
    examples: Examples, size: int, generator: torch.Generator, pool: int = 25
) -> list[torch.Tensor]:
    """A random order of all examples, in which batches of similar lengths stand together.

    Within `pool` batches at a time, examples are sorted by length; batches are then shuffled.
    """
    assert examples.lengths is not None
    batches = []
    for part in torch.randperm(len(examples), generator=generator).split(size * pool):
        batches += part[torch.argsort(examples.lengths[part], stable=True)].split(size)
    return [batches[i] for i in torch.randperm(len(batches), generator=generator)]
