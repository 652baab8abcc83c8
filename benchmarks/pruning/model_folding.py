"""Model Folding (Wang et al. 2025, arXiv 2502.10216), the authors' code for images
(github.com/marza96/ModelFolding), from a checkout outside of this repository.

It clusters the units of every layer by k-means over their weights, takes the mean of a cluster's
rows and the sum of its columns. Its functions are the authors', unchanged but for four places: the
device, which is written down as CUDA, is the CPU; the seed of k-means is 0 and its threads are one;
an error class that torch no longer has stands for `AttributeError`. Which axes belong together is
told for our networks in the form that their code takes. Their code holds networks of convolutions.

All layers keep the same share of units, the largest within the budget, as in their experiments.
"data-free repair" is their repair without data, for which batch norms are first divided into a
normalisation in the layer before and an affine part; their code does that for ResNet and VGG.
k-means is the package that they use, `hkmeans` (github.com/IBM/hartigan-kmeans).
"""

from __future__ import annotations

import contextlib
import copy
import io
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.pruning.methods import NotRunError, Task, largest_ratio, method
from benchmarks.pruning.networks import MobileNet
from onefold.sources.networks import VGG, ResNet

FOLDER = "ModelFolding"
Axes = dict[str, list[tuple[str, int]]]  # of a set of units: the tensors that have them, and where


def code(peers: Path | None) -> types.SimpleNamespace:
    """The authors' functions, or NotRunError."""
    if peers is None or not (peers / FOLDER / "utils").is_dir():
        raise NotRunError(f"there is no checkout {FOLDER} in the folder of peers")
    try:
        import hkmeans
    except ModuleNotFoundError:
        raise NotRunError("the package hkmeans is not installed") from None

    def seeded(**told: Any) -> Any:
        return hkmeans.HKMeans(**{**told, "random_state": 0, "n_jobs": 1, "verbose": False})

    torch.nn.modules.module.ModuleAttributeError = AttributeError  # type: ignore[attr-defined]
    found: dict[str, Any] = {}
    for name in ("weight_clustering", "utils"):
        text = (peers / FOLDER / "utils" / f"{name}.py").read_text().replace('"cuda"', '"cpu"')
        module: dict[str, Any] = {"__name__": f"model_folding_{name}"}
        exec(compile(text, f"{name}.py", "exec"), module)
        found |= module
    found["HKMeans"] = seeded
    found["WeightClustering"].__call__.__globals__["HKMeans"] = seeded
    return types.SimpleNamespace(**found)


class _Axes:
    """Collects which tensors have a set of units."""

    def __init__(self) -> None:
        self.found: Axes = {}

    def made(self, units: str, layer: str, norm: str | None = None, bias: bool = False) -> None:
        """The rows of a layer, and its norm."""
        own = self.found.setdefault(units, [])
        own.append((f"{layer}.weight", 0))
        if bias:
            own.append((f"{layer}.bias", 0))
        if norm is not None:
            own += [
                (f"{norm}.{part}", 0) for part in ("weight", "bias", "running_mean", "running_var")
            ]

    def read(self, units: str, layer: str) -> None:
        """The columns of a layer."""
        self.found.setdefault(units, []).append((f"{layer}.weight", 1))


