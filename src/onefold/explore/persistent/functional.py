"""The "function" kernel: repulsion between predictions on a small reference batch.

    factor sum_j exp(-D_j(theta) / (2 width^2 D_j(theta_0)))
    D_j(theta) = mean over the examples of |f(theta) - f(theta*_j)|^2

f are what the task says of outputs (`onefold.tasks`): of classes their probabilities, of yes or no
the probability of yes, of numbers the outputs themselves. If the task is not named and the
reference batch has no labels that tell it, outputs (n, C) are those of classes, and other outputs
of one number are taken as they are. Permutations and rescalings of hidden units leave f as it is.
They cannot satisfy this distance, though they can satisfy one between parameters. The gradient is
that of autograd, through one more forward and backward pass over the reference batch.

Predictions are made without dropout, and by batch norms with the batch's own statistics. They
depend on the parameters and on nothing else that training has gathered. The network's buffers stay
as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from onefold.batches import Batch, Data, batches
from onefold.batchnorm import norms_of
from onefold.errors import DataError, PersistentError
from onefold.explore.persistent.distances import wide
from onefold.explore.persistent.kernels import Kernel
from onefold.explore.persistent.penalty import NORMALISER, Evaluated
from onefold.inference import ANY, Output, run
from onefold.tasks import Classification, Scoring, Task


class FunctionRepulsion:
    """Repulsion in the space of functions.

    Args:
        kernel: of predictions.
        network: whose predictions are compared; it is left as it is.
        reference: the batch that it predicts on.
        start: the predictions at theta_0, as `predict` makes them.
        output: which output the predictions are.
        scoring: names the task, or leaves it to the labels of the reference batch.
    """

    def __init__(
        self,
        kernel: Kernel,
        network: nn.Module,
        reference: Batch,
        start: Tensor,
        output: Output = ANY,
        scoring: Scoring | None = None,
    ) -> None:
        self.output, self.scoring = output, scoring or Scoring()
        self.kernel, self.network, self.reference, self.start = kernel, network, reference, start
        self.device = start.device
        self._anchors: list[tuple[Tensor, Tensor]] = []

    def add(self, predictions: Tensor, mirrored: bool = False) -> None:
        """Repel from these predictions, and from their reflection about the start if `mirrored`.

        Predictions that equal those of the start are left out.
        """
        length = _apart(self.start, predictions)
        if length > 0:
            places = (predictions, 2 * self.start - predictions) if mirrored else (predictions,)
            self._anchors += [(place, 1 / (length + NORMALISER)) for place in places]

    def evaluate(
        self, parameters: Sequence[Tensor], factor: float, width: float, gradient: bool
    ) -> Evaluated:
        """The penalty and, if `gradient`, its gradient; as `Repulsion.evaluate`."""
        if not self._anchors:
            dtype = wide(parameters)
            return torch.zeros((), device=self.device, dtype=dtype), (
                [torch.zeros_like(p) for p in parameters] if gradient else None
            )
        needed = [k for k, parameter in enumerate(parameters) if parameter.requires_grad]
        with torch.set_grad_enabled(gradient):
            found = predict(self.network, self.reference, self.output, self.scoring)
            values = [
                self.kernel.values(_apart(found, there) * inverse, width)[0]
                for there, inverse in self._anchors
            ]
            total = torch.stack(values).sum() * factor
        if not gradient:
            return total, None
        result = [torch.zeros_like(parameter) for parameter in parameters]
        if needed and total.requires_grad:
            for k, own in zip(
                needed,
                torch.autograd.grad(total, [parameters[k] for k in needed], allow_unused=True),
                strict=True,
            ):
                result[k] = result[k] if own is None else own
        return total.detach(), result


def predict(
    network: nn.Module, reference: Batch, output: Output = ANY, scoring: Scoring | None = None
) -> Tensor:
    """The network's predictions on the reference batch, in float32 or float64.

    Raises:
        DataError: the network cannot run on the batch or returns several outputs, or nothing says
            on which axis the classes of an output with more axes than (n, C) lie.
        PersistentError: a prediction is NaN or infinite.
    """
    with _at_rest(network):
        outputs = run(network, reference, output)
    outputs = outputs.to(wide([outputs]))
    if not bool(outputs.detach().isfinite().all()):
        raise PersistentError(
            "The network's predictions on the reference batch hold NaN or infinity; lower the"
            " learning rate or the strength."
        )
    task = _task(outputs, reference, output, scoring or Scoring())
    if task is None:
        return outputs
    reader = task.reader(output, "the kernel 'function'")
    told = task.told(reader.values(outputs, reference))
    return reader.back(told.exp() if task.classes else told, outputs)


def _task(outputs: Tensor, reference: Batch, output: Output, scoring: Scoring) -> Task | None:
    """The task as named or told by labels, else that of classes; None for a single number."""
    if scoring.named is not None:
        return scoring.named
    if reference.labels is not None:
        try:
            return scoring.told(outputs, reference, output)
        except DataError:
            pass  # predictions need no labels
    if outputs.dim() < 2 or (outputs.dim() == 2 and outputs.shape[1] < 2):
        return None
    return Classification()


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """The mean over the examples of the squared distance."""
    return (a - b).square().sum() / len(a)


@contextmanager
def _at_rest(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, with two exceptions.

    Batch norms use the batch's own statistics and gather none. Recurrent layers are in training
    mode with their dropout off, since their gradients on a GPU need that mode.
    """
    modes = [(module, module.training) for module in network.modules()]
    norms = [(norm, norm.track_running_stats) for norm in norms_of(network)]
    recurrent = [(module, module.dropout) for module, _ in modes if isinstance(module, nn.RNNBase)]
    try:
        network.eval()
        for norm, _ in norms:
            norm.training, norm.track_running_stats = True, False
        for layer, _ in recurrent:
            layer.training, layer.dropout = True, 0.0
        yield
    finally:
        for layer, dropout in recurrent:
            layer.dropout = dropout
        for norm, tracked in norms:
            norm.track_running_stats = tracked
        for module, training in modes:
            module.training = training


def reference_inputs(data: Data, count: int, dtype: torch.dtype) -> Any:
    """The inputs of the first `count` training examples, of one batch at most, without labels.

    Floating-point numbers are in the network's precision.
    """
    first = next(iter(batches(data, what="training data")))

    def take(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        value = value.to(dtype) if value.is_floating_point() else value
        return value[:count] if value.dim() and len(value) == first.size else value

    args = tuple(map(take, first.args))
    kwargs = {name: take(value) for name, value in first.kwargs.items()}
    return kwargs if kwargs else args[0] if len(args) == 1 else args
