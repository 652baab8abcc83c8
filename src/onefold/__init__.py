"""onefold folds several trained networks into one better network.

The public names, each re-exported from its package, and the packages themselves. They are resolved
on first use, so that `import onefold` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onefold._version import __version__

_EXPORTS = {
    "find_symmetries": "onefold.symmetry",
    "verify_symmetries": "onefold.symmetry",
    "SymmetrySpec": "onefold.symmetry",
    "align": "onefold.alignment",
    "Alignment": "onefold.alignment",
    "merge": "onefold.fold",
    "measure_targets": "onefold.alignment",
    "repair": "onefold.fold",
    "polish": "onefold.fold",
    "fold_to_budgets": "onefold.fold",
    "prune": "onefold.fold",
    "PruneResult": "onefold.fold",
    "Polish": "onefold.fold",
    "GreedySoup": "onefold.fold",
    "UniformSoup": "onefold.fold",
    "CorrelatedAverage": "onefold.fold",
    "Auto": "onefold.fold",
    "LeastSquares": "onefold.fold",
    "ZipIt": "onefold.alignment.matchers",
    "WeightMatching": "onefold.alignment.matchers",
    "Transport": "onefold.alignment.matchers",
    "Procrustes": "onefold.alignment.matchers",
    "Rotation": "onefold.alignment.matchers",
    "Permutation": "onefold.alignment.matchers",
    "CCA": "onefold.alignment.matchers",
    "MergeResult": "onefold.fold",
    "partial_merge": "onefold.fold",
    "PartialMerge": "onefold.fold",
    "recalibrate": "onefold.fold",
    "SoftMerge": "onefold.fold",
    "fit_gates": "onefold.fold",
    "Subspace": "onefold.explore",
    "PersistentTraining": "onefold.explore",
    "compare_networks": "onefold.comparison",
    "compare_checkpoints": "onefold.checkpoints.comparison",
    "measure_pairs": "onefold.explore",
    "merge_checkpoints": "onefold.checkpoints.engine",
    "resize": "onefold.widths",
    "load_resized": "onefold.widths",
    "evaluate": "onefold.measure",
    "evaluate_all": "onefold.measure",
    "Metric": "onefold.tasks",
    "Task": "onefold.tasks",
    "class_pool": "onefold.ensemble",
    "ClassPool": "onefold.ensemble",
    "Ensemble": "onefold.ensemble",
    "barrier": "onefold.measure",
    "write_report": "onefold.result_reports",
    "Batches": "onefold.batch_parts",
    "load": "onefold.weights",
    "save": "onefold.weights",
    "OnefoldError": "onefold.errors",
}
__all__ = [*_EXPORTS, "__version__"]

if TYPE_CHECKING:
    from onefold.alignment import Alignment as Alignment
    from onefold.alignment import align as align
    from onefold.alignment import measure_targets as measure_targets
    from onefold.alignment.matchers import CCA as CCA
    from onefold.alignment.matchers import Permutation as Permutation
    from onefold.alignment.matchers import Procrustes as Procrustes
    from onefold.alignment.matchers import Rotation as Rotation
    from onefold.alignment.matchers import Transport as Transport
    from onefold.alignment.matchers import WeightMatching as WeightMatching
    from onefold.alignment.matchers import ZipIt as ZipIt
    from onefold.batch_parts import Batches as Batches
    from onefold.checkpoints.comparison import compare_checkpoints as compare_checkpoints
    from onefold.checkpoints.engine import merge_checkpoints as merge_checkpoints
    from onefold.comparison import compare_networks as compare_networks
    from onefold.ensemble import ClassPool as ClassPool
    from onefold.ensemble import Ensemble as Ensemble
    from onefold.ensemble import class_pool as class_pool
    from onefold.errors import OnefoldError as OnefoldError
    from onefold.explore import PersistentTraining as PersistentTraining
    from onefold.explore import Subspace as Subspace
    from onefold.explore import measure_pairs as measure_pairs
    from onefold.fold import Auto as Auto
    from onefold.fold import CorrelatedAverage as CorrelatedAverage
    from onefold.fold import GreedySoup as GreedySoup
    from onefold.fold import LeastSquares as LeastSquares
    from onefold.fold import MergeResult as MergeResult
    from onefold.fold import PartialMerge as PartialMerge
    from onefold.fold import Polish as Polish
    from onefold.fold import PruneResult as PruneResult
    from onefold.fold import SoftMerge as SoftMerge
    from onefold.fold import UniformSoup as UniformSoup
    from onefold.fold import fit_gates as fit_gates
    from onefold.fold import fold_to_budgets as fold_to_budgets
    from onefold.fold import partial_merge as partial_merge
    from onefold.fold import polish as polish
    from onefold.fold import prune as prune
    from onefold.fold import recalibrate as recalibrate
    from onefold.fold import repair as repair
    from onefold.fold.merge import merge as merge
    from onefold.measure import barrier as barrier
    from onefold.measure import evaluate as evaluate
    from onefold.measure import evaluate_all as evaluate_all
    from onefold.result_reports import write_report as write_report
    from onefold.symmetry import SymmetrySpec as SymmetrySpec
    from onefold.symmetry import find_symmetries as find_symmetries
    from onefold.symmetry import verify_symmetries as verify_symmetries
    from onefold.tasks import Metric as Metric
    from onefold.tasks import Task as Task
    from onefold.weights import load as load
    from onefold.weights import save as save
    from onefold.widths import load_resized as load_resized
    from onefold.widths import resize as resize


def __getattr__(name: str) -> Any:
    """Import a public name from its package, or a package, on first use (PEP 562)."""
    import importlib.util

    if name in _EXPORTS:
        value = getattr(importlib.import_module(_EXPORTS[name]), name)
        globals()[name] = value
        return value
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'onefold' has no attribute '{name}'")


def __dir__() -> list[str]:
    import pkgutil

    packages = (found.name for found in pkgutil.iter_modules(__path__))
    return sorted({*__all__, *(name for name in packages if not name.startswith("_"))})
