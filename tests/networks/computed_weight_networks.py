"""Networks whose weights are computed from others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

Make = Callable[[nn.Module], nn.Module]


def dense(norm: Make) -> nn.Module:
    layers = [norm(nn.Linear(5, 8)), nn.ReLU(), norm(nn.Linear(8, 6)), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(6, 3))


def convolutional(norm: Make) -> nn.Module:
    layers = [norm(nn.Conv1d(5, 8, 3)), nn.ReLU(), norm(nn.ConvTranspose1d(8, 6, 3)), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv1d(6, 3, 1))


def pruned() -> nn.Module:
    model = dense(lambda layer: layer)
    for layer in (model[0], model[2]):
        prune.random_unstructured(layer, "weight", 0.5)
    return model


class FrozenNorm(nn.Module):
    """A batch norm made of buffers, as detectors use it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("mean", 0.0), ("variance", 1.0)):
            self.register_buffer(name, torch.full((width,), value))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.reshape(1, -1, 1), self.bias.reshape(1, -1, 1)
        scale = weight * (self.variance.reshape(1, -1, 1) + 1e-5).rsqrt()
        return x * scale + (bias - self.mean.reshape(1, -1, 1) * scale)


class Equalised(nn.Module):
    """A weight times a number, as in networks of equalised learning rates."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(F.linear(x, self.a.weight * 5**-0.5, self.a.bias))
        return F.linear(h, self.b.weight / 8**0.5, self.b.bias)


class Messages(nn.Module):
    """Two rounds of messages along edges, summed at the nodes in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first = nn.Linear(5, 8)
        self.send = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.keep = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        h = torch.relu(self.first(x))
        for send, keep in zip(self.send, self.keep, strict=True):
            message = torch.relu(send(h[edges[0]]))
            h = torch.relu(keep(h) + self.problem(message, edges[1], h))
        return self.last(h)

    def problem(self, message: Tensor, at: Tensor, h: Tensor) -> Tensor:
        zeros = torch.zeros(h.shape[0], message.shape[1], dtype=message.dtype)
        wide = at[:, None].expand(-1, message.shape[1])
        if self.way == "index_add":
            return zeros.index_add(0, at, message)
        if self.way == "index_add in place":
            return zeros.index_add_(0, at, message)
        if self.way == "index_reduce":
            return zeros.index_reduce(0, at, message, "mean")
        if self.way == "scatter_add":
            return zeros.scatter_add(0, wide, message)
        if self.way == "scatter":
            return zeros.scatter(0, wide, message)
        return zeros.scatter_reduce(0, wide, message, self.way, include_self=False)


class Waves(nn.Module):
    """A Fourier layer beside a plain one; `weights` complex, or two real numbers each."""

    def __init__(self, weights: str = "complex", padded: bool = False) -> None:
        super().__init__()
        self.padded = padded
        self.lift, self.local, self.last = (
            nn.Conv1d(2, 8, 1),
            nn.Conv1d(8, 8, 1),
            nn.Conv1d(8, 3, 1),
        )
        self.complex = weights == "complex"
        own = torch.randn(8, 8, 4, dtype=torch.cfloat) if self.complex else torch.randn(8, 8, 4, 2)
        self.spectral = nn.Parameter(own / 8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.lift(x)
        weight = self.spectral if self.complex else torch.view_as_complex(self.spectral)
        low = torch.einsum("bim,iom->bom", torch.fft.rfft(h)[:, :, :4], weight)
        if self.padded:
            full = F.pad(low, (0, x.shape[-1] // 2 + 1 - 4))
        else:
            full = torch.zeros(len(x), 8, x.shape[-1] // 2 + 1, dtype=low.dtype)
            full[:, :, :4] = low
        return self.last(torch.relu(torch.fft.irfft(full, n=x.shape[-1]) + self.local(h))).mean(-1)


class GlobalFilter(nn.Module):
    """A filter of every channel in the frequencies of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.last = nn.Linear(3, 8), nn.Linear(8, 3)
        self.filter = nn.Parameter(torch.randn(6, 4, 8, 2))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.read(x))
        found = torch.fft.rfft2(h, dim=(1, 2), norm="ortho") * torch.view_as_complex(self.filter)
        return self.last(
            torch.relu(torch.fft.irfft2(found, s=(6, 6), dim=(1, 2), norm="ortho")).mean((1, 2))
        )


class Bag(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.bag, self.a, self.b = (
            nn.EmbeddingBag(20, 8, mode=mode),
            nn.Linear(8, 6),
            nn.Linear(6, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(torch.relu(self.bag(x)))))


def rows() -> tuple[Any, ...]:
    return (torch.randn(4, 5),)


def series() -> tuple[Any, ...]:
    return (torch.randn(4, 5, 9),)


def graph() -> tuple[Any, ...]:
    return torch.randn(7, 5), torch.randint(0, 7, (2, 11))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Any, ...]]]] = {
    "weight norm": (lambda: dense(parametrizations.weight_norm), rows),
    "weight norm of inputs": (
        lambda: dense(lambda m: parametrizations.weight_norm(m, dim=1)),
        rows,
    ),
    "weight norm as a whole": (
        lambda: dense(lambda m: parametrizations.weight_norm(m, dim=None)),
        rows,
    ),
    "weight norm of convolutions": (lambda: convolutional(parametrizations.weight_norm), series),
    "weight norm of convolutions' inputs": (
        lambda: convolutional(lambda m: parametrizations.weight_norm(m, dim=1)),
        series,
    ),
    "weight norm by hooks": (lambda: dense(weight_norm), rows),
    "spectral norm": (lambda: dense(parametrizations.spectral_norm), rows),
    "spectral norm of convolutions": (
        lambda: convolutional(parametrizations.spectral_norm),
        series,
    ),
    "spectral norm by hooks": (lambda: dense(spectral_norm), rows),
    "pruned by masks": (pruned, rows),
    "frozen norms": (
        lambda: nn.Sequential(nn.Conv1d(5, 8, 1), FrozenNorm(8), nn.ReLU(), nn.Conv1d(8, 3, 1)),
        series,
    ),
    "weights times a number": (Equalised, rows),
    **{
        f"messages by {way}": (lambda way=way: Messages(way), graph)
        for way in (
            "index_add",
            "index_add in place",
            "index_reduce",
            "scatter_add",
            "scatter",
            "sum",
            "mean",
            "amax",
            "prod",
        )
    },
    "a Fourier layer": (Waves, lambda: (torch.randn(4, 2, 16),)),
    "a Fourier layer, padded": (lambda: Waves(padded=True), lambda: (torch.randn(4, 2, 16),)),
    "a Fourier layer of real numbers": (lambda: Waves("real"), lambda: (torch.randn(4, 2, 16),)),
    "filters of frequencies": (GlobalFilter, lambda: (torch.randn(4, 6, 6, 3),)),
    **{
        f"bags, {mode}": (lambda mode=mode: Bag(mode), lambda: (torch.randint(20, (4, 6)),))
        for mode in ("sum", "mean", "max")
    },
}