def axes_of(network: nn.Module) -> Axes:
    """The axes of every set of units that may be narrowed, in the order of the layers."""
    axes, tensors = _Axes(), dict(network.named_parameters())

    def made(units: str, layer: str, norm: str | None) -> None:
        axes.made(units, layer, norm, bias=f"{layer}.bias" in tensors)

    if isinstance(network, VGG):
        layers = list(network.features.named_children())
        before = None
        for (name, layer), (after, norm) in zip(layers, [*layers[1:], ("", None)], strict=True):
            if isinstance(layer, nn.Conv2d):
                normed = f"features.{after}" if isinstance(norm, nn.BatchNorm2d) else None
                made(f"features.{name}", f"features.{name}", normed)
                if before is not None:
                    axes.read(before, f"features.{name}")
                before = f"features.{name}"
        axes.read(str(before), "classifier")
    elif isinstance(network, ResNet):
        made("stage1", "conv1", "bn1")
        before = "stage1"
        for stage in (1, 2, 3):
            for number, block in enumerate(getattr(network, f"layer{stage}")):
                own, inside = f"layer{stage}.{number}", f"layer{stage}.{number}.conv1"
                axes.read(before, f"{own}.conv1")
                made(inside, f"{own}.conv1", f"{own}.bn1")
                axes.read(inside, f"{own}.conv2")
                made(f"stage{stage}", f"{own}.conv2", f"{own}.bn2")
                if len(block.shortcut):
                    axes.read(before, f"{own}.shortcut.0")
                    made(f"stage{stage}", f"{own}.shortcut.0", f"{own}.shortcut.1")
                before = f"stage{stage}"
        axes.read(before, "linear")
    elif isinstance(network, MobileNet):
        made("stem", "stem", "bn")
        before = "stem"
        for number, block in enumerate(network.blocks):
            own, inside = f"blocks.{number}", f"blocks.{number}.inside"
            after = before if block.residual else f"{own}.project"
            axes.read(before, f"{own}.expand")
            made(inside, f"{own}.expand", f"{own}.bn1")
            made(inside, f"{own}.depthwise", f"{own}.bn2")
            axes.read(inside, f"{own}.project")
            made(after, f"{own}.project", f"{own}.bn3")
            before = after
        axes.read(before, "last")
        made("last", "last", "bn_last")
        axes.read("last", "head")
    else:
        raise NotRunError("its code holds networks of convolutions alone")
    return axes.found


def filled(network: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """The network with tensors of other shapes, in place."""
    for name, value in tensors.items():
        owner, _, last = name.rpartition(".")
        getattr(network.get_submodule(owner), last).data = value.detach().clone()
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.groups = len(module.weight)
    return network


def first_units(network: nn.Module, axes: Axes, share: float) -> nn.Module:
    """A copy with the first units of every set: its cost is that of the fold."""
    tensors = {k: v.detach() for k, v in network.state_dict().items()}
    widths = {units: int(len(tensors[places[0][0]]) * share) for units, places in axes.items()}
    if min(widths.values()) == 0:
        return copy.deepcopy(network)
    for units, places in axes.items():
        for name, axis in places:
            tensors[name] = tensors[name].narrow(axis, 0, widths[units])
    return filled(copy.deepcopy(network), tensors)


def divided(network: nn.Module, public: types.SimpleNamespace) -> nn.Module:
    """A copy whose batch norms are affine, with their normalisation in the layer before."""
    twin = copy.deepcopy(network)
    if isinstance(twin, VGG):
        public.fuse_bnorms_vgg(twin)
    elif isinstance(twin, ResNet):
        stem = types.SimpleNamespace(
            conv1=twin.conv1, bn1=twin.bn1, conv2=copy.deepcopy(twin.conv1),
            bn2=copy.deepcopy(twin.bn1), shortcut=nn.Sequential(),
        )  # fmt: skip
        public.fuse_block([stem], 1)
        twin.conv1 = stem.conv1
        for stage in (1, 2, 3):
            layer = getattr(twin, f"layer{stage}")
            public.fuse_block(layer, len(layer))
    else:
        raise NotRunError("its repair without data is written for ResNet and VGG")
    return twin.eval()


def fold(task: Task, data_free: bool) -> nn.Module:
    """The fold at the largest share of units within the budget."""
    public = code(task.peers)
    network = divided(task.network, public) if data_free else task.copy()
    axes = axes_of(network)
    share = largest_ratio(lambda s: first_units(network, axes, s), task)
    tensors = {k: v.detach().clone() for k, v in network.state_dict().items()}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found, _ = public.compress_weight_clustering(
                axes, tensors, max_ratio=share, approx_repair=data_free
            )
    except (ValueError, RuntimeError) as error:  # written for plain and residual networks
        raise NotRunError(f"its code stops: {str(error)[:120]}") from None
    return filled(network, found).eval()


@method("model folding", "Model Folding")
def _plain(task: Task) -> nn.Module:
    return fold(task, data_free=False)


@method("model folding, data-free repair", "Model Folding, data-free repair")
def _repaired(task: Task) -> nn.Module:
    return fold(task, data_free=True)
