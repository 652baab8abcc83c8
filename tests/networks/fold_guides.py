"""What the guides on folding say stands for the reader's own: networks that know different things,
and data. Each is made once for all tests of a process.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from doc_pages import Small, pattern_images
from guide_pages import trained
from torch import Tensor, nn
from torch.nn import functional as F

WORDS, LENGTH, TOPICS = 120, 16, 4
WITHOUT = ((0, 1, 2), (7, 8, 9))  # classes that a network never saw


@functools.cache
def small_networks() -> tuple[Small, Small]:
    """Two classifiers of images, each without three of the ten classes."""
    loader, _ = pattern_images()
    first, second = (trained(loader, k, WITHOUT[k], epochs=6) for k in range(2))
    return first, second


def given() -> dict[str, Any]:
    """The names of the guides; data has no labels, labelled and test have."""
    loader, held = pattern_images()
    batches = list(held)
    counts = [[0 if c in without else 51 for c in range(10)] for without in WITHOUT]
    return {
        "models": list(small_networks()),
        "data": [x for x, _ in loader],
        "labelled": batches[:1],
        "test": batches[1:],
        "x": batches[1][0],
        "counts": counts,
    }


class RowTransformer(nn.Module):
    """Rows of an 8 x 8 image as tokens, each normalised before every branch."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.places = nn.Linear(8, 48), nn.Parameter(0.1 * torch.randn(8, 48))
        layer = nn.TransformerEncoderLayer(
            48, 4, 96, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(48), enable_nested_tensor=False)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.into(x) + self.places).mean(1))


def fitted(model: nn.Module, x: Tensor, y: Tensor, epochs: int, lr: float) -> nn.Module:
    """Train by Adam. x: images, or token ids that the network takes as `input_ids`."""
    optimiser = torch.optim.AdamW(model.parameters(), lr)
    for _ in range(epochs):
        for index in torch.randperm(len(y)).split(50):
            words = x.dtype == torch.long
            out = model(input_ids=x[index]).logits if words else model(x[index])
            loss = F.cross_entropy(out, y[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


def row_transformers() -> dict[str, Any]:
    """Two transformers on the digits of scikit-learn, from two seeds, and data."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = torch.tensor(digits.images, dtype=torch.float32) / 16, torch.tensor(digits.target)
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        models.append(fitted(RowTransformer(), x[:1200], y[:1200], 15, 2e-3))
    return {"models": models, "data": list(x[:1200].split(200)), "test": [(x[1200:], y[1200:])]}


def sentences(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Token ids (count, LENGTH) and topics: each topic has ten words of its own."""
    random = torch.Generator().manual_seed(seed)
    topics = torch.arange(count) % TOPICS
    ids = torch.randint(1, WORDS, (count, LENGTH), generator=random)
    own = 80 + 10 * topics[:, None] + torch.randint(0, 10, ids.shape, generator=random)
    return torch.where(torch.rand(ids.shape, generator=random) < 0.2, own, ids), topics


def text_classifiers() -> dict[str, Any]:
    """Two BERT that know two topics each and hardly the others, and what the guide names."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=LENGTH,
        num_labels=TOPICS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    ids, topics = sentences(1200, 0)
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        own = (topics < 2) if seed == 0 else (topics >= 2)
        seen = own | (torch.rand(len(topics)) < 1 / 8)
        model = BertForSequenceClassification(config)
        models.append(fitted(model, ids[seen], topics[seen], 9, 1e-3))
    held, labels = sentences(400, 1)
    batches = [
        {"input_ids": part, "attention_mask": torch.ones_like(part)} for part in ids.split(100)
    ]
    return {
        "models": models,
        "batches": batches,
        "ids": held,
        "mask": torch.ones_like(held),
        "labels": labels,
    }
