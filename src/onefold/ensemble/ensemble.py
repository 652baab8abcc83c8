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
from onefold.batches import Batch
from onefold.ensemble.mean import mean_output
from onefold.ensemble.names import ENSEMBLE_MEANS, EnsembleMean, check_ensemble, name_of
from onefold.ensemble.pool import ClassPool
from onefold.errors import MembersError
from onefold.inference import OutputChoice, as_output, networks
from onefold.tasks import AUTO, Classification, TaskChoice, as_task


class Ensemble(nn.Module):
    """Several networks that answer as one network.

        ensemble = onefold.Ensemble(models)                    # classifiers: the mean probability
        ensemble = onefold.Ensemble(models, mean="outputs")    # regressors: the mean output
        ensemble = onefold.Ensemble(models, task="binary")     # one logit: the mean probability
        ensemble = onefold.Ensemble(models, mean=onefold.class_pool(models, unlabelled))

    The output has the axes and the form of one member's output: for "probabilities", "logits" and a
    pool logits that go where those of one network go. The members are held as they are, without a
    copy, and their outputs must have one shape.

    Args:
        models: the networks, at least one.
        mean: "probabilities", the logarithm of the mean probability of each class, or of yes or no
            the logit of the mean probability; "logits", the mean of the logits; "outputs", the mean
            of the outputs, whatever they are; or a pool (`onefold.class_pool`), which weights the
            members class by class. A pool is no part of the state dict. None: the task's own mean.
        output: which output is averaged if the members return several, and on which axis its
            classes lie (`onefold.inference`). Probabilities and pools need the axis. It is known
            for outputs (n, classes), and for a task that is named.
        task: what the members are asked, as in `onefold.evaluate`; "auto": classes.

    Raises:
        MembersError: there is no network, or something is no nn.Module.
        SettingError: there is no such mean or task, or the pool is of another number of members.
    """

    selects_output = True

    @checked
    def __init__(
        self,
        models: Sequence[nn.Module],
        mean: EnsembleMean | ClassPool | None = None,
        output: OutputChoice = None,
        task: TaskChoice = AUTO,
    ) -> None:
        super().__init__()
        self.output = as_output(output)
        members = list(networks(models))
        self.task = as_task(task) or Classification()
        if mean is None:
            mean = self.task.default_mean(None)
        check_ensemble(mean, ENSEMBLE_MEANS, len(members))
        if isinstance(mean, str):
            self.task.default_mean(mean)
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
        reader = self.task.reader(self.output, "a mean of probabilities")
        batch = Batch(args, kwargs)
        rows = [reader.values(output, batch) for output in outputs]
        return reader.back(mean_output(rows, self.mean, self.task), outputs[0])

    def __repr__(self) -> str:
        kinds = list(dict.fromkeys(type(member).__name__ for member in self.members))
        return (
            f"{type(self).__name__}({len(self.members)} x {', '.join(kinds[:3])},"
            f" mean={name_of(self.mean)!r})"
        )
