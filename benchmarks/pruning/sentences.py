"""Sentences as numbers of words, in the four parts that images have (`benchmarks.common.data`).

| part       | TREC                                | SST-2                               |
|------------|-------------------------------------|-------------------------------------|
| seen       | 4,052 of the 5,452 train questions  | 4,920 of the 6,920 train sentences  |
| unlabelled | 1,000 other train questions         | 2,000 other train sentences         |
| choices    | 400 other train questions           | the 872 of the file `dev.tsv`       |
| test       | all 500 test questions              | all 1,821 test sentences            |

Words are lower-cased. The vocabulary is what stands at least twice in the part "seen"; 1 is any
other word, and 0 is no word. Batches are sorted by length and cut to their longest sentence.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from benchmarks.common.data import Part, data_folder

LENGTH = 48  # words; longer sentences are cut
LEAST = 2  # times that a word of the vocabulary is seen


@dataclass(frozen=True)
class Sentences(Part):
    """images: numbers of words (n, LENGTH), int64; labels (n,), int64."""

    def batches(self, size: int = 100) -> list[tuple[Tensor, Tensor]]:
        """Batches of (words, labels), each cut to its longest sentence."""
        pairs = zip(self.images.split(size), self.labels.split(size), strict=True)
        return [(cut(words), labels) for words, labels in pairs]

    def unlabelled(self, size: int = 100) -> list[Tensor]:
        """Batches of words alone, each cut to its longest sentence."""
        return [cut(words) for words in self.images.split(size)]


@dataclass(frozen=True)
class Corpus:
    """One task in four parts, and the number of its words and classes."""

    seen: Sentences
    unlabelled: Sentences
    choices: Sentences
    test: Sentences
    words: int
    classes: int


def cut(words: Tensor) -> Tensor:
    """A batch without the columns that hold no word."""
    return words[:, : int((words != 0).sum(1).max())]


@lru_cache(maxsize=2)
def load_sentences(task: str) -> Corpus:
    """ "trec" or "sst2" from `data_folder()`."""
    train, test = _rows(task, "train"), _rows(task, "test")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).tolist()
    train = [train[k] for k in order]
    if task == "trec":
        choices, unlabelled, seen = train[:400], train[400:1400], train[1400:]
    else:
        choices, unlabelled, seen = _rows(task, "dev"), train[:2000], train[2000:]
    counted = Counter(word for text, _ in seen for word in text.split())
    known = sorted(word for word, times in counted.items() if times >= LEAST)
    numbers = {word: number for number, word in enumerate(known, 2)}
    parts = [_part(rows, numbers) for rows in (seen, unlabelled, choices, test)]
    return Corpus(*parts, len(known) + 2, 1 + max(label for _, label in seen))


def _rows(task: str, part: str) -> list[tuple[str, int]]:
    path = data_folder() / "text" / task / f"{part}.tsv"
    lines = path.read_text(encoding="utf-8").splitlines()
    split = [line.split("\t") for line in (lines[1:] if task == "trec" else lines)]
    if task == "trec":
        return [(text.lower(), int(label)) for label, text in split]
    return [(text.lower(), int(label)) for text, label in split]


def _part(rows: list[tuple[str, int]], numbers: dict[str, int]) -> Sentences:
    words = torch.zeros(len(rows), LENGTH, dtype=torch.int64)
    for row, (text, _) in enumerate(rows):
        own = [numbers.get(word, 1) for word in text.split()][:LENGTH]
        words[row, : len(own)] = torch.tensor(own)
    order = torch.argsort((words != 0).sum(1), stable=True)
    return Sentences(words[order], torch.tensor([label for _, label in rows])[order])
