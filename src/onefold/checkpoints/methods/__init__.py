"""Methods that merge the tensors of several checkpoints, without files and without networks."""

from onefold.checkpoints.methods import linear, task_arithmetic
from onefold.checkpoints.methods.base import Method, Prepared, TensorInputs, check_count, methods
from onefold.checkpoints.methods.parameters import Parameter, settings_of

__all__ = [
    "Method",
    "Parameter",
    "Prepared",
    "TensorInputs",
    "check_count",
    "linear",
    "methods",
    "settings_of",
    "task_arithmetic",
]
