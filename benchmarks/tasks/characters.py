"""A small causal language model of characters: questions of TREC, reviews of SST-2 and CR.

Text is lower-cased, of 56 characters, in blocks of 96; other characters are one. All four files of
a kind are pooled, and its lines are shared out at random. A position's label is its own character:
the task shifts them, so that each position is scored by the character behind it.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common.data import data_folder
from benchmarks.tasks.examples import Examples, Parts, Sizes, joined
from benchmarks.tasks.registry import OTHERS, Benchmark, Training, benchmark

ALPHABET = "~\n abcdefghijklmnopqrstuvwxyz0123456789.,'?!-`:;()/\"$%&"  # ~ is any other character
BLOCK = 96
FILES = {
    "questions": ("trec/train.tsv", "trec/test.tsv"),
    "reviews": ("sst2/train.tsv", "sst2/test.tsv", "cr/train.tsv", "cr/test.tsv"),
}
CUTS = (0.0, 0.7, 0.8, 0.88, 1.0)  # of the lines of a kind: seen, unlabelled, choices, test


@lru_cache(maxsize=8)
def _blocks(kind: str, part: int) -> Tensor:
    """The text of one part as numbers of characters, (n, 96) int64."""
    lines: list[str] = []
    for file in FILES[kind]:
        text = (data_folder() / "text" / file).read_text(encoding="utf-8").splitlines()
        column = 1 if "trec" in file else 0
        lines += [
            line.split("\t")[column].lower() for line in (text[1:] if "trec" in file else text)
        ]
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0)).tolist()
    first, last = (round(CUTS[part + k] * len(lines)) for k in (0, 1))
    joined_text = "\n".join(lines[k] for k in order[first:last])
    number = {character: k for k, character in enumerate(ALPHABET)}
    numbers = torch.tensor([number.get(character, 0) for character in joined_text])
    return numbers[: len(numbers) // BLOCK * BLOCK].reshape(-1, BLOCK)


def _examples(kind: str, part: int, count: int) -> Examples:
    blocks = _blocks(kind, part)[:count]
    return Examples({"input_ids": blocks}, blocks, keywords=True)


def _mixed(questions: int, reviews: int, part: int, seed: int) -> Examples:
    both = _examples("questions", part, questions), _examples("reviews", part, reviews)
    return joined(*both, seed)


def _load(sizes: Sizes) -> Parts:
    rare, half = max(1, round(OTHERS * sizes.seen)), sizes.seen // 2
    seen = {
        "all": _mixed(half, half, 0, 0),
        "first": _mixed(sizes.seen - rare, rare, 0, 1),
        "second": _mixed(rare, sizes.seen - rare, 0, 2),
    }
    sizes_of = sizes.unlabelled // 2, sizes.choices // 2, sizes.test // 2
    rest = [_mixed(size, size, 1 + k, 3 + k) for k, size in enumerate(sizes_of)]
    return Parts(seen, *rest)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        q, k, v = (
            part(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.second(x))))


class Characters(nn.Module):
    """A causal transformer: characters (n, t) to logits (n, t, characters); t at most 96."""

    def __init__(self, width: int = 96, heads: int = 4, blocks: int = 2) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(ALPHABET), width)
        self.places = nn.Parameter(0.02 * torch.randn(BLOCK, width))
        self.layers = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, len(ALPHABET))

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.letters(input_ids) + self.places[: input_ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


@benchmark("characters")
def characters() -> Benchmark:
    """Perplexity per character."""
    return Benchmark(
        name="characters",
        task="language_modeling",
        title="a causal transformer of two layers (0.24 million parameters), characters",
        shares="questions or reviews, and one block in ten of the others",
        build=Characters,
        load=_load,
        loss=_loss,
        sizes=Sizes(2000, unlabelled=400, choices=300, test=600),
        training=Training(epochs=6, lr=3e-3, batch=8),
    )
