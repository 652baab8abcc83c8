"""An LSTM over series of unequal length: which of eight kinds a noisy series is.

Batches are padded with zeros to their own longest series, and the lengths are a second input.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.tasks.examples import Examples, Parts, Sizes, joined
from benchmarks.tasks.registry import OTHERS, Benchmark, Training, benchmark

LEAST, MOST, NOISE = 16, 64, 0.7  # steps, steps, deviation
KINDS = ("sine", "square", "saw", "rising", "falling", "damped", "walk", "pulses")
SHARES = (0, 2, 4, 6), (1, 3, 5, 7)


def _curves(kind: Tensor, generator: torch.Generator) -> Tensor:
    """Series (n, 64) without noise, of deviation about 1."""
    n = len(kind)
    time = torch.arange(MOST).expand(n, MOST).float()
    rate = (0.06 + 0.06 * torch.rand(n, 1, generator=generator)) * 2 * math.pi
    phase = 2 * math.pi * torch.rand(n, 1, generator=generator)
    turn = rate * time + phase
    steps = torch.randn(n, MOST, generator=generator)
    every = torch.stack(
        [
            1.4 * turn.sin(),
            turn.sin().sign(),
            1.7 * ((turn / math.pi) % 2 - 1),
            1.4 * (rate * time * (0.6 + time / 64) + phase).sin(),
            1.4 * (rate * time * (1.8 - time / 64) + phase).sin(),
            2.0 * (-time / 24).exp() * turn.sin(),
            0.35 * steps.cumsum(1),
            3.0 * (turn.sin() > 0.92).float() - 0.4,
        ]
    )
    return every[kind, torch.arange(n)]


def _drawn(kinds: tuple[int, ...], count: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    kind = torch.tensor(kinds)[torch.randint(len(kinds), (count,), generator=generator)]
    x = _curves(kind, generator) + NOISE * torch.randn(count, MOST, generator=generator)
    lengths = torch.randint(LEAST, MOST + 1, (count,), generator=generator)
    used = torch.arange(MOST) < lengths[:, None]
    return Examples({"series": (x * used).unsqueeze(2), "lengths": lengths}, kind, lengths)


def _load(sizes: Sizes) -> Parts:
    every, rare = tuple(range(len(KINDS))), max(1, round(OTHERS * sizes.seen))
    seen = {"all": _drawn(every, sizes.seen, 0)}
    for number, name in enumerate(("first", "second")):
        most = _drawn(SHARES[number], sizes.seen - rare, 1 + 2 * number)
        seen[name] = joined(most, _drawn(SHARES[1 - number], rare, 2 + 2 * number), number)
    unlabelled, choices = _drawn(every, sizes.unlabelled, 5), _drawn(every, sizes.choices, 6)
    return Parts(seen, unlabelled, choices, _drawn(every, sizes.test, 7))


class Recurrent(nn.Module):
    """An LSTM, the mean of its states over the steps that count, a linear layer: series
    (n, steps, 1) and lengths (n,) to logits (n, kinds).
    """

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, len(KINDS))

    def forward(self, series: Tensor, lengths: Tensor) -> Tensor:
        states = self.lstm(series)[0]
        steps = torch.arange(series.shape[1], device=series.device)
        used = (steps < lengths[:, None]).to(states.dtype)
        mean = (states * used.unsqueeze(2)).sum(1) / used.sum(1, keepdim=True)
        logits: Tensor = self.head(mean)
        return logits


@benchmark("series")
def series() -> Benchmark:
    """Two inputs of a tuple; labels (n,)."""
    return Benchmark(
        name="series",
        task="classification",
        title="an LSTM of 64 units, eight kinds of noisy series of 16 to 64 steps",
        shares="four of the eight kinds of series, and one series in ten of the others",
        build=Recurrent,
        load=_load,
        loss=F.cross_entropy,
        sizes=Sizes(6000, unlabelled=1000, choices=500, test=4000),
        training=Training(epochs=15, lr=5e-3, batch=64),
    )
