"""Methods that merge the tensors of several checkpoints, without files and without networks."""

from onefold.checkpoints.methods import (
    calibration,
    dare,
    linear,
    magmax,
    model_stock,
    pairs,
    passthrough,
    ram,
    sce,
    slerp,
    spectral,
    spherical_means,
    swudi,
    task_arithmetic,
    ties,
)
from onefold.checkpoints.methods.base import (
    Method,
    Prepared,
    TensorInputs,
    check_count,
    method_of,
    methods,
)
from onefold.checkpoints.methods.calibration import Filter, filters
from onefold.checkpoints.methods.parameters import Parameter, settings_of
from onefold.checkpoints.methods.states import merge_states

__all__ = [
    "Filter",
    "Method",
    "Parameter",
    "Prepared",
    "TensorInputs",
    "calibration",
    "check_count",
    "dare",
    "filters",
    "linear",
    "magmax",
    "merge_states",
    "method_of",
    "methods",
    "model_stock",
    "pairs",
    "passthrough",
    "ram",
    "sce",
    "settings_of",
    "slerp",
    "spectral",
    "spherical_means",
    "swudi",
    "task_arithmetic",
    "ties",
]
