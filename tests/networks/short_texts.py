"""Short texts of two classes, as the Trainer of transformers reads them."""

from __future__ import annotations

from typing import Any

import torch

HIGH, LOW = 8, 100  # tokens below HIGH make a text of class 1


def short_texts(count: int, seed: int) -> list[dict[str, Any]]:
    """Short texts whose class is whether they hold a token below HIGH, at a place that varies."""
    random = torch.Generator().manual_seed(seed)
    found = []
    for k in range(count):
        tokens = torch.randint(HIGH, LOW, (8,), generator=random)
        if k % 2:
            tokens[torch.randperm(8, generator=random)[:3]] = torch.randint(
                1, HIGH, (3,), generator=random
            )
        mask = torch.ones(8, dtype=torch.long)
        found.append({"input_ids": tokens, "attention_mask": mask, "labels": k % 2})
    return found


def text_batches(count: int, seed: int, size: int = 16) -> list[dict[str, torch.Tensor]]:
    """The same in batches."""
    texts = short_texts(count, seed)
    return [
        {
            name: torch.stack([torch.as_tensor(each[name]) for each in texts[k : k + size]])
            for name in texts[0]
        }
        for k in range(0, count, size)
    ]
