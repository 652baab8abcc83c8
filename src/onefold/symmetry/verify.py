"""The numeric proof: random maps on all groups leave the function as it is, in float64.

Maps of every claimed class are tried on all groups at once. A proof by numbers can be vacuous. So
the weights are drawn anew (zero-initialised heads and the like would hide a wrong slot), no map is
the identity, and there are negative controls: with one tensor of a group left out, the output must
move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from onefold.arguments import checked
from onefold.errors import SettingError
from onefold.isolation import isolated
from onefold.progress import waiting
from onefold.symmetry.axes import MAP_CLASSES, Group
from onefold.symmetry.drawing import random_cycles
from onefold.symmetry.spec import SymmetrySpec
from onefold.symmetry.trial import Trial


@dataclass(frozen=True)
class Verification:
    """Result of the numeric proof; errors are relative to the largest output.

    Attributes:
        max_error: largest change of an output over all trials.
        scale: the largest output.
        tolerance: largest error that passes.
        trials: number of draws of maps for each class.
        classes: class of maps -> number of groups it was tried on.
        negatives_tried: number of negative controls.
        negatives_detected: number of negative controls that moved the output.
        undetected: (group, tensor) of negative controls that did not move the output.
        inert: tensors met that no output depends on, as the bias of attention keys, which a softmax
            cancels; they can be no controls.
    """

    max_error: float
    scale: float
    tolerance: float
    trials: int
    classes: dict[str, int]
    negatives_tried: int
    negatives_detected: int
    undetected: tuple[tuple[str, str], ...] = ()
    inert: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance and every negative control was detected."""
        return self.max_error <= self.tolerance and self.negatives_detected == self.negatives_tried

    def __str__(self) -> str:
        outcome = "passed" if self.passed else "FAILED"
        classes = [f"{name} on {count} groups" for name, count in self.classes.items()]
        tried = ", ".join(classes) or "no maps, as there are no groups"
        line = (
            f"{outcome}: relative error {self.max_error:.1e} (tolerance {self.tolerance:.0e})"
            f" under {tried}; {self.negatives_detected} of {self.negatives_tried} negative"
            " controls detected"
        )
        missed = [f"undetected: {group} without {tensor}" for group, tensor in self.undetected]
        return "\n".join([line, *missed])


@checked
@isolated
@waiting("Proving the symmetries")
def verify_symmetries(
    spec: SymmetrySpec,
    model: nn.Module,
    example_inputs: Any,
    *,
    seed: int = 0,
    trials: int = 2,
    tolerance: float = 1e-10,
    negatives: int = 12,
) -> Verification:
    """Check in float64 that random maps leave the network's function as it is.

    A deep copy of the network is used, in eval mode, with weights drawn from N(0, 1/fan_in) and
    random norm statistics. Where the network itself casts to a narrower type, it gets float64.

    In each trial all groups are moved jointly, once for each class of maps, each on the groups that
    allow it: permutations, positive scales, signs, orthogonal maps, orthogonal maps that fix the
    mean, invertible maps. Claims about the network with its norms' scales folded are tried on that
    network, against the outputs of the one before.

    Args:
        spec: symmetries to check.
        model: the network; it is left as it is.
        example_inputs: one batch, as for `find_symmetries`.
        seed: seed of weights, maps and the choice of negative controls.
        trials: number of draws of maps for each class.
        tolerance: largest relative error that passes.
        negatives: at most so many negative controls, spread over the groups; each costs one run of
            the network.

    Raises:
        SymmetryError: the spec does not fit the network, or the network's output is constant or not
            finite.
        DataError: the network cannot run on the example inputs.
        SettingError: there is no trial.
    """
    if trials < 1:
        raise SettingError(f"A proof was asked for with {trials} trials; it needs at least 1.")
    trial = Trial(model, spec, example_inputs, seed)
    classes = {
        (kind, False): [group for group in spec.groups if kind in group.maps]
        for kind in MAP_CLASSES
    }
    classes |= {
        (kind, True): [group for group in spec.groups if kind in group.folded]
        for kind in MAP_CLASSES
    }
    classes = {key: groups for key, groups in classes.items() if groups}
    errors = [
        trial.error(groups, kind, folded)
        for (kind, folded), groups in classes.items()
        for _ in range(trials)
    ]
    max_error = max(errors, default=0.0)
    if max_error > tolerance:
        trial.check_steady(tolerance)
    # far above rounding, far below the effect of a wrong coordinate
    limit = min(1e3 * tolerance, max(1e4 * max_error, 1e-11))
    tried, undetected, inert = _negative_controls(trial, negatives, limit)
    return Verification(
        max_error=max_error,
        scale=trial.scale,
        tolerance=tolerance,
        trials=trials,
        classes={
            kind + (" with folded scales" if folded else ""): len(groups)
            for (kind, folded), groups in classes.items()
        },
        negatives_tried=tried,
        negatives_detected=tried - len(undetected),
        undetected=tuple(undetected),
        inert=tuple(inert),
    )


def _negative_controls(
    trial: Trial, count: int, limit: float
) -> tuple[int, list[tuple[str, str]], list[str]]:
    """Try `count` negative controls; outputs that change by less than `limit` have not moved.

    Returns:
        The number of controls tried, the (group, tensor) of those that did not move the output, and
        the tensors that no output depends on.
    """
    undetected: list[tuple[str, str]] = []
    inert: dict[str, None] = {}
    tried = 0
    for group, names in _controls(trial.spec, count, trial.generator):
        for tensor in names:
            maps = {group.name: random_cycles(trial.spec, group, trial.generator)}
            moved = trial.change(maps, without=tensor) >= limit
            if moved or trial.weight_of(tensor, maps) >= limit:
                tried += 1
                undetected += [] if moved else [(group.name, tensor)]
                break
            # The tensor changes nothing, left out or not: another one of the group must do.
            inert[tensor] = None
    return tried, undetected, list(inert)


def _controls(
    spec: SymmetrySpec, count: int, generator: torch.Generator
) -> list[tuple[Group, list[str]]]:
    """Groups drawn at random, at most `count`, each with its tensors in random order.

    The first tensor that has any effect is the one to leave out. A group with a single tensor is no
    control, since nothing can be left out of it alone.
    """
    groups = [group for group in spec.groups if len({slot.tensor for slot in group.slots}) > 1]
    order = torch.randperm(len(groups), generator=generator).tolist()[:count]
    chosen = []
    for k in sorted(order):
        names = sorted({slot.tensor for slot in groups[k].slots})
        shuffled = torch.randperm(len(names), generator=generator).tolist()
        chosen.append((groups[k], [names[i] for i in shuffled]))
    return chosen
