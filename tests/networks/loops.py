"""A small network with batch norm, batches for it, and loops of Lightning that train it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import onefold as of


class Net(nn.Module):
    """A classifier of 8 numbers in three classes, with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 16)
        self.norm = nn.BatchNorm1d(16)
        self.last = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(x)).relu())


def batches(n: int = 128, seed: int = 0, batch: int = 16, **options: Any) -> DataLoader:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=random)
    y = (x[:, :3] + x[:, 3:6]).argmax(1)
    return DataLoader(TensorDataset(x, y), batch, **options)


def small(seed: int = 0, shape: str | None = None, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return of.Subspace(Net(), shape=shape, **options) if shape else Net()


def module_of(pl: Any, model: nn.Module, penalty: bool = False) -> Any:
    """A LightningModule that trains the model; `penalty` adds it in the training step itself."""

    class Lit(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            loss = F.cross_entropy(self.model(batch[0]), batch[1])
            return loss + self.model.diversity_penalty() if penalty else loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("accuracy", (self.model(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)

    return Lit()


def trainer_of(pl: Any, *callbacks: Any, epochs: int = 2, **options: Any) -> Any:
    settings = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "devices": 1,
    }
    return pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), **(settings | options))


def same(first: nn.Module, second: nn.Module) -> None:
    torch.testing.assert_close(dict(first.state_dict()), dict(second.state_dict()), rtol=0, atol=0)


def lightning_package(name: str) -> Any:
    return pytest.importorskip(name)
