"""Networks on batches, and which of their outputs is meant."""

from onefold.inference.class_axis import ClassAxis, class_axes
from onefold.inference.outputs import (
    ANY,
    Output,
    OutputChoice,
    Select,
    as_output,
    broken_rows,
    described,
    floating_outputs,
    restored,
    run,
)
from onefold.inference.running import class_outputs, eval_mode, networks, predictions

__all__ = [
    "ANY",
    "ClassAxis",
    "Output",
    "OutputChoice",
    "Select",
    "as_output",
    "broken_rows",
    "class_axes",
    "class_outputs",
    "described",
    "eval_mode",
    "floating_outputs",
    "networks",
    "predictions",
    "restored",
    "run",
]
