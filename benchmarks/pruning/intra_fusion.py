"""Intra-Fusion (Theus et al. 2024, "Towards Meta-Pruning via Optimal Transport", arXiv 2402.07839),
the authors' code (github.com/alexandertheus/Intra-Fusion), from a checkout outside of this
repository.

It matches all units of a layer with the most important ones by optimal transport over their
weights, and fuses those that are matched. It is a changed copy of Torch-Pruning under the same
name, so that one of the two is loaded at a time. Its settings are those of its sample commands: the
L1 norm, uniform masses, the most important units as the target; all groups are narrowed, by the
share that the budget asks for. It merges batch norms into the layers before, so that no statistics
are left that could be measured anew.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from benchmarks.pruning.methods import NotRunError, Task, classes_of, largest_ratio, method

FOLDER = "Intra-Fusion"


def _hidden(name: str) -> dict[str, ModuleType]:
    """Takes a package out of the modules that are loaded."""
    own = [key for key in sys.modules if key == name or key.startswith(f"{name}.")]
    return {key: sys.modules.pop(key) for key in own}


@contextlib.contextmanager
def public_code(peers: Path | None) -> Iterator[Any]:
    """The authors' `prune` and `OptimalTransport`, or NotRunError."""
    if peers is None or not (peers / FOLDER / "torch_pruning").is_dir():
        raise NotRunError(f"there is no checkout {FOLDER} in the folder of peers")
    kept = {**_hidden("torch_pruning"), **_hidden("prune")}
    sys.path.insert(0, str(peers / FOLDER))
    try:
        yield importlib.import_module("prune"), importlib.import_module("torch_pruning")
    except ModuleNotFoundError as error:
        raise NotRunError(f"its code needs the package {error.name}") from None
    except (TypeError, RuntimeError) as error:  # written for plain and residual networks
        if isinstance(error, NotRunError):
            raise
        raise NotRunError(f"its code stops: {str(error)[:120]}") from None
    finally:
        sys.path.remove(str(peers / FOLDER))
        _hidden("torch_pruning"), _hidden("prune")
        sys.modules.update(kept)


@method("intra-fusion", "Intra-Fusion", merged=True)
def fuse(task: Task) -> nn.Module:
    """The fused network at the largest share of units within the budget."""
    if not any(isinstance(module, nn.BatchNorm2d) for module in task.network.modules()):
        raise NotRunError("its code is for networks of convolutions with batch norm")
    classes = classes_of(task)
    with (
        public_code(task.peers) as (public, package),
        warnings.catch_warnings(),
        torch.enable_grad(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")

        def narrowed(share: float, transport: Any = None) -> nn.Module:
            network: nn.Module = public.prune(
                task.copy(),
                {},
                task.example,
                classes,
                "l1",
                -1,
                sparsity=1 - share,
                optimal_transport=transport,
            )
            return network

        share = largest_ratio(narrowed, task)
        transport = package.optimal_transport.OptimalTransport(
            p=1,
            target_probability="uniform",
            source_probability="uniform",
            target="most_important",
            gpu_id=-1,
        )
        return narrowed(share, transport).eval()
