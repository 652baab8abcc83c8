"""Operator rules: what each operator says about the axes of its inputs and outputs.

A rule is one function, registered under the operator's name. It gets the `Call`, imposes equalities
on the terms of the inputs' axes (`unify`, `split` and `cut` of `onefold.symmetry.unification`,
`freeze` and `restrict` of `onefold.symmetry.terms`) and returns the terms of the output's axes. A
user may add one for an operator of their own, which is then exported as a whole:

    from onefold.symmetry.rules import rule
    from onefold.symmetry.terms import PERMUTATION, restrict
    from onefold.symmetry.unification import unify

    @rule("channel_gate")                    # of torch.library.custom_op("mine::channel_gate"):
    def channel_gate(call):                  # gate(x, w) = x * sigmoid(w), w of (C,)
        "Gates every channel with a learned number."
        axes, (channels,) = call.axes(call["x"]), call.axes(call["w"])
        unify(axes[1], channels)             # the weight moves with the channels
        restrict(axes[1], PERMUTATION)       # and only permutations commute with gating
        call.use(call["w"], 0, "depthwise")  # each number belongs to one channel
        return axes

An operator without a rule freezes every axis that reaches it and is counted in
`SymmetrySpec.unknown`. Operators that PyTorch tags as pointwise need no rule of their own.
"""

from onefold.symmetry.rules import (
    attention,
    contraction,
    creation,
    einsum,
    joining,
    norm,
    pointwise,
    recurrent,
    reduction,
    scatter,
    shape,
    spatial,
    spectral,
    weights,
)
from onefold.symmetry.rules.call import Axes, Call, Facts, LayerSite, NormSite, Use
from onefold.symmetry.rules.registry import Rule, operator_rules, rule

__all__ = [
    "Axes",
    "Call",
    "Facts",
    "LayerSite",
    "NormSite",
    "Rule",
    "Use",
    "operator_rules",
    "rule",
]
# Importing these modules fills the registry.
__all__ += ["attention", "contraction", "creation", "einsum", "joining", "norm", "pointwise"]
__all__ += ["recurrent", "reduction", "scatter", "shape", "spatial", "spectral", "weights"]
