"""Small networks that are trained in seconds, each from a recipe, and kept outside the repository.

AdamW under a rate that rises over a tenth of the steps and falls to zero by a cosine, batches of
64 images. Everything random depends on the seed of the recipe. A member is trained once; its file
is named by its recipe and lies in the folder that ONEFOLD_DEFAULT_STATE names (default:
~/.cache/onefold/default).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.default.data import small_data
from benchmarks.members.shares import Share
from benchmarks.members.training import wrong_labels
from onefold.sources.networks import digits, smallcnn

BATCH = 64
NOISE = 2.0
FEW = 0.05  # of the images of a class of which a member saw few
CLASSES = {"digits": 10, "fashion": 10, "easy": 6}


@dataclass(frozen=True)
class Seen:
    """The images that a member is trained on: of those numbered `first` to `last`, a share.

    kind: "all", "halves", "dirichlet" or "fold" as in benchmarks/members/shares.py; "disjoint": one
    of `of` equal groups of classes; "parts": one of `of` random parts; "few": all, but only 5 % of
    the images of three classes that differ from member to member; "overlap": of two members the
    first lacks the last three classes and the second one the first three.
    """

    kind: str = "all"
    part: int = 0
    of: int = 1
    draw: int = 0
    first: int = 0
    last: int = 8000

    def indices(self, labels: Tensor) -> Tensor:
        """Positions of the images that are seen, int64; `labels` (n,) of all images."""
        own = labels[self.first : self.last]
        return self.first + self._within(own)

    def _within(self, labels: Tensor) -> Tensor:
        classes = int(labels.max()) + 1
        generator = torch.Generator().manual_seed(self.draw)
        if self.kind == "disjoint":
            return torch.nonzero(labels * self.of // classes == self.part).flatten()
        if self.kind == "overlap":
            lacking = labels >= classes - 3 if self.part == 0 else labels < 3
            return torch.nonzero(~lacking).flatten()
        if self.kind == "parts":
            order = torch.randperm(len(labels), generator=generator)
            return order.tensor_split(self.of)[self.part]
        if self.kind == "few":
            rare = [(3 * self.part + k) % classes for k in range(3)]
            kept = torch.rand(len(labels), generator=generator) < FEW
            return torch.nonzero(~torch.isin(labels, torch.tensor(rare)) | kept).flatten()
        return Share(self.kind, self.part, self.of, self.draw).indices(labels)


@dataclass(frozen=True)
class Member:
    """How one network comes about.

    network: a name in NETWORKS. data: a name in `small_data`. epochs: 0 leaves the weights as they
    are. wrong: the share of images with a wrong label. origin: the member that it starts from.
    spoilt: "noise" adds to each weight a normal draw of `NOISE` deviations of its tensor,
    "flipped" reverses the classes of the last layer, "nan" puts one NaN into it.
    """

    network: str
    data: str
    seed: int
    seen: Seen = field(default_factory=Seen)
    epochs: int = 8
    lr: float = 2e-3
    weight_decay: float = 0.0
    wrong: float = 0.0
    origin: Member | None = None
    spoilt: str = ""

    @property
    def file(self) -> Path:
        """Where the weights are kept."""
        number = hashlib.blake2b(repr(self).encode(), digest_size=10).hexdigest()
        return state_folder() / f"{self.network}-{self.data}-{number}.safetensors"

    def model(self) -> nn.Module:
        """The network in evaluation mode; it is trained if that was not done before."""
        model = NETWORKS[self.network](self.data)
        if self.file.exists():
            model.load_state_dict(load_file(self.file))
            return model.eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = NETWORKS[self.network](self.data)
        if self.origin is not None:
            model.load_state_dict(self.origin.model().state_dict())
        _train(self, model)
        _spoil(self, model)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(f".{os.getpid()}.part")
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, part)
        part.replace(self.file)
        return model.eval()


def state_folder() -> Path:
    """Where trained members are kept."""
    home = Path.home() / ".cache" / "onefold" / "default"
    return Path(os.environ.get("ONEFOLD_DEFAULT_STATE", home))


@torch.enable_grad()
def _train(member: Member, model: nn.Module) -> None:
    seen = small_data(member.data).seen
    index = member.seen.indices(seen.labels)
    images, labels = seen.images[index], seen.labels[index]
    if member.wrong:
        labels = wrong_labels(labels, member.wrong, member.seed)
    steps = member.epochs * math.ceil(len(labels) / BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), member.lr, weight_decay=member.weight_decay)
    generator = torch.Generator().manual_seed(member.seed)
    step = 0
    model.train()
    for _ in range(member.epochs):
        for batch in torch.randperm(len(labels), generator=generator).split(BATCH):
            for group in optimizer.param_groups:
                group["lr"] = member.lr * _rate(step / steps)
            step += 1
            if len(batch) > 1:  # batch norm needs two
                loss = F.cross_entropy(model(images[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


def _rate(done: float) -> float:
    return min(1.0, 10 * done + 0.1) * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def _spoil(member: Member, model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(member.seed)
    weights = [w for w in model.parameters() if w.dim() > 1]
    if member.spoilt == "noise":
        for weight in weights:
            weight += NOISE * weight.std() * torch.randn(weight.shape, generator=generator)
    elif member.spoilt == "nan":
        weights[-1].view(-1)[0] = math.nan
    elif member.spoilt == "flipped":
        for weight in list(model.parameters())[-2:]:
            weight.copy_(weight.flip(0))
    elif member.spoilt:
        raise ValueError(f"There is no damage '{member.spoilt}'; they are noise, flipped and nan.")


class RowTransformer(nn.Module):
    """Two pre-norm blocks over the eight rows of a digit: (n, 1, 8, 8) images to (n, 10) logits."""

    def __init__(self, width: int = 32, heads: int = 4, blocks: int = 2) -> None:
        super().__init__()
        self.rows = nn.Linear(8, width)
        self.places = nn.Parameter(0.02 * torch.randn(8, width))
        self.layers = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        x = self.rows(x.squeeze(1)) + self.places
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.head(self.norm(x).mean(1))
        return logits


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        q, k, v = (
            part(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.second(x))))


def _mlp(data: str) -> nn.Module:
    inputs = 64 if data == "digits" else 784
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, 64),
        nn.ReLU(),
        nn.Linear(64, 48),
        nn.ReLU(),
        nn.Linear(48, CLASSES[data]),
    )


NETWORKS: dict[str, Callable[[str], nn.Module]] = {
    "mlp": _mlp,
    "digits": lambda data: digits(12, CLASSES[data]),
    "smallcnn": lambda data: smallcnn(CLASSES[data]),
    "transformer": lambda data: RowTransformer(),
}
