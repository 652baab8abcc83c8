"""The bodies of random networks: sequences, images and tokens through steps drawn from a seed."""

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
        n = self.keep(_any_norm(self.draw, self.widths[i], nn.BatchNorm1d, nn.InstanceNorm1d))
        return lambda p, m: getattr(m, n)(p[i].transpose(1, 2)).transpose(1, 2), self.widths[i]

    def step_shared_norm(self) -> Made:
        i, j = self.alike()
        n = self.keep(_any_norm(self.draw, self.widths[i], nn.BatchNorm1d, nn.InstanceNorm1d))

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


def _any_norm(draw: random.Random, width: int, batch: Any, instance: Any) -> nn.Module:
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


class Pictures(nn.Module):
    """(batch, 3, height, width) to (batch, positions, 12), through blocks of convolutions."""

    out = 12

    def __init__(self, seed: int, several: bool) -> None:
        super().__init__()
        self.draw, self.several, self.names = random.Random(seed), several, []
        width = self.draw.choice(WIDTHS)
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList()
        kinds = [name for name in dir(self) if name.startswith("block_")]
        for _ in range(2 + self.draw.randrange(4)):
            name = self.draw.choice(kinds)
            block, width = getattr(self, name)(width)
            self.blocks.append(block)
            self.names.append(name[6:])
        self.shared = nn.BatchNorm2d(width) if self.draw.random() < 0.25 else None
        self.last = nn.Conv2d(width, self.out, 1)

    def shape(self, other: bool) -> tuple[int, ...]:
        """Of one example."""
        return (3, 6, 8) if other else (3, 6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.stem(x))
        for block in self.blocks:
            y = block(y)
        if self.shared is not None:
            y = F.relu(self.shared(y)) + torch.tanh(self.shared(2 * y.flip(-1)))
        return self.last(y).flatten(2).transpose(1, 2)

    def norm(self, width: int) -> nn.Module:
        """A batch norm as a rule."""
        if self.draw.random() < 0.6:
            return nn.BatchNorm2d(width)
        return _any_norm(self.draw, width, nn.BatchNorm2d, nn.InstanceNorm2d)

    def layer(self, into: int, out: int, size: int = 3, groups: int = 1) -> nn.Module:
        """A convolution that keeps the size, sometimes with a parametrized weight."""
        bias = self.draw.random() < 0.5
        made: nn.Module = nn.Conv2d(into, out, size, padding=size // 2, groups=groups, bias=bias)
        return self.draw.choice(PARAMETRIZED[:4])(made) if self.draw.random() < 0.15 else made

    def activation(self, width: int) -> nn.Module:
        return self.draw.choice([nn.ReLU(), nn.SiLU(), nn.GELU(), nn.PReLU(width), nn.Hardswish()])

    def block_plain(self, width: int) -> tuple[nn.Module, int]:
        out = self.draw.choice(WIDTHS)
        parts = [
            self.layer(width, out, self.draw.choice((1, 3))),
            self.norm(out),
            self.activation(out),
        ]
        return nn.Sequential(*parts[: self.draw.choice((2, 3, 3))]), out

    def block_before(self, width: int) -> tuple[nn.Module, int]:
        out = self.draw.choice(WIDTHS)
        return nn.Sequential(self.norm(width), self.activation(width), self.layer(width, out)), out

    def block_residual(self, width: int) -> tuple[nn.Module, int]:
        hidden = self.draw.choice(WIDTHS)
        inside = [
            self.layer(width, hidden),
            self.norm(hidden),
            nn.ReLU(),
            self.layer(hidden, width),
            self.norm(width),
        ]
        return Around(nn.Sequential(*inside)), width

    def block_inverted(self, width: int) -> tuple[nn.Module, int]:
        wide = 2 * width
        inside = [
            self.layer(width, wide, 1),
            self.norm(wide),
            nn.ReLU6(),
            self.layer(wide, wide, 3, wide),
            self.norm(wide),
        ]
        return Around(nn.Sequential(*inside, nn.ReLU6(), self.layer(wide, width, 1))), width

    def block_grouped(self, width: int) -> tuple[nn.Module, int]:
        return (
            nn.Sequential(
                self.layer(width, 2 * width, 3, 2),
                self.norm(2 * width),
                nn.ReLU(),
                nn.Conv2d(2 * width, width, 1),
            ),
            width,
        )

    def block_gated(self, width: int) -> tuple[nn.Module, int]:
        return Squeezed(width, self.draw.choice((2, 4))), width

    def block_down_and_up(self, width: int) -> tuple[nn.Module, int]:
        return Skipped(width, self.draw.choice(WIDTHS), self.draw.random() < 0.5), 2 * width

    def block_twice(self, width: int) -> tuple[nn.Module, int]:
        return Again(nn.Sequential(self.layer(width, width), self.norm(width), nn.Tanh())), width


class Around(nn.Module):
    """A skip connection around what it holds."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.inside(x))


class Again(nn.Module):
    """A block that runs twice, so that its layers and norms are shared by two places."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x + self.inside(x))


class Squeezed(nn.Module):
    """Channels gated by what the whole picture shows."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(F.relu(self.down(x.mean((2, 3))))).sigmoid()
        return x * gate[:, :, None, None]


class Skipped(nn.Module):
    """Half the size and back, beside the picture as it was."""

    def __init__(self, width: int, hidden: int, learned: bool) -> None:
        super().__init__()
        self.down = nn.Conv2d(width, hidden, 3, padding=1)
        self.up = (
            nn.ConvTranspose2d(hidden, width, 2, stride=2)
            if learned
            else nn.Conv2d(hidden, width, 1)
        )
        self.learned = learned

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.down(F.max_pool2d(x, 2)))
        y = self.up(y) if self.learned else F.interpolate(self.up(y), size=x.shape[-2:])
        return torch.cat([x, y], 1)


class Tokens(nn.Module):
    """(batch, length) integers to (batch, length, width), through blocks of transformers and
    others.
    """

    VOCABULARY = 20

    def __init__(self, seed: int, several: bool) -> None:
        super().__init__()
        self.draw, self.several, self.names = random.Random(seed), several, []
        width = self.out = self.draw.choice((8, 12))
        self.table = nn.Embedding(self.VOCABULARY, width, padding_idx=self.draw.choice((None, 0)))
        self.places = nn.Parameter(torch.randn(16, width))
        self.register_buffer("order", torch.arange(16))
        self.blocks = nn.ModuleList()
        kinds = [name for name in dir(self) if name.startswith("block_")]
        for _ in range(1 + self.draw.randrange(3)):
            name = self.draw.choice(kinds)
            self.blocks.append(getattr(self, name)(width))
            self.names.append(name[6:])
        self.norm = nn.LayerNorm(width) if self.draw.random() < 0.7 else None
        self.tied = (
            self.draw.random() < 0.2
        )  # features are read through the table, as tied heads do
        self.out = self.VOCABULARY if self.tied else width

    def shape(self, other: bool) -> tuple[int, ...]:
        """Of one example."""
        return (9 if other else 6,)

    def forward(self, ids: Tensor) -> Tensor:
        y = self.table(ids) + self.places[self.order[: ids.shape[1]]]
        for block in self.blocks:
            y = block(y)
        if self.norm is not None:
            y = self.norm(y)
        return F.linear(y, self.table.weight) if self.tied else y

    def block_encoder(self, width: int) -> nn.Module:
        first, act = self.draw.random() < 0.5, self.draw.choice(["relu", "gelu"])
        return nn.TransformerEncoderLayer(
            width, 2, 12, 0.1, act, batch_first=True, norm_first=first
        )

    def block_attention(self, width: int) -> nn.Module:
        return Attended(
            width, self.draw.choice((1, 2, 4)), self.draw.random() < 0.5, self.draw.random() < 0.3
        )

    def block_gated(self, width: int) -> nn.Module:
        return Gated(width, self.draw.choice(WIDTHS))

    def block_recurrent(self, width: int) -> nn.Module:
        return Recurrent(width)

    def block_mixed(self, width: int) -> nn.Module:
        return Mixed(
            width, self.draw.choice(PARAMETRIZED[:2]) if self.draw.random() < 0.4 else None
        )


class Attended(nn.Module):
    """Attention of its own making: projections in one, or apart; rotary positions sometimes."""

    def __init__(self, width: int, heads: int, causal: bool, rotary: bool) -> None:
        super().__init__()
        self.heads, self.causal, self.rotary = heads, causal, rotary
        self.norm = nn.LayerNorm(width)
        self.project, self.back = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in self.project(self.norm(x)).chunk(3, -1)
        )
        if self.rotary:
            q, k = _turned(q), _turned(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return x + self.back(y.transpose(1, 2).flatten(2))


def _turned(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    rates = 1 / 10 ** (torch.arange(half, device=x.device) / half)
    angles = (torch.arange(x.shape[-2], device=x.device)[:, None] * rates).to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)


class Gated(nn.Module):
    """A gated layer behind an RMS norm, as language models of today have them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(width) + 0.5)
        self.gate, self.up = (
            nn.Linear(width, hidden, bias=False),
            nn.Linear(width, hidden, bias=False),
        )
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Recurrent(nn.Module):
    """A recurrent layer and a way back to the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer, self.back = nn.GRU(width, 6, batch_first=True), nn.Linear(6, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.back(self.layer(x)[0])


class Mixed(nn.Module):
    """Convolutions over time with a batch norm between, perhaps parametrized."""

    def __init__(self, width: int, how: Any) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(width, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.second = how(nn.Conv1d(8, width, 1)) if how is not None else nn.Conv1d(8, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.norm(self.first(x.transpose(1, 2))))).transpose(1, 2)
