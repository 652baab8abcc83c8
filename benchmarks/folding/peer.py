"""Run the authors' own CCA Merge code (github.com/shoroi/align-n-merge, July 2024) on our checkpoints, from a checkout outside this repository.

It needs CUDA-only set-up code and packages that merging itself never calls; those are replaced by empty modules here. The merging code,
its graphs, its metrics and its batch-norm reset are the authors', unchanged.
"""

from __future__ import annotations

import copy
import sys
import time
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class _Loader:
    """What the official code expects of a loader: (images, labels) batches and a `dataset` with a length."""

    def __init__(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.batches, self.dataset = batches, range(sum(len(x) for x, _ in batches))

    def __iter__(self) -> Any:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _import(checkout: Path) -> types.SimpleNamespace:
    unused = ("clip", "ot", "fvcore", "fvcore.nn", "fvcore.nn.flop_count", "torchvision", "torchvision.transforms")
    for name in unused:
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["fvcore.nn.flop_count"].flop_count = None  # type: ignore[attr-defined]
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]  # type: ignore[attr-defined]
    sys.path.insert(0, str(checkout))
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
    from core import matching_functions, model_merger, utils
    from graphs import resnet_graph, vgg_graph

    return types.SimpleNamespace(matching=matching_functions, merger=model_merger, utils=utils, resnet=resnet_graph, vgg=vgg_graph)


def official_merge(
    checkout: Path, network: str, members: Sequence[nn.Module], data: Sequence[tuple[Tensor, Tensor]], method: str, gamma: float = 0.1
) -> tuple[nn.Module, float, float]:
    """The official merge of `members`: (network before the batch-norm reset, seconds of statistics, seconds of solving and applying).

    method: "identity", "permute", "cca" or "zipit".
    """
    import contextlib
    import os

    official = _import(checkout)
    graph = official.resnet.resnet20 if network.startswith("resnet20") else official.vgg.vgg11
    copies = [copy.deepcopy(m) for m in members]
    target = copy.deepcopy(members[0])
    if network.startswith("vgg11"):  # their network ends in an average pool of one pixel, which their graph names
        for model in [*copies, target]:
            model.features.append(nn.AvgPool2d(1, 1))
    settings = {"cca": {"gamma": gamma}, "zipit": {"a": 0.3, "b": 0.125}}.get(method, {})
    with torch.no_grad(), open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        merge = official.merger.ModelMerge(*[graph(m).graphify() for m in copies], device="cpu")
        start = time.perf_counter()
        compute, spent = merge.compute_metrics, []

        def timed(*arguments: Any, **keywords: Any) -> Any:
            begin = time.perf_counter()
            result = compute(*arguments, **keywords)
            spent.append(time.perf_counter() - begin)
            return result

        merge.compute_metrics = timed
        metrics = {"covariance": official.merger.CovarianceMetric}
        merge.transform(target, _Loader(data), transform_fn=getattr(official.matching, f"match_tensors_{method}"), metric_classes=metrics, **settings)
        total = time.perf_counter() - start
    merge.clear_hooks()
    folded = copy.deepcopy(members[0])
    folded.load_state_dict(merge.merged_model.state_dict())
    return folded, spent[0], total - spent[0]


def official_reset(checkout: Path, model: nn.Module, data: Sequence[tuple[Tensor, Tensor]]) -> nn.Module:
    """The official batch-norm reset over the same images; a network without batch norm comes back as it is."""
    import contextlib
    import os

    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        return _import(checkout).utils.reset_bn_stats(copy.deepcopy(model), _Loader(data)).eval()
