"""Small networks of every kind that gates must cope with, with random weights and random
statistics, and what the tests of soft merging share.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from small_networks import Plain, Residual, loader
from torch import Tensor, nn

import onefold
from onefold.fold import SoftMerge, SoftResult, fit_gates

WORDS, LENGTH, CLASSES = 20, 7, 4


class VisionTransformer(nn.Module):
    """One block whose query, key and value come from a linear layer; a class token and positions as
    raw parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.width = 2, 8
        self.patch = nn.Conv2d(1, 8, 4, stride=4)
        self.cls_token = nn.Parameter(0.5 * torch.randn(1, 1, 8))
        self.pos_embed = nn.Parameter(0.5 * torch.randn(1, 5, 8))
        self.norm1 = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.proj = nn.Linear(8, 8)
        self.norm2 = nn.LayerNorm(8)
        self.fc1 = nn.Linear(8, 16)
        self.fc2 = nn.Linear(16, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        n, t, d = x.shape
        q, k, v = (
            self.qkv(self.norm1(x))
            .reshape(n, t, 3, self.heads, d // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d))
        x = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return self.head(self.norm(x)[:, 0])


class Recurrent(nn.Module):
    """An embedding, an LSTM of two layers in both directions, and a linear layer on the mean of its
    outputs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 6)
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(words))[0].mean(1))


class Attention(nn.Module):
    """torch's own attention, which keeps a raw projection beside a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        x = self.embedding(words)
        return self.head((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))


class Tied(nn.Module):
    """The embedding is the weight of the last layer as well: logits over all words, from the mean
    of the sentence.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 8)
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, WORDS, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:
        return self.head(F.gelu(self.hidden(self.embedding(words).mean(1))))


class WithoutAffine(nn.Module):
    """Batch norm that has statistics but neither weight nor bias."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6, affine=False)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.conv(x))).mean((2, 3)))


KINDS: list[type[nn.Module]] = [
    Plain,
    Residual,
    VisionTransformer,
    Recurrent,
    Attention,
    Tied,
    WithoutAffine,
]
TEXT = (Recurrent, Attention, Tied)


def random_network(
    kind: type[nn.Module], seed: int, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """A network of this class with random weights, scales and running statistics, in eval mode."""
    torch.manual_seed(seed)
    network = kind()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            for parameter in module.parameters():
                parameter.data.copy_(torch.randn_like(parameter))
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.2, 3.0)
    return network.to(dtype).eval()


def random_members(
    kind: type[nn.Module], count: int = 3, dtype: torch.dtype = torch.float32
) -> list[nn.Module]:
    """`count` independent networks."""
    return [random_network(kind, seed, dtype) for seed in range(count)]


def inputs_for(
    kind: type[nn.Module], count: int = 64, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Random pictures or sentences, as this class of network reads them."""
    generator = torch.Generator().manual_seed(seed)
    if kind in TEXT:
        return torch.randint(WORDS, (count, LENGTH), generator=generator)
    return torch.randn(count, 1, 8, 8, generator=generator).to(dtype)


def labelled(
    kind: type[nn.Module], count: int = 64, seed: int = 0, dtype: torch.dtype = torch.float32
) -> list[tuple[Tensor, Tensor]]:
    """Two batches of random inputs with labels."""
    x, y = inputs_for(kind, count, seed, dtype), torch.arange(count) % CLASSES
    return [(x[: count // 2], y[: count // 2]), (x[count // 2 :], y[count // 2 :])]


def set_gates(soft: SoftMerge, seed: int = 0, spread: float = 1.0) -> Tensor:
    """Give every gate a random log-alpha and return the gates (rows, members)."""
    generator = torch.Generator().manual_seed(seed)
    log_alpha = soft.gate.log_alpha
    log_alpha.data.copy_(spread * torch.randn(log_alpha.shape, generator=generator))
    with torch.no_grad():
        return soft.gate(False)


def keep_only(soft: SoftMerge, member: int) -> None:
    """Open the gates of one member entirely and shut all others."""
    soft.gate.log_alpha.data.fill_(-5.0)
    soft.gate.log_alpha.data[:, member] = 5.0


def bits(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the module's state."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def same_bits(state: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are equal bit for bit; NaN equals NaN."""
    return state.keys() == other.keys() and all(
        torch.equal(value.nan_to_num(0.5, 2.5, -2.5), other[name].nan_to_num(0.5, 2.5, -2.5))
        for name, value in state.items()
    )


def as_rows(soft: SoftMerge, gates: Tensor) -> dict[str, Tensor]:
    """Every site's row of gates, by its name."""
    return {site.name: row for site, row in zip(soft.sites, gates, strict=True)}


def layer_level(members: Sequence[nn.Module], **arguments: object) -> SoftMerge:
    """A soft merge without alignment and screening."""
    return SoftMerge(members, "layer", align="none", reference=0, screen=False, **arguments).eval()


def difference(found: Tensor, expected: Tensor) -> float:
    """Relative to the largest output."""
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


TEST = loader(512, seed=99, batch=128)


def accuracy(model: nn.Module) -> float:
    """Accuracy on 512 test examples."""
    return onefold.evaluate(model, TEST).accuracy


def unaligned(networks: list[nn.Module], level: str, **arguments: object) -> SoftMerge:
    """A soft merge without alignment and screening."""
    return SoftMerge(
        networks, level, **{"align": "none", "reference": 0, "screen": False, **arguments}
    )  # type: ignore[arg-type]


def quick(soft: SoftMerge, steps: int = 5, **arguments: object) -> SoftResult:
    """Learn the gates for a few steps."""
    return fit_gates(soft, loader(256), steps=steps, **arguments)  # type: ignore[arg-type]


def addresses(modules: list[nn.Module]) -> set[int]:
    """Where the tensors of modules lie in memory."""
    return {t.data_ptr() for m in modules for t in (*m.parameters(), *m.buffers())}


def outside(network: nn.Module, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """A copy of the state but for names that begin with one of the prefixes."""
    return {name: value for name, value in bits(network).items() if not name.startswith(prefixes)}
