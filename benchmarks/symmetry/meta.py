"""How long and how much memory it takes to find the symmetries of a network of billions of
parameters, on the meta device.

    python benchmarks/symmetry/meta.py [--layers 32] [--width 3072]

The network is a decoder as Llama's: grouped-query attention with rotary positions, gated layers,
RMS norms written out in float32. Not one weight is allocated. Prints one line of figures:
parameters, seconds to trace and to solve, the peak of memory of the whole process.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.symmetry import solve, trace


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.float32)
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(
            x.dtype
        )


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, groups: int, hidden: int) -> None:
        super().__init__()
        self.size = width // heads
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.q, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = (
            nn.Linear(width, groups * self.size, bias=False),
            nn.Linear(width, groups * self.size, bias=False),
        )
        self.gate, self.up = (
            nn.Linear(width, hidden, bias=False),
            nn.Linear(width, hidden, bias=False),
        )
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        y = self.norm1(x)
        q, k, v = (
            linear(y).unflatten(-1, (-1, self.size)).transpose(1, 2)
            for linear in (self.q, self.k, self.v)
        )
        q, k = (
            z * cos + torch.cat([-z[..., self.size // 2 :], z[..., : self.size // 2]], -1) * sin
            for z in (q, k)
        )
        k, v = (
            z[:, :, None]
            .expand(-1, -1, q.shape[1] // z.shape[1], -1, -1)
            .reshape(z.shape[0], q.shape[1], z.shape[2], z.shape[3])
            for z in (k, v)
        )
        x = x + self.out(
            F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        )
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Decoder(nn.Module):
    def __init__(self, layers: int, width: int, vocabulary: int = 128256) -> None:
        super().__init__()
        heads = width // 128
        self.table, self.norm, self.head = (
            nn.Embedding(vocabulary, width),
            Norm(width),
            nn.Linear(width, vocabulary, bias=False),
        )
        self.layers = nn.ModuleList(
            Layer(width, heads, max(heads // 3, 1), width * 8 // 3 // 256 * 256)
            for _ in range(layers)
        )
        self.register_buffer(
            "frequencies", 1 / 500000 ** (torch.arange(0, 128, 2) / 128), persistent=False
        )

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        angles = torch.outer(
            torch.arange(tokens.shape[1], device=tokens.device, dtype=torch.float32),
            self.frequencies,
        )
        angles = torch.cat([angles, angles], -1)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin())
        return self.head(self.norm(x))


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Symmetries of a network of billions of parameters on the meta device."
    )
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=3072)
    parser.add_argument("--tokens", type=int, default=128)
    given = parser.parse_args()
    with torch.device("meta"):
        model = Decoder(given.layers, given.width)
        tokens = torch.zeros(2, given.tokens, dtype=torch.int64)
    start = time.perf_counter()
    traced = trace(model, (tokens,))
    middle = time.perf_counter()
    spec = solve(traced)
    end = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{spec.parameters / 1e9:.2f} billion parameters: traced in {middle - start:.1f} s, solved"
        f" in {end - middle:.1f} s, peak {memory:.2f} GiB; {len(spec.groups)} groups cover"
        f" {100 * spec.coverage:.1f} %, {sum(bool(g.over) for g in spec.groups)} of them per head"
    )


if __name__ == "__main__":
    main()
