r"""Transformers and a recurrent network on real data: what they are, what they are trained on, and
their members, trained once and kept.

    python benchmarks/transformers/tasks.py vit bert prenorm lstm --seeds 0 1 2 \
        --out members/transformers

vit: a vision transformer of Hugging Face on Fashion-MNIST. bert: BERT of Hugging Face (normalised
behind every sum) on TREC. prenorm: the encoder of torch.nn, normalised before every branch, on
TREC. lstm: two directions of 256 units, on TREC; lstm-narrow: of 128. Words are those that the
training questions hold twice. The last 5,000 images or 500 questions of the training data are held
out: members never see them, and every setting is chosen on them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from onefold.sources import build_data

DATA = os.environ.get("ONEFOLD_DATA", "../shared/data")
LENGTH, CLASSES = 20, 6
TASKS = ("vit", "bert", "prenorm", "lstm", "lstm-narrow")
Batch = dict[str, Tensor]


class Logits(nn.Module):
    """A classifier of Hugging Face that returns its logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, **inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(**inputs).logits
        return logits


class PreNorm(nn.Module):
    """Words and positions, an encoder that normalises before every branch, the mean over the words,
    a linear head.
    """

    def __init__(self, words: int, width: int = 128, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.words, self.places = (
            nn.Embedding(words, width),
            nn.Parameter(0.02 * torch.randn(LENGTH, width)),
        )
        self.layers = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)
        nn.init.normal_(self.words.weight, std=0.05)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = F.dropout(self.words(input_ids) + self.places, 0.1, self.training)
        mask = attention_mask[:, None, None, :].bool()
        for layer in self.layers:
            x = layer(x, mask)
        weight = attention_mask.to(x.dtype)
        logits: Tensor = self.head(
            (self.norm(x) * weight.unsqueeze(-1)).sum(1) / weight.sum(1, keepdim=True)
        )
        return logits


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.first(x)
        q, k, v = (
            part(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        y = self.out(
            F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        )
        x = x + F.dropout(y, 0.1, self.training)
        return x + F.dropout(self.down(F.gelu(self.up(self.second(x)))), 0.1, self.training)


class Recurrent(nn.Module):
    """Words, an LSTM in both directions, the largest value over the words, a linear head."""

    def __init__(self, words: int, width: int = 100, hidden: int = 256) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, CLASSES)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = F.dropout(self.words(input_ids), 0.3, self.training)
        logits: Tensor = self.head(F.dropout(self.lstm(x)[0].amax(1), 0.3, self.training))
        return logits


def _vit() -> nn.Module:
    import transformers

    config = transformers.ViTConfig(
        image_size=28,
        patch_size=7,
        num_channels=1,
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=256,
        num_labels=10,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return Logits(transformers.ViTForImageClassification(config))


def _bert(words: int) -> nn.Module:
    import transformers

    config = transformers.BertConfig(
        vocab_size=words,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=LENGTH,
        num_labels=CLASSES,
    )
    return Logits(transformers.BertForSequenceClassification(config))


@dataclass(frozen=True)
class Split:
    """Inputs by keyword, and labels (n,)."""

    inputs: Batch
    labels: Tensor

    def __getitem__(self, index: Any) -> Split:
        return Split(
            {name: value[index] for name, value in self.inputs.items()}, self.labels[index]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int = 250, labels: bool = True) -> list[Batch]:
        """As onefold takes them."""
        parts = [self[k : k + size] for k in range(0, len(self), size)]
        return [part.inputs | ({"labels": part.labels} if labels else {}) for part in parts]


@dataclass(frozen=True)
class Task:
    """A network by a factory, its data, and how its members are trained."""

    build: Callable[[], nn.Module]
    train: Split
    held_out: Split
    test: Split
    epochs: int
    lr: float
    batch: int


def fashion(images: int = 30000) -> tuple[Split, Split, Split]:
    """Fashion-MNIST, normalised: so many images for training, those held out, the test images."""
    x, y, tx, ty = (
        torch.cat(parts)
        for split in ("train", "test")
        for parts in zip(
            *build_data(f"idx:{DATA}/fashion_mnist", split=split, batch_size=1000), strict=True
        )
    )
    split = Split({"pixel_values": x}, y)
    order = torch.randperm(len(y) - 5000, generator=torch.Generator().manual_seed(0))[:images]
    return split[order], split[slice(-5000, None)], Split({"pixel_values": tx}, ty)


def trec(mask: bool) -> tuple[int, tuple[Split, Split, Split]]:
    """The number of words, and TREC's questions as numbers of words: 0 fills up (behind, or before
    where there is no mask), 1 is any other word.
    """
    rows = {}
    for part in ("train", "test"):
        with open(f"{DATA}/text/trec/{part}.tsv", encoding="utf-8", newline="") as file:
            rows[part] = [
                (
                    int(row["label"]),
                    re.findall(r"[a-z0-9]+|[^\sa-z0-9]", row["text"].lower())[:LENGTH],
                )
                for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            ]
    order = torch.randperm(len(rows["train"]), generator=torch.Generator().manual_seed(0)).tolist()
    rows["train"] = [rows["train"][k] for k in order]
    counts = Counter(word for _, words in rows["train"][:-500] for word in words)
    number = {
        word: k + 2
        for k, word in enumerate(sorted(word for word, count in counts.items() if count > 1))
    }

    def split(part: list[tuple[int, list[str]]]) -> Split:
        ids, masks = (
            torch.zeros(len(part), LENGTH, dtype=torch.int64),
            torch.zeros(len(part), LENGTH, dtype=torch.int64),
        )
        for k, (_, words) in enumerate(part):
            place = slice(0, len(words)) if mask else slice(LENGTH - len(words), None)
            ids[k, place], masks[k, place] = (
                torch.tensor([number.get(word, 1) for word in words]),
                1,
            )
        return Split(
            {"input_ids": ids} | ({"attention_mask": masks} if mask else {}),
            torch.tensor([label for label, _ in part]),
        )

    return len(number) + 2, (
        split(rows["train"][:-500]),
        split(rows["train"][-500:]),
        split(rows["test"]),
    )


def task(name: str) -> Task:
    """The task of that name."""
    if name == "vit":
        return Task(_vit, *fashion(), epochs=5, lr=1e-3, batch=64)
    recurrent = name.startswith("lstm")
    words, splits = trec(mask=not recurrent)
    build = {
        "bert": lambda: _bert(words),
        "prenorm": lambda: PreNorm(words),
        "lstm": lambda: Recurrent(words),
        "lstm-narrow": lambda: Recurrent(words, hidden=128),
    }[name]
    return Task(
        build, *splits, epochs=10 if recurrent else 12, lr=2e-3 if recurrent else 7e-4, batch=32
    )


def trained(own: Task, seed: int) -> nn.Module:
    """One member: AdamW with weight decay 0.05 under a one-cycle rate, dropout as the network has
    it.
    """
    torch.manual_seed(seed)
    model = own.build().train()
    total = own.epochs * (len(own.train) // own.batch)
    optimiser = torch.optim.AdamW(model.parameters(), own.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, own.lr, total_steps=total, pct_start=0.15
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(own.epochs):
        for index in torch.randperm(len(own.train), generator=generator).split(own.batch):
            if len(index) == own.batch:
                part = own.train[index]
                loss = F.cross_entropy(model(**part.inputs), part.labels)
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
    return model.eval()


def members(name: str, own: Task, seeds: list[int], folder: Path) -> list[nn.Module]:
    """The members of these seeds, trained where the folder has not got them."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in seeds:
        path = folder / f"{name}-seed{seed}.safetensors"
        if not path.exists():
            start = time.perf_counter()
            model = trained(own, seed)
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
            print(f"{name} {seed}: {time.perf_counter() - start:.0f} s", flush=True)
        model = own.build().eval()
        model.load_state_dict(load_file(path))
        found.append(model)
    return found


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> float:
    """In percent."""
    hits = sum(
        int((model(**{k: v for k, v in b.items() if k != "labels"}).argmax(1) == b["labels"]).sum())
        for b in split.batches()
    )
    return 100 * hits / len(split)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="+", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("members/transformers"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.tasks:
        own = task(name)
        for seed, model in zip(
            arguments.seeds, members(name, own, arguments.seeds, arguments.out), strict=True
        ):
            print(
                json.dumps(
                    {
                        "task": name,
                        "seed": seed,
                        "held out": accuracy(model, own.held_out),
                        "test": accuracy(model, own.test),
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
