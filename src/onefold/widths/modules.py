"""The sizes that torch's modules keep beside their tensors, one small rule for each class.

A rule gets the module with its new tensors and sets the attributes that say their sizes. It serves
subclasses too. Sizes of other modules are found by trial (see widths/attributes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from onefold.errors import WidthsError
from onefold.symmetry.axes import Axes, live_groups
from onefold.widths.sizes import leading


@dataclass(frozen=True)
class Place:
    """A module of the new network, with what its rule needs to know.

    Attributes:
        name: name of the module in the network.
        module: the module, with its new tensors.
        axes: name of its tensor in the module -> terms of the axes.
        widths: group name -> new number of units, of those that change.
    """

    name: str
    module: nn.Module
    axes: Mapping[str, Axes]
    widths: Mapping[str, int]

    def outer(self, tensor: str, axis: int, count: int) -> int:
        """The new number of what is counted along the outer part of an axis, `count` before."""
        term = self.axes[tensor][axis] if tensor in self.axes else None
        found = None if term is None else leading(term, count, self.widths)
        return count if found is None else found

    def groups(self, tensor: str, axis: int) -> str:
        """The names of the groups on an axis, for a message."""
        names = live_groups(self.axes[tensor][axis]) if tensor in self.axes else ()
        return ", ".join(dict.fromkeys(names)) or "none"

    def __str__(self) -> str:
        return f"'{self.name}' ({type(self.module).__name__})"


Rule = Callable[[Place], None]
_RULES: dict[type[nn.Module], Rule] = {}


def rule(*classes: type[nn.Module]) -> Callable[[Rule], Rule]:
    """Decorator that makes a function the rule of these classes and of their subclasses."""

    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(classes, function))
        return function

    return register


# Sizes of torch's modules without a rule, or without tensors of their own.
_ALLOWED = {
    "d_model",
    "nhead",
    "unflattened_size",
    "normalized_shape",
    "num_channels",
    "num_groups",
    "groups",
}
_UNDECLARED = {"embed_dim", "kdim", "vdim", "num_heads", "head_dim"}  # of MultiheadAttention


def has_rule(module: nn.Module) -> bool:
    """Whether a rule sets the sizes of such a module."""
    return any(kind in _RULES for kind in type(module).__mro__)


def own_attributes(module: nn.Module) -> set[str]:
    """The attributes of a module that are no sizes, or that a rule has set."""
    of_torch = [k for k in type(module).__mro__ if k.__module__.startswith("torch.")]
    ruled = has_rule(module) and any(True for _ in module.parameters(recurse=False))
    if type(module) is of_torch[0]:
        return set(vars(module)) - (set() if ruled else _ALLOWED)
    names = {"training", *(_UNDECLARED if isinstance(module, nn.MultiheadAttention) else ())}
    for kind in of_torch:
        names |= {*getattr(kind, "__constants__", ()), *vars(kind).get("__annotations__", ())}
    return names - (set() if ruled else _ALLOWED)


def set_sizes(place: Place) -> bool:
    """Set the sizes that a module keeps, if its class has a rule; whether it has.

    Raises:
        WidthsError: the module cannot have such tensors.
    """
    for kind in type(place.module).__mro__:
        if kind in _RULES:
            _RULES[kind](place)
            return True
    return False


def _set(module: nn.Module, **sizes: object) -> None:
    """Set attributes that the module has; classes differ in which they keep."""
    for name, value in sizes.items():
        if hasattr(module, name):
            setattr(module, name, value)


def _shape(module: nn.Module, name: str) -> tuple[int, ...]:
    tensor = getattr(module, name, None)
    return tuple(tensor.shape) if isinstance(tensor, Tensor) else ()


@rule(nn.Linear)
def linear(place: Place) -> None:
    """The weight is (outputs, inputs)."""
    outputs, inputs = _shape(place.module, "weight")
    _set(place.module, out_features=outputs, in_features=inputs)


@rule(nn.Bilinear)
def bilinear(place: Place) -> None:
    """The weight is (outputs, first inputs, second inputs)."""
    outputs, first, second = _shape(place.module, "weight")
    _set(place.module, out_features=outputs, in1_features=first, in2_features=second)


@rule(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def convolution(place: Place) -> None:
    """The weight is (outputs, inputs / groups, space...)."""
    outputs, inputs = _shape(place.module, "weight")[:2]
    count = _convolution_groups(place, outputs)
    _set(place.module, out_channels=outputs, in_channels=inputs * count, groups=count)


@rule(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def transposed_convolution(place: Place) -> None:
    """The weight is (inputs, outputs / groups, space...)."""
    inputs, outputs = _shape(place.module, "weight")[:2]
    count = _convolution_groups(place, inputs)
    _set(place.module, out_channels=outputs * count, in_channels=inputs, groups=count)


def _convolution_groups(place: Place, channels: int) -> int:
    """The number of groups of a convolution whose weight has so many rows."""
    before = int(place.module.groups)  # type: ignore[arg-type]
    count = place.outer("weight", 0, before)
    if channels % count:
        raise WidthsError(
            f"The convolution {place} would have {channels} channels in {count} groups, which do"
            f" not divide them; give {place.groups('weight', 0)} another width."
        )
    return count


@rule(nn.modules.batchnorm._NormBase)
def batch_norm(place: Place) -> None:
    """Batch and instance norms: one number of each kind for every channel."""
    shape = _shape(place.module, "weight") or _shape(place.module, "running_mean")
    if shape:
        _set(place.module, num_features=shape[0])


@rule(nn.GroupNorm)
def group_norm(place: Place) -> None:
    """The channels are (groups x channels of one)."""
    if not (shape := _shape(place.module, "weight")):
        return
    before = int(place.module.num_groups)  # type: ignore[arg-type]
    count = place.outer("weight", 0, before)
    if shape[0] % count:
        raise WidthsError(
            f"The group norm {place} would have {shape[0]} channels in {count} groups, which do not"
            f" divide them; give {place.groups('weight', 0)} another width."
        )
    _set(place.module, num_channels=shape[0], num_groups=count)


@rule(*(kind for kind in (nn.LayerNorm, getattr(nn, "RMSNorm", None)) if kind is not None))
def layer_norm(place: Place) -> None:
    """The weight has the shape that is normalized."""
    if shape := _shape(place.module, "weight"):
        _set(place.module, normalized_shape=shape)


@rule(nn.Embedding, nn.EmbeddingBag)
def embedding(place: Place) -> None:
    """The weight is (rows, features)."""
    rows, features = _shape(place.module, "weight")
    _set(place.module, num_embeddings=rows, embedding_dim=features)


@rule(nn.PReLU)
def prelu(place: Place) -> None:
    """The weight is (channels,)."""
    _set(place.module, num_parameters=_shape(place.module, "weight")[0])


@rule(nn.RNNBase)
def recurrent(place: Place) -> None:
    """Weights (gates x hidden, inputs) and (gates x hidden, hidden), of every layer and direction.

    With a projection, the states that are read have its size in place of the hidden one.
    """
    module = place.module
    gates = {"LSTM": 4, "GRU": 3}.get(str(module.mode), 1)
    names = [name for name, _ in module.named_parameters(recurse=False)]
    hidden = {_shape(module, name)[0] // gates for name in names if name.startswith("weight_hh")}
    states = {_shape(module, name)[1] for name in names if name.startswith("weight_hh")}
    if len(hidden) > 1 or len(states) > 1:
        weights = [n for n in names if n.startswith(("weight_hh", "weight_hr"))]
        found = {g for n in weights for axis in (0, 1) for g in place.groups(n, axis).split(", ")}
        raise WidthsError(
            f"{place} has one size for the states of all its layers and directions; give the"
            f" groups {', '.join(sorted(found - {'none'}))} one width."
        )
    _set(module, hidden_size=hidden.pop(), input_size=_shape(module, "weight_ih_l0")[1])
    if getattr(module, "proj_size", 0):
        _set(module, proj_size=states.pop())


@rule(nn.RNNCellBase)
def recurrent_cell(place: Place) -> None:
    """Weights (gates x hidden, inputs) and (gates x hidden, hidden)."""
    hidden, inputs = _shape(place.module, "weight_hh")[1], _shape(place.module, "weight_ih")[1]
    _set(place.module, hidden_size=hidden, input_size=inputs)


@rule(nn.MultiheadAttention)
def attention(place: Place) -> None:
    """Heads x features of one are as many as the features that go in, in torch's own attention."""
    module = place.module
    fused = isinstance(getattr(module, "in_proj_weight", None), Tensor)
    into = "in_proj_weight" if fused else "q_proj_weight"
    rows, width = _shape(module, into)
    rows //= 3 if fused else 1
    before, size = int(module.num_heads), int(module.head_dim)  # type: ignore[arg-type]
    heads = place.outer("out_proj.weight", 1, before)
    if rows != width or width % heads:
        raise WidthsError(
            f"{place} takes as many features as its heads have together, but would have {width} and"
            f" {heads} heads of {rows // heads}, where it had {before} of {size}; resize the groups"
            f" {place.groups(into, 1)} and {place.groups('out_proj.weight', 1)} together."
        )
    keys = (
        (width, width)
        if fused
        else (_shape(module, "k_proj_weight")[1], _shape(module, "v_proj_weight")[1])
    )
    _set(
        module,
        embed_dim=width,
        num_heads=heads,
        head_dim=width // heads,
        kdim=keys[0],
        vdim=keys[1],
    )
