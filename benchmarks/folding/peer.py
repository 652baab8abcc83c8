"""Run the authors' own CCA Merge code (github.com/shoroi/align-n-merge, July 2024) on our
checkpoints, from a checkout outside this repository.

It holds permutation, CCA, ZipIt and OT Fusion as matching functions of one merger, and weight
matching (Git Re-Basin) as scripts for ResNet-20 and VGG11. It needs CUDA-only set-up code and
packages that merging itself never calls; those are replaced by empty modules here. Of the script
for VGG11, which downloads data on import, the functions alone are run. The matching and merging
code, its graphs, its metrics and its batch-norm reset are the authors', unchanged.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib
import importlib.util
import os
import sys
import time
import types
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
import torch
from torch import Tensor, nn

Maps = dict[
    str, list[tuple[Tensor, Tensor]]
]  # a tensor of the network -> forward and backward map of its first axis, for each member
FUNCTIONS = {
    "identity": "identity",
    "permutation": "permute",
    "cca": "cca",
    "zipit": "zipit",
    "transport": "wasserstein_acts",
}


class _Loader:
    """What the official code expects of a loader: (images, labels) batches and a `dataset` with a
    length.
    """

    def __init__(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.batches, self.dataset = batches, range(sum(len(x) for x, _ in batches))

    def __iter__(self) -> Any:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def _import(checkout: Path) -> types.SimpleNamespace:
    unused = [
        "clip",
        "fvcore",
        "fvcore.nn",
        "fvcore.nn.flop_count",
        "torchvision",
        "torchvision.transforms",
    ]
    for name in unused + [
        name
        for name in ("einops", "ot")
        if name not in sys.modules and importlib.util.find_spec(name) is None
    ]:
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["fvcore.nn.flop_count"].flop_count = None  # type: ignore[attr-defined]
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
    names = {
        "matching": "core.matching_functions",
        "merger": "core.model_merger",
        "metrics": "core.metric_calculators",
        "utils": "core.utils",
    }
    names |= {
        "resnet": "graphs.resnet_graph",
        "vgg": "graphs.vgg_graph",
        "weights": "evaluation.weight_matching_resnets",
    }
    return types.SimpleNamespace(
        **{short: importlib.import_module(name) for short, name in names.items()}
    )


def _functions(path: Path) -> dict[str, Any]:
    """The functions of a script, without what it runs."""
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    found: dict[str, Any] = {"np": np, "torch": torch, "nn": nn, "scipy": scipy}
    exec(compile(tree, str(path), "exec"), found)
    return found


class Official:
    """The official code on one set of members.

    Its metrics are computed once, for all matching functions and settings.

    statistics: seconds of the metrics. Raises FileNotFoundError where there is no checkout.
    """

    def __init__(
        self,
        checkout: Path,
        network: str,
        members: Sequence[nn.Module],
        data: Sequence[tuple[Tensor, Tensor]],
        transport: bool = True,
    ):
        if not (checkout / "core").is_dir():
            raise FileNotFoundError(f"There is no checkout of align-n-merge at {checkout}.")
        self.code, self.checkout, self.members, self.data = (
            _import(checkout),
            checkout,
            members,
            data,
        )
        self.resnet = network.startswith("resnet20")
        self.wanted: dict[str, Any] = {"covariance": self.code.metrics.CovarianceMetric}
        if transport:
            self.wanted["activs_dists"] = self.code.metrics.ActivationsDistances
        self.metrics: dict[Any, dict[str, Tensor]] | None = None
        self.statistics = 0.0

    def _network(self, model: nn.Module) -> nn.Module:
        twin = copy.deepcopy(model)
        if (
            not self.resnet
        ):  # their network ends in an average pool of one pixel, which their graph names
            twin.features.append(nn.AvgPool2d(1, 1))  # type: ignore[union-attr, operator]
        return twin

    def merge(self, method: str, **settings: float) -> tuple[nn.Module, Maps, float]:
        """(network before any reset, the maps, seconds of solving and applying). method: a key of
        FUNCTIONS, or "weights".
        """
        if method == "weights":
            return self._weights()
        graph = self.code.resnet.resnet20 if self.resnet else self.code.vgg.vgg11
        with torch.no_grad(), _quiet():
            merge = self.code.merger.ModelMerge(
                *[graph(self._network(m)).graphify() for m in self.members], device="cpu"
            )
            compute = merge.compute_metrics

            def once(*arguments: Any, **keywords: Any) -> Any:
                if self.metrics is None:
                    begin = time.perf_counter()
                    self.metrics = compute(*arguments, **keywords)
                    self.statistics = time.perf_counter() - begin
                merge.metrics = copy.deepcopy(self.metrics)
                return merge.metrics

            merge.compute_metrics = once
            before, start = self.statistics, time.perf_counter()
            function = getattr(self.code.matching, f"match_tensors_{FUNCTIONS[method]}")
            merge.transform(
                self._network(self.members[0]),
                _Loader(self.data),
                transform_fn=function,
                metric_classes=self.wanted,
                **settings,
            )
            seconds = time.perf_counter() - start - (self.statistics - before)
        merge.clear_hooks()
        folded = copy.deepcopy(self.members[0])
        folded.load_state_dict(merge.merged_model.state_dict())
        maps = {
            _producer(merge.graphs[0], node): list(zip(own, merge.unmerges[node], strict=True))
            for node, own in merge.merges.items()
        }
        return folded, maps, seconds

    def _weights(self) -> tuple[nn.Module, Maps, float]:
        """Git Re-Basin as its scripts do it: parameters are averaged, running statistics stay those
        of the first member.
        """
        ours, theirs = (copy.deepcopy(m) for m in self.members)
        torch.manual_seed(0)
        np.random.seed(0)
        start = time.perf_counter()
        orders: dict[str, Tensor] = {}
        with torch.no_grad(), _quiet():
            if self.resnet:
                code, spec = self.code.weights, self.code.weights.resnet20_permutation_spec()
                pair = [code.get_named_params(m) for m in (ours, theirs)]
                found = code.weight_matching(None, spec, *pair)
                moved = code.apply_permutation(spec, found, pair[1])
                orders = {spec.perm_to_axes[name][0][0]: order for name, order in found.items()}
            else:
                script = _functions(self.checkout / "evaluation" / "vgg_gitrebasin.py")
                aligned, found = script["permute_model1_weights"](
                    ours, theirs, return_perm_maps=True
                )
                layers = [
                    k for k, layer in enumerate(ours.features) if isinstance(layer, nn.Conv2d)
                ]  # type: ignore[arg-type]
                moved = dict(aligned.named_parameters())
                orders = {
                    f"features.{k}.weight": torch.as_tensor(order)
                    for k, order in zip(layers, found[1:], strict=True)
                }
            folded = copy.deepcopy(self.members[0])
            folded.load_state_dict(
                {n: 0.5 * (p + moved[n]) for n, p in ours.named_parameters()}, strict=False
            )
        seconds = time.perf_counter() - start
        maps: Maps = {}
        for name, order in orders.items():
            eye = torch.eye(len(order))
            maps[name] = [(eye, eye), (eye[order], eye[order].T)]
        return folded, maps, seconds

    def reset(self, model: nn.Module) -> nn.Module:
        """Its batch-norm reset over the same images; a network without batch norm comes back as it
        is.
        """
        with _quiet():
            return self.code.utils.reset_bn_stats(copy.deepcopy(model), _Loader(self.data)).eval()


def _producer(graph: Any, node: Any) -> str:
    """The weight of the layer or norm in front of a node of the official graph, through sums, pools
    and nonlinearities.
    """
    modules = dict(graph.model.named_modules())
    while True:
        node = graph.preds(node)[0]
        name = graph.get_node_info(node)["layer"]
        if name is not None and isinstance(getattr(modules[name], "weight", None), Tensor):
            return f"{name}.weight"


def official_merge(
    checkout: Path,
    network: str,
    members: Sequence[nn.Module],
    data: Sequence[tuple[Tensor, Tensor]],
    method: str,
    gamma: float = 0.1,
) -> tuple[nn.Module, float, float]:
    """The official merge of `members`: (network before the batch-norm reset, seconds of statistics,
    seconds of solving and applying).

    method: "identity", "permute", "cca" or "zipit".
    """
    official = Official(checkout, network, members, data, transport=False)
    name = "permutation" if method == "permute" else method
    folded, _, seconds = official.merge(
        name, **{"cca": {"gamma": gamma}, "zipit": {"a": 0.3, "b": 0.125}}.get(method, {})
    )
    return folded, official.statistics, seconds


def official_reset(
    checkout: Path, model: nn.Module, data: Sequence[tuple[Tensor, Tensor]]
) -> nn.Module:
    """The official batch-norm reset over the same images; a network without batch norm comes back
    as it is.
    """
    with _quiet():
        return _import(checkout).utils.reset_bn_stats(copy.deepcopy(model), _Loader(data)).eval()
