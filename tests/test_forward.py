"""One network on one batch: numbers that no embedding holds, and texts that are too long."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from text_files import write_config
from torch import Tensor, nn

import onefold
from onefold.batches import Batch
from onefold.errors import DataError
from onefold.forward import forward
from onefold.sources import build_model


class Reader(nn.Module):
    """The mean of embedded numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.hidden, self.last = nn.Linear(8, 12), nn.Linear(12, 3)

    def forward(self, numbers: Tensor) -> Tensor:
        out: Tensor = self.last(self.hidden(self.table(numbers).mean(1)).relu())
        return out


@pytest.mark.parametrize(("number", "said"), [(10, "the number 10"), (-1, "the number -1")])
def test_a_number_without_a_row(number: int, said: str) -> None:
    numbers = torch.full((2, 5), number)
    with pytest.raises(DataError, match=f"hold {said}, but the network knows 10 tokens"):
        forward(Reader(), Batch((numbers,)))
    assert forward(Reader(), Batch((numbers.fill_(9),))).shape == (2, 3)


def test_a_number_without_a_row_in_a_later_batch() -> None:
    good, bad = torch.randint(0, 10, (64, 5)), torch.randint(0, 10, (64, 5))
    bad[3, 4] = 12
    models = [Reader().eval() for _ in range(2)]
    for fold in ("average", "least_squares"):
        with pytest.raises(DataError, match="number 12, but the network knows 10 tokens"):
            onefold.merge(models, [good, bad], align="permutation", fold=fold)


def test_a_network_of_transformers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model = build_model(f"hf:{write_config(tmp_path)}").eval()
    ids = torch.randint(0, 24, (2, 12))
    ids[1, 3] = 24
    with pytest.raises(DataError, match=r"number 24, but .* 24 tokens, .*tokenizer=FOLDER"):
        forward(model, Batch((), {"input_ids": ids}))
    long = torch.randint(0, 24, (2, 40))
    with pytest.raises(DataError, match=r"40 tokens, but .* places for 32; cut .*max_length=32"):
        forward(model, Batch((), {"input_ids": long}))
