"""Several networks that answer as one.

Lakshminarayanan, Pritzel & Blundell 2017, "Simple and Scalable Predictive Uncertainty Estimation
using Deep Ensembles" (arXiv 1612.01474): the mean of the members' probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.ensemble.mean import mean_output
from onefold.ensemble.names import ENSEMBLE_MEANS, EnsembleMean, check_ensemble, name_of
from onefold.ensemble.pool import ClassPool
from onefold.errors import MembersError
from onefold.inference import ClassAxis, OutputChoice, as_output, networks


class Ensemble(nn.Module):
    """Several networks that answer as one network.

        ensemble = onefold.Ensemble(models)                    # classifiers: the mean probability
        ensemble = onefold.Ensemble(models, mean="outputs")    # regressors: the mean output
        ensemble = onefold.Ensemble(models, mean=onefold.class_pool(models, unlabelled))

    The output has the axes of one member's output. For "probabilities", "logits" and a pool it goes
    into a cross-entropy or an argmax as logits do. The members are held as they are, without a
    copy, and their outputs must have one shape.

    Args:
        models: the networks, at least one.
        mean: "probabilities", the logarithm of the mean probability of each class; "logits", the
            mean of the logits; "outputs", the mean of the outputs, whatever they are; or a pool
            (`onefold.class_pool`), which weights the members class by class. A pool is no part of
            the state dict.
        output: which output is averaged if the members return several, and on which axis its
            classes lie (`onefold.inference`). Probabilities and pools need the axis. It is known
            for outputs (n, classes) only.

    Raises:
        MembersError: there is no network, or something is no nn.Module.
        SettingError: there is no such mean, or the pool is of another number of members.
    """

    selects_output = True

    @checked
    def __init__(
        self,
        models: Sequence[nn.Module],
        mean: EnsembleMean | ClassPool = "probabilities",
        output: OutputChoice = None,
    ) -> None:
        super().__init__()
        self.output = as_output(output)
        members = list(networks(models))
        check_ensemble(mean, ENSEMBLE_MEANS, len(members))
        self.members = nn.ModuleList(members)
        self.mean: EnsembleMean | ClassPool = mean

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The ensemble's output for the inputs of any one member, shaped as the member's output.

        Raises:
            DataError: nothing says which output is meant, or on which axis its classes lie.
            MembersError: the members' outputs differ in shape.
        """
        outputs = [self.output.of(member(*args, **kwargs), member) for member in self.members]
        for k, output in enumerate(outputs):
            if output.shape != outputs[0].shape:
                raise MembersError(
                    f"Member {k} returns an output of shape {tuple(output.shape)}, but member 0"
                    f" {tuple(outputs[0].shape)}; take networks of one task only."
                )
        if self.mean in ("logits", "outputs"):
            return torch.stack(outputs).mean(0)
        axis = ClassAxis(self.output, "a mean of probabilities").of(outputs[0])
        classes_last = [output.movedim(axis, -1) for output in outputs]
        return mean_output(classes_last, self.mean).movedim(-1, axis)

    def __repr__(self) -> str:
        kinds = list(dict.fromkeys(type(member).__name__ for member in self.members))
        return (
            f"{type(self).__name__}({len(self.members)} x {', '.join(kinds[:3])},"
            f" mean={name_of(self.mean)!r})"
        )
