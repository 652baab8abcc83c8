"""Bodies of random networks: sequences through steps drawn from a seed."""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from drawn_networks import Drawn
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

WIDTHS = (4, 6, 8, 12)


Made = "tuple[Any, int] | None"


PARAMETRIZED = (
    weight_norm,
    spectral_norm,
    orthogonal,
    nn.utils.weight_norm,
    nn.utils.spectral_norm,
)


ACTIVATIONS = (F.relu, torch.tanh, F.gelu, F.silu, F.leaky_relu, F.elu, torch.sigmoid)


class Sequences(Drawn):
    """(batch, time, 5) to (batch, time, 8). Steps get the pool of features and the network."""

    out = 8

    def __init__(self, seed: int, several: bool) -> None:
        self.several = several  # several lengths, so that no step may count on four positions
        super().__init__(seed, steps=4 + seed % 6)
        self.heads = nn.ModuleList(nn.Linear(width, self.out) for width in self.widths[-4:])
        for part in self.parts:
            if part.dim() > 1:
                part.data /= part.shape[-1] ** 0.5

    def shape(self, other: bool) -> tuple[int, ...]:
        """Of one example."""
        return (6 if other else 4), 5

    def forward(self, x: Tensor) -> Tensor:
        pool = [layer(x) for layer in self.into]
        for step in self.steps:
            pool.append(step(pool, self))
        return sum(head(y.tanh()) for head, y in zip(self.heads, pool[-4:], strict=True))

    def __getitem__(self, number: int) -> Tensor:
        return self.parts[number]

    def keep(self, module: nn.Module) -> str:
        """The name under which a step finds its module, in copies of the network too."""
        name = f"part{len(list(self.children()))}"
        self.add_module(name, module)
        return name

    def hold(self, tensor: Tensor) -> str:
        """The same for a buffer."""
        name = f"buffer{len(list(self.buffers(recurse=False)))}"
        self.register_buffer(name, tensor)
        return name

    def step_places(self) -> Made:
        return None if self.several else super().step_places()

    def step_over_places(self) -> Made:
        return None if self.several else super().step_over_places()

    def step_layer(self) -> Made:
        i, out, act = self.pick(), self.draw.choice(WIDTHS), self.draw.choice(ACTIVATIONS)
        n = self.keep(nn.Linear(self.widths[i], out))
        return lambda p, m: act(getattr(m, n)(p[i])), out

    step_layer_too = step_layer

    def step_parametrized(self) -> Made:
        i, out = self.pick(), self.draw.choice(WIDTHS)
        n = self.keep(self.draw.choice(PARAMETRIZED)(nn.Linear(self.widths[i], out)))
        return lambda p, m: torch.relu(getattr(m, n)(p[i])), out

    def step_layer_at_two_places(self) -> Made:
        i, j = self.alike()
        n = self.keep(nn.Linear(self.widths[i], self.widths[i]))
        return lambda p, m: getattr(m, n)(p[i]).relu() + getattr(m, n)(p[j]).tanh(), self.widths[i]

    def step_mlp(self) -> Made:
        i, hidden = self.pick(), self.draw.choice(WIDTHS)
        width = self.widths[i]
        block = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, width),
        )
        n = self.keep(block)
        return lambda p, m: p[i] + getattr(m, n)(p[i]), width

    def step_convolved(self) -> Made:
        i, out = self.pick(), self.draw.choice(WIDTHS)
        bias = self.draw.random() < 0.5
        block = nn.Sequential(
            nn.Conv1d(self.widths[i], out, 3, padding=1, bias=bias), nn.BatchNorm1d(out), nn.ReLU()
        )
        n = self.keep(block)
        return lambda p, m: getattr(m, n)(p[i].transpose(1, 2)).transpose(1, 2), out

    def step_norm_alone(self) -> Made:
        i = self.pick()
        n = self.keep(any_norm(self.draw, self.widths[i], nn.BatchNorm1d, nn.InstanceNorm1d))
        return lambda p, m: getattr(m, n)(p[i].transpose(1, 2)).transpose(1, 2), self.widths[i]

    def step_shared_norm(self) -> Made:
        i, j = self.alike()
        n = self.keep(any_norm(self.draw, self.widths[i], nn.BatchNorm1d, nn.InstanceNorm1d))

        def step(p: list[Tensor], m: Any) -> Tensor:
            norm = getattr(m, n)
            both = norm(p[i].transpose(1, 2)).relu() + norm(3 * p[j].transpose(1, 2)).tanh()
            return both.transpose(1, 2)

        return step, self.widths[i]

    def step_complex(self) -> Made:
        i, j = self.alike()
        out = self.draw.choice(WIDTHS)
        w = self.weight(self.widths[i], out)
        self.parts[w] = nn.Parameter(torch.randn(self.widths[i], out, dtype=torch.cfloat))
        last = self.draw.choice([torch.real, torch.abs, lambda z: z.real + z.imag])
        return (
            lambda p, m: last(torch.complex(p[i], p[j]) @ m[w].to(torch.complex(p[i], p[j]).dtype)),
            out,
        )

    def step_spectral(self) -> Made:
        i = self.pick()
        width = self.widths[i]
        w = self.weight(1)
        self.parts[w] = nn.Parameter(
            torch.randn(width // 2 + 1, width // 2 + 1, dtype=torch.cfloat)
        )

        def step(p: list[Tensor], m: Any) -> Tensor:
            waves = torch.fft.rfft(p[i])
            return torch.fft.irfft(waves @ m[w].to(waves.dtype), n=width)

        return step, width

    def step_index(self) -> Made:
        i = self.pick()
        width = self.widths[i]
        n = self.hold(torch.tensor(self.draw.sample(range(width), width)))
        return lambda p, m: p[i][..., getattr(m, n)] + p[i].tanh(), width

    def step_mask(self) -> Made:
        i = self.pick()
        n = self.hold((torch.rand(self.widths[i]) < 0.7).float())
        return lambda p, m: p[i] * getattr(m, n), self.widths[i]

    def step_messages(self) -> Made:
        i = self.pick()
        a, b = (self.hold(torch.tensor([self.draw.randrange(4) for _ in range(6)])) for _ in "ab")

        def step(p: list[Tensor], m: Any) -> Tensor:
            return p[i].index_add(1, getattr(m, a), p[i][:, getattr(m, b)])

        return step, self.widths[i]

    def step_recurrent_layer(self) -> Made:
        i, hidden = self.pick(), self.draw.choice((4, 6))
        kind, both = self.draw.choice([nn.GRU, nn.LSTM, nn.RNN]), self.draw.random() < 0.3
        n = self.keep(kind(self.widths[i], hidden, batch_first=True, bidirectional=both))
        return lambda p, m: getattr(m, n)(p[i])[0], hidden * (1 + both)

    def step_multihead(self) -> Made:
        i = self.pick()
        n = self.keep(
            nn.MultiheadAttention(self.widths[i], self.split(self.widths[i]), batch_first=True)
        )
        return lambda p, m: p[i] + getattr(m, n)(p[i], p[i], p[i])[0], self.widths[i]

    def step_learned_slope(self) -> Made:
        i = self.pick()
        n = self.keep(nn.PReLU(self.draw.choice([1, self.widths[i]])))
        return lambda p, m: getattr(m, n)(p[i].transpose(1, 2)).transpose(1, 2), self.widths[i]


def any_norm(draw: random.Random, width: int, batch: Any, instance: Any) -> nn.Module:
    """A norm over the channels of axis 1, of any kind and setting."""
    groups = draw.choice([d for d in (1, 2, 3, 4) if width % d == 0])
    kinds = [
        lambda: batch(width),
        lambda: batch(width, affine=False),
        lambda: batch(width, eps=1e-2),
        lambda: batch(width, track_running_stats=False) if draw.random() < 0.2 else batch(width),
        lambda: instance(width, affine=True, track_running_stats=draw.random() < 0.5),
        lambda: nn.GroupNorm(groups, width),
    ]
    return draw.choice(kinds)()
