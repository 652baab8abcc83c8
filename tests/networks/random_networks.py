"""Random networks as users bring them, each with its data: number n is always the same network.

Three families: sequences (the steps of `drawn_networks.Drawn` and those added here), images
and lists of tokens. They hold parametrized weights, norms that run at several places, complex and
integer tensors; they return one tensor or several and take batches of one size or of several.
Every network looks trained: its norms have statistics, and scales of both signs.
"""

from __future__ import annotations

import copy
import itertools
import random
import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from random_pictures import Pictures
from random_sequences import Sequences
from random_tokens import Tokens
from torch import Tensor, nn
from torch.utils import _pytree as pytree

CLASSES = 3
BATCHES, EXAMPLES = 3, 24
NUDGE, SENSITIVE = 1e-4, 30.0  # outputs that move by more times NUDGE would show mere rounding
RETURNS = ("tuple", "dict", "named", "features first")
FAMILIES = {"sequence": Sequences, "image": Pictures, "tokens": Tokens}


class Answer(NamedTuple):
    """What a network of several outputs may return."""

    logits: Tensor
    features: Tensor


class Network(nn.Module):
    """A body that makes features (batch, positions, width), a head, and a way to return."""

    def __init__(self, body: nn.Module, width: int, pooled: bool, returns: str) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, CLASSES)
        self.pooled, self.returns = pooled, returns

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        features = self.body(x)
        if mask is not None:
            features = features * mask.unsqueeze(-1)
        if self.pooled:
            features = features.mean(1)
        logits = self.head(features)
        if self.returns == "tuple":
            return logits, features
        if self.returns == "dict":
            return {"logits": logits, "features": features}
        if self.returns == "named":
            return Answer(logits, features)
        return (features, logits) if self.returns == "features first" else logits


@dataclass(frozen=True)
class Case:
    """A network in evaluation mode, its calibration batches, another batch, and what it is.

    labelled: the batches have labels of one class an example. sizes: how many sizes the inputs
    have. statistics: whether those of its norms are of the "calibration" data or of "other" data.
    """

    number: int
    network: nn.Module
    data: list[Any]
    fresh: Any
    family: str
    steps: tuple[str, ...]
    returns: str
    dtype: str
    labelled: bool
    sizes: int
    statistics: str

    def kinds(self) -> set[str]:
        """What users would know the network by."""
        tensors = [*self.network.parameters(), *self.network.buffers()]
        layers = list(self.network.modules())
        calls: dict[nn.Module, int] = {}

        def count(module: nn.Module, _: Any) -> None:
            calls[module] = calls.get(module, 0) + 1

        handles = [layer.register_forward_pre_hook(count) for layer in layers]
        with torch.no_grad():
            called(self.network, self.fresh)
        for handle in handles:
            handle.remove()
        twice = [layer for layer, times in calls.items() if times > 1]
        args, keywords = inputs_of(self.fresh)
        steps = " ".join(self.steps)
        scales = [m.weight for m in layers if _tracks(m) and m.weight is not None]
        found = {
            "parametrized": any(hasattr(m, "parametrizations") for m in layers),
            "a norm at several places": any(_tracks(m) for m in twice),
            "a layer at several places": any(isinstance(m, nn.Linear | nn.Conv2d) for m in twice),
            "complex": any(x.is_complex() for x in tensors),
            "integers": any(not x.is_floating_point() and x.dim() for x in tensors),
            "masks": "mask" in steps,
            "several outputs": self.returns != "one",
            "several sizes": self.sizes > 1,
            "several inputs": len(args) + len(keywords) > 1,
            "float64": self.dtype == "float64",
            "frozen": any(not p.requires_grad for p in self.network.parameters()),
            "negative scales": any(bool((scale < 0).any()) for scale in scales),
            "tied": getattr(self.network.body, "tied", False),
            "recurrent": "recurrent" in steps,
            "attention": "attention" in steps or "encoder" in steps or "multihead" in steps,
        }
        return {name for name, there in found.items() if there}

    def outputs(self, network: nn.Module) -> list[list[Tensor]]:
        """Every tensor that the network returns for each batch, the one it was not shown too."""
        with torch.no_grad():
            return [called(network, item) for item in (*self.data, self.fresh)]


def case(number: int) -> Case:
    """The network of that number: of all that its seed draws the first that is fit to be judged."""
    with torch.random.fork_rng(devices=[]):
        for attempt in itertools.count():
            seed = zlib.crc32(f"{number}/{attempt}".encode())
            torch.manual_seed(seed)
            made = _draw(number, random.Random(seed))
            if _is_fit(made):
                return made
    raise AssertionError("unreachable")


def called(network: nn.Module, item: Any) -> list[Tensor]:
    """All tensors that the network returns for the inputs of a batch, its labels left out."""
    args, kwargs = inputs_of(item)
    return [x for x in pytree.tree_leaves(network(*args, **kwargs)) if isinstance(x, Tensor)]


