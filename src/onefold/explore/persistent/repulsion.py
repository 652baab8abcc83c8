"""The repulsion of a round, in the space of parameters or of functions.

It is built from the solutions of earlier rounds, or from the random points of the control.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from onefold.batches import Batch, batches, device_of
from onefold.copying import copied
from onefold.explore.persistent.controls import random_displacement
from onefold.explore.persistent.distances import differences, wide
from onefold.explore.persistent.functional import FunctionRepulsion, predict
from onefold.explore.persistent.kernels import PREDICTIONS, Kernel
from onefold.explore.persistent.penalty import ParameterRepulsion, Repulsion
from onefold.explore.persistent.scopes import Group
from onefold.explore.persistent.snapshot import Snapshot
from onefold.explore.persistent.solutions import Solution
from onefold.inference import ANY, Output
from onefold.tasks import Scoring


@dataclass(frozen=True, eq=False)
class RepulsionBuilder:
    """The facts from which every round's repulsion is built.

    Attributes:
        kernel: of parameters or of predictions.
        network: which is trained.
        groups: the parameters that are repelled.
        start: the initialisation.
        reference: one batch, for a kernel of predictions; else None.
        output: which output of the network its predictions are.
        scoring: names the task that the predictions are of.
    """

    kernel: Kernel
    network: nn.Module
    groups: Sequence[Group]
    start: Snapshot
    reference: Any = None
    output: Output = ANY
    scoring: Scoring = field(default_factory=Scoring)

    def build(
        self, solutions: Sequence[Solution], control: bool, mirror: bool, seed: int
    ) -> Repulsion:
        """The repulsion from these solutions, on the network's device.

        Args:
            solutions: those that repel, in order.
            control: repel from random points as far from the start instead.
            mirror: repel also from the reflection of the last solution about the start, 2 theta_0 -
                theta*, or from that of its predictions.
            seed: of the random points.
        """
        by_function = self.kernel.of == PREDICTIONS
        names = [name for group in self.groups for name in group.parameters]
        now = dict(self.network.named_parameters())
        start = [self.start.parameters[name].to(now[name].device) for name in names]
        members = torch.tensor(
            [[float(name in group.parameters) for name in names] for group in self.groups]
        )
        in_parameters = ParameterRepulsion(self.kernel, start, members)
        in_functions = None
        if by_function:
            in_functions = FunctionRepulsion(
                self.kernel,
                self.network,
                self._batch(),
                self.predictions(self.start),
                self.output,
                self.scoring,
            )
        for solution in solutions:
            mirrored = mirror and solution is solutions[-1]
            if in_functions is not None and not control:
                in_functions.add(self.predictions(solution.snapshot()), mirrored)
                continue
            stored, displaced = solution.stored(), solution.displaced
            tensors = [stored[name].to(own.device) for name, own in zip(names, start, strict=True)]
            if control:
                way = tensors if displaced else differences(tensors, start)
                tensors, displaced = random_displacement(way, members, seed, solution.round), True
            if in_functions is None:
                in_parameters.add(tensors, displaced)
                if mirrored:
                    in_parameters.add(
                        torch._foreach_neg(tensors if displaced else differences(tensors, start)),
                        True,
                    )
            else:
                point = {
                    name: own.cpu() + way.to(wide([own]))
                    for name, own, way in zip(names, start, tensors, strict=True)
                }
                in_functions.add(
                    self.predictions(Snapshot(self.start.parameters | point, self.start.buffers)),
                    mirrored,
                )
        return in_functions or in_parameters

    def predictions(self, at: Snapshot) -> Tensor:
        """The network's predictions on the reference batch with these tensors.

        Raises:
            DataError: the network cannot run on it.
        """
        with torch.no_grad():
            return predict(copy_at(self.network, at), self._batch(), self.output, self.scoring)

    def _batch(self) -> Batch:
        return next(iter(batches([self.reference], device_of(self.network), "reference batch")))


def copy_at(network: nn.Module, tensors: Snapshot) -> nn.Module:
    """A copy of the network that holds these tensors.

    Raises:
        MembersError: the network cannot be copied.
    """
    result = copied(network)
    with torch.no_grad():
        for own, now in (
            (tensors.parameters, result.named_parameters()),
            (tensors.buffers, result.named_buffers()),
        ):
            for name, tensor in now:
                tensor.copy_(own[name])
    return result
