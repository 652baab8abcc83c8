"""Networks drawn at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (4, 6, 8, 12)


Step = Callable[[list[Tensor], Any], Tensor]


class Drawn(nn.Module):
    """A network drawn from a seed: a pool of features (batch, time, width), to which every step
    adds one made of others; a head on all.
    """

    def __init__(self, seed: int, steps: int = 9) -> None:
        super().__init__()
        self.draw, self.parts = random.Random(seed), nn.ParameterList()
        self.widths = [self.draw.choice(WIDTHS), self.draw.choice(WIDTHS)]
        self.into = nn.ModuleList(nn.Linear(5, width) for width in self.widths)
        self.steps: list[Step] = []
        self.names: list[str] = []
        kinds = [name for name in dir(self) if name.startswith("step_")]
        while len(self.steps) < steps:
            name = self.draw.choice(kinds)
            made = getattr(self, name)()
            if made is not None:
                step, width = made
                self.steps.append(step)
                self.widths.append(width)
                self.names.append(name[5:])
        self.heads = nn.ModuleList(nn.Linear(width, 2) for width in self.widths[-4:])

    def forward(self, x: Tensor) -> Tensor:
        pool = [layer(x) for layer in self.into]
        for step in self.steps:
            pool.append(step(pool, self.parts))
        return sum(head(y.tanh()) for head, y in zip(self.heads, pool[-4:], strict=True))

    def weight(self, *shape: int) -> int:
        self.parts.append(nn.Parameter(torch.randn(shape)))
        return len(self.parts) - 1

    def pick(self) -> int:
        return self.draw.randrange(len(self.widths))

    def alike(self) -> tuple[int, int]:
        """Two features of one width; often one and the same."""
        i = self.pick()
        return i, self.draw.choice(
            [j for j, width in enumerate(self.widths) if width == self.widths[i]]
        )

    def split(self, width: int) -> int:
        return self.draw.choice([d for d in range(2, width) if width % d == 0] or [1])

    def step_linear(self) -> tuple[Step, int]:
        i, out = self.pick(), self.draw.choice(WIDTHS)
        w = self.weight(out, self.widths[i])
        return lambda p, m: F.linear(p[i], m[w]), out

    def step_matmul_transposed(self) -> tuple[Step, int]:
        i, out = self.pick(), self.draw.choice(WIDTHS)
        w = self.weight(self.widths[i], out)
        return lambda p, m: p[i] @ m[w], out

    def step_there_and_back(self) -> tuple[Step, int]:
        i, hidden = self.pick(), self.draw.choice(WIDTHS)
        w = self.weight(hidden, self.widths[i])
        return lambda p, m: F.linear(F.linear(p[i], m[w]).relu(), m[w].t()), self.widths[i]

    def step_pointwise(self) -> tuple[Step, int]:
        i = self.pick()
        function = self.draw.choice(
            [
                torch.relu,
                torch.tanh,
                F.gelu,
                torch.abs,
                torch.neg,
                lambda x: 2 * x,
                lambda x: x + 1,
                lambda x: x**2,
            ]
        )
        return lambda p, m: function(p[i]), self.widths[i]

    def step_add(self) -> tuple[Step, int]:
        i, j = self.alike()
        return lambda p, m: p[i] - p[j] * 0.5, self.widths[i]

    def step_multiply(self) -> tuple[Step, int]:
        i, j = self.alike()
        return lambda p, m: p[i] * p[j].sigmoid(), self.widths[i]

    def step_scale(self) -> tuple[Step, int]:
        i = self.pick()
        w = self.weight(self.widths[i])
        return (
            self.draw.choice([lambda p, m: p[i] * m[w], lambda p, m: p[i] + m[w]]),
            self.widths[i],
        )

    def step_norm(self) -> tuple[Step, int]:
        i = self.pick()
        w = self.weight(self.widths[i])
        shape = (self.widths[i],)
        kinds = [
            lambda p, m: F.layer_norm(p[i], shape, m[w]),
            lambda p, m: F.rms_norm(p[i], shape, m[w]),
        ]
        kinds += [
            lambda p, m: F.layer_norm(p[i], shape),
            lambda p, m: F.rms_norm(p[i], shape),
            lambda p, m: F.normalize(p[i], dim=-1),
        ]
        return self.draw.choice(kinds), self.widths[i]

    def step_group_norm(self) -> tuple[Step, int]:
        i = self.pick()
        groups = self.split(self.widths[i])
        return (
            lambda p, m: F.group_norm(p[i].transpose(1, 2), groups).transpose(1, 2),
            self.widths[i],
        )

    def step_cat(self) -> tuple[Step, int] | None:
        i, j = self.pick(), self.pick()
        width = self.widths[i] + self.widths[j]
        return (lambda p, m: torch.cat([p[i], p[j]], -1), width) if width <= 24 else None

    def step_slice(self) -> tuple[Step, int] | None:
        i = self.pick()
        if self.widths[i] < 4:
            return None
        start = self.draw.randrange(self.widths[i] - 2)
        stop = self.draw.randrange(start + 2, self.widths[i] + 1)
        return lambda p, m: p[i][..., start:stop], stop - start

    def step_chunk(self) -> tuple[Step, int] | None:
        i = self.pick()
        if self.widths[i] % 2 or self.widths[i] < 4:
            return None
        return (
            self.draw.choice(
                [lambda p, m: torch.mul(*p[i].chunk(2, -1)), lambda p, m: F.glu(p[i])]
            ),
            self.widths[i] // 2,
        )

    def step_pad(self) -> tuple[Step, int]:
        i, before, after = self.pick(), self.draw.randrange(3), self.draw.randrange(3)
        return lambda p, m: F.pad(p[i], (before, after)), self.widths[i] + before + after

    def step_shuffle(self) -> tuple[Step, int]:
        i = self.pick()
        h = self.split(self.widths[i])
        return (
            lambda p, m: p[i].unflatten(-1, (h, -1)).transpose(-1, -2).flatten(-2),
            self.widths[i],
        )

    def step_over_heads(self) -> tuple[Step, int] | None:
        i = self.pick()
        h = self.split(self.widths[i])
        d = self.widths[i] // h
        if d < 2:
            return None
        function = self.draw.choice(
            [
                lambda x: x.sum(-2),
                lambda x: x.mean(-2),
                lambda x: x.amax(-2),
                lambda x: x.select(-2, h - 1),
                lambda x: x[..., 0, :],
            ]
        )
        return lambda p, m: function(p[i].unflatten(-1, (h, d))), d

    def step_inside_heads(self) -> tuple[Step, int]:
        i = self.pick()
        h = self.split(self.widths[i])
        d = self.widths[i] // h
        out = self.draw.choice((2, 3))
        w = self.weight(out, d)
        return lambda p, m: F.linear(p[i].unflatten(-1, (h, d)), m[w]).flatten(-2), h * out

    def step_softmax_of_heads(self) -> tuple[Step, int]:
        i, axis = self.pick(), self.draw.choice((-1, -2))
        h = self.split(self.widths[i])
        return lambda p, m: p[i].unflatten(-1, (h, -1)).softmax(axis).flatten(-2), self.widths[i]

    def step_unbind(self) -> tuple[Step, int] | None:
        i = self.pick()
        if self.widths[i] % 3 or self.widths[i] < 6:
            return None

        def step(p: list[Tensor], m: Any) -> Tensor:
            a, b, c = p[i].unflatten(-1, (3, -1)).unbind(-2)
            return a * b.tanh() + c

        return step, self.widths[i] // 3

    def step_stack(self) -> tuple[Step, int]:
        i, j = self.alike()
        last = self.draw.choice(
            [lambda x: x.flatten(-2), lambda x: x.transpose(-1, -2).flatten(-2)]
        )
        return lambda p, m: last(torch.stack([p[i], p[j].relu()], -2)), 2 * self.widths[i]

    def step_repeat(self) -> tuple[Step, int]:
        i = self.pick()
        kinds = [
            lambda p, m: p[i].repeat(1, 1, 2),
            lambda p, m: p[i].repeat_interleave(2, -1),
            lambda p, m: p[i][..., None, :].expand(-1, -1, 2, -1).flatten(-2),
        ]
        return self.draw.choice(kinds), 2 * self.widths[i]

    def step_attention(self) -> tuple[Step, int]:
        i, j = self.alike()
        k = self.pick()
        h = self.draw.choice(
            [h for h in (1, 2, 3, 4) if self.widths[i] % h == 0 and self.widths[k] % h == 0]
        )
        causal = self.draw.random() < 0.5

        def step(p: list[Tensor], m: Any) -> Tensor:
            q, key, v = (x.unflatten(-1, (h, -1)).transpose(1, 2) for x in (p[i], p[j], p[k]))
            return (
                F.scaled_dot_product_attention(q, key, v, is_causal=causal)
                .transpose(1, 2)
                .flatten(-2)
            )

        return step, self.widths[k]

    def step_written_attention(self) -> tuple[Step, int]:
        i, j = self.alike()
        k = self.pick()
        return lambda p, m: (p[i] @ p[j].transpose(-1, -2)).softmax(-1) @ p[k], self.widths[k]

    def step_gram(self) -> tuple[Step, int]:
        i, j = self.pick(), self.pick()
        return (
            lambda p, m: (
                torch.einsum("btc,btd->bcd", p[i], p[j])
                .mean(1, keepdim=True)
                .expand(-1, p[i].shape[1], -1)
            ),
            self.widths[j],
        )

    def step_einsum(self) -> tuple[Step, int]:
        i, h, d = self.pick(), 2, 3
        w = self.weight(h, self.widths[i], d)
        kinds = [("btc,hcd->bthd", h * d), ("btc,hcd->btd", d), ("btc,hcd->bth", h)]
        equation, width = self.draw.choice(kinds)
        return lambda p, m: torch.einsum(equation, p[i], m[w]).flatten(2), width

    def step_convolution(self) -> tuple[Step, int]:
        i = self.pick()
        width = self.widths[i]
        groups, times = self.draw.choice([1, self.split(width), width]), self.draw.choice((1, 2))
        w = self.weight(width * times, width // groups, 3)
        return (
            lambda p, m: F.conv1d(p[i].transpose(1, 2), m[w], padding=1, groups=groups).transpose(
                1, 2
            ),
            width * times,
        )

    def step_over_time(self) -> tuple[Step, int]:
        i = self.pick()
        function = self.draw.choice(
            [
                lambda x: x.mean(1, keepdim=True) + x,
                lambda x: x.cumsum(1),
                lambda x: x.roll(1, 1),
                lambda x: x.amax(1, keepdim=True) * x,
            ]
        )
        return lambda p, m: function(p[i]), self.widths[i]

    def step_in_order(self) -> tuple[Step, int]:
        i = self.pick()
        function = self.draw.choice(
            [
                lambda x: x.cumsum(-1),
                lambda x: x.flip(-1),
                lambda x: x.roll(1, -1),
                lambda x: x.sort(-1).values,
            ]
        )
        return lambda p, m: function(p[i]), self.widths[i]

    def step_centre(self) -> tuple[Step, int]:
        i = self.pick()
        function = self.draw.choice(
            [
                lambda x: x - x.mean(-1, keepdim=True),
                lambda x: x / (1 + x.pow(2).sum(-1, keepdim=True)).sqrt(),
                lambda x: x * x.var(-1, keepdim=True),
            ]
        )
        return lambda p, m: function(p[i]), self.widths[i]

    def step_write(self) -> tuple[Step, int]:
        i, j = self.alike()
        width = self.widths[i]

        def step(p: list[Tensor], m: Any) -> Tensor:
            both = torch.zeros(*p[i].shape[:2], 2 * width, dtype=p[i].dtype)
            both[..., :width] = p[i]
            both[..., width:].add_(p[j])
            return both

        return step, 2 * width

    def step_outer(self) -> tuple[Step, int] | None:
        i, j = self.pick(), self.pick()
        width = self.widths[i] * self.widths[j]
        return (
            (lambda p, m: (p[i].unsqueeze(-1) * p[j].unsqueeze(-2)).flatten(-2), width)
            if width <= 36
            else None
        )

    def step_places(self) -> tuple[Step, int]:
        """A table of positions, which may be read in another order."""
        i = self.pick()
        w = self.weight(4, self.widths[i])
        kinds = [
            lambda p, m: p[i] + m[w],
            lambda p, m: p[i] * m[w].roll(1, 0),
            lambda p, m: p[i] + m[w][[2, 0, 1, 3]],
            lambda p, m: p[i] * m[w].flip(0),
        ]
        return self.draw.choice(kinds), self.widths[i]

    def step_over_places(self) -> tuple[Step, int]:
        """A layer that maps positions to positions; one per coordinate, or the same for all."""
        i = self.pick()
        w, u = self.weight(4, 4), self.weight(self.widths[i], 4, 4)
        kinds = [
            lambda p, m: F.linear(p[i].transpose(1, 2), m[w]).transpose(1, 2),
            lambda p, m: torch.einsum("bsc,cts->btc", p[i], m[u]),
        ]
        return self.draw.choice(kinds), self.widths[i]

    def step_recurrent(self) -> tuple[Step, int]:
        i, h = self.pick(), self.draw.choice((4, 6))
        kind, gates = self.draw.choice([("gru", 3), ("lstm", 4), ("rnn_tanh", 1)])
        w = self.weight(gates * h, self.widths[i])
        u, b, c = self.weight(gates * h, h), self.weight(gates * h), self.weight(gates * h)

        def step(p: list[Tensor], m: Any) -> Tensor:
            start = p[i].new_zeros(1, p[i].shape[0], h)
            params = [m[w], m[u], m[b], m[c]]
            state = (start, start) if kind == "lstm" else start
            return getattr(torch, kind)(p[i], state, params, True, 1, 0.0, False, False, True)[0]

        return step, h

    def step_where(self) -> tuple[Step, int]:
        i, j = self.alike()
        return lambda p, m: torch.where(p[i] > 0, p[i], p[j]), self.widths[i]

    def step_distances(self) -> tuple[Step, int]:
        i, j = self.alike()
        return (
            lambda p, m: (
                (p[i].unsqueeze(1) - p[j].unsqueeze(2)).pow(2).sum(-1).neg().softmax(-1) @ p[j]
            ),
            self.widths[i],
        )

    def step_per_head(self) -> tuple[Step, int]:
        """A weight of its own for each head, by broadcasting or as a grouped convolution."""
        i = self.pick()
        h = self.split(self.widths[i])
        d = self.widths[i] // h
        w = self.weight(h, d, d)
        return (
            lambda p, m: (p[i].unflatten(-1, (h, d)).unsqueeze(-2) @ m[w]).flatten(-3),
            self.widths[i],
        )