def inputs_of(item: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Positional and keyword inputs of a batch in any of the forms that are drawn here."""
    if isinstance(item, dict):
        return (), {name: value for name, value in item.items() if name != "labels"}
    inputs = item[0] if isinstance(item, tuple) else item
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def largest_deviation(ours: list[list[Tensor]], theirs: list[list[Tensor]]) -> float:
    """The largest difference over all outputs, each in units of its own largest value."""
    worst = 0.0
    for number in range(len(ours[0])):
        a = torch.cat([batch[number].flatten() for batch in ours]).double()
        b = torch.cat([batch[number].flatten() for batch in theirs]).double()
        gap = float((a - b).abs().max() / a.abs().max())
        worst = max(worst, gap if gap == gap else float("inf"))
    return worst


def _draw(number: int, draw: random.Random) -> Case:
    family = draw.choice(["sequence", "sequence", "image", "tokens"])
    several = draw.random() < 0.2
    body = FAMILIES[family](draw.randrange(2**31), several)
    returns = draw.choice(RETURNS) if draw.random() < 0.4 else "one"
    pooled, masked = draw.random() < 0.75, draw.random() < 0.2
    network = Network(body, body.out, pooled, returns)
    _randomise(network, draw)
    dtype = torch.float64 if draw.random() < 0.15 else torch.float32
    labelled = pooled and returns != "features first" and draw.random() < 0.8
    shapes = [body.shape(several and k % 2 == 1) for k in range(BATCHES + 1)]
    inputs = [_inputs(family, shape, masked, dtype) for shape in shapes]
    if dtype == torch.float64:
        network.double()
    statistics = draw.choice(["calibration", "other"])
    _train(network, inputs[:-1], other=statistics == "other")
    form = draw.choice(["pair", "keywords"]) if masked else "pair"
    items = [_item(network, x, labelled, form) for x in inputs]
    return Case(
        number,
        network,
        items[:-1],
        items[-1],
        family,
        tuple(body.names),
        returns,
        str(dtype).removeprefix("torch."),
        labelled,
        1 + several,
        statistics,
    )


def _randomise(network: nn.Module, draw: random.Random) -> None:
    """Scales of both signs and shifts for every norm, as if trained; some frozen parts."""
    for module in network.modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Embedding | nn.PReLU):
            continue
        if isinstance(weight, nn.Parameter) and weight.dim() == 1:
            signs = torch.where(torch.rand_like(weight) < 0.3, -1.0, 1.0)
            weight.data = signs * (0.5 + torch.rand_like(weight))
            if isinstance(bias, nn.Parameter):
                bias.data = 0.3 * torch.randn_like(bias)
    for parameter in network.parameters():
        parameter.requires_grad_(draw.random() > 0.1)


def _tracks(module: nn.Module) -> bool:
    return getattr(module, "running_mean", None) is not None


def _inputs(family: str, shape: tuple[int, ...], masked: bool, dtype: torch.dtype) -> list[Tensor]:
    if family == "tokens":
        x = torch.randint(0, Tokens.VOCABULARY, (EXAMPLES, *shape))
    else:
        x = torch.randn(EXAMPLES, *shape, dtype=dtype) * 1.2 + 0.3
    positions = shape[0] if family != "image" else shape[1] * shape[2]
    return [x, (torch.rand(EXAMPLES, positions) < 0.8).to(dtype)] if masked else [x]


def _train(network: nn.Module, inputs: list[list[Tensor]], other: bool) -> None:
    """Statistics for all norms by passes over the inputs, or others; then evaluation mode."""
    norms = [m for m in network.modules() if _tracks(m)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None
    with torch.no_grad():
        for x, *rest in inputs:
            shown = x * 1.3 - 0.2 if other and x.is_floating_point() else x.flip(1) if other else x
            network(shown, *rest)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def _item(network: nn.Module, inputs: list[Tensor], labelled: bool, form: str) -> Any:
    labels = None
    if labelled:
        with torch.no_grad():
            returned = network(*inputs)
            logits = returned["logits"] if isinstance(returned, dict) else returned
            labels = (logits if isinstance(logits, Tensor) else logits[0]).argmax(-1)
    if form == "keywords":
        item = {"x": inputs[0], "mask": inputs[1]}
        return item | {"labels": labels} if labelled else item
    x = inputs[0] if len(inputs) == 1 else tuple(inputs)
    return (x, labels) if labelled or len(inputs) > 1 else x


def _is_fit(made: Case) -> bool:
    """Outputs are finite and differ between examples, and follow the weights without leaps."""
    ours = made.outputs(made.network)
    for outputs in ours:
        for y in outputs:
            top = y.abs().max()
            if not (torch.isfinite(y).all() and 1e-3 < top < 1e4 and y.std(0).mean() > 0.01 * top):
                return False
    nudged = copy.deepcopy(made.network)
    for parameter in nudged.parameters():
        parameter.data *= 1 + NUDGE * torch.randn(parameter.shape, dtype=parameter.real.dtype)
    return largest_deviation(ours, made.outputs(nudged)) < SENSITIVE * NUDGE


def members(made: Case, count: int) -> list[nn.Module]:
    """The network and copies of it."""
    return [made.network, *(copy.deepcopy(made.network) for _ in range(count - 1))]
