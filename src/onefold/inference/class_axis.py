"""Along which axis of a network's outputs its classes lie.

Labels have the outputs' shape without the class axis, and the class axis is the second or the last:
(N, C) goes with (N,), (N, C, H, W) with (N, H, W), (N, C, L) and (N, L, C) with (N, L). If both
axes fit, an earlier batch of the same pass decides. If there was none, the outputs are refused.
Without labels (N, C) of two classes or more is taken for a classifier's, and everything else is
refused: the argument `output=Output(class_axis=...)` says what shapes do not.
"""

from __future__ import annotations

from torch import Tensor

from onefold.errors import DataError
from onefold.inference.outputs import ANY, Output


class ClassAxis:
    """Brings the classes of a network's outputs to the last axis, batch after batch of one pass.

    The axis that one batch decides holds for the next.

    Args:
        output: says the axis, if it says one.
        todo: what the classes are needed for, as words before "needs two classes or more".
    """

    def __init__(self, output: Output = ANY, todo: str = "This") -> None:
        self._given, self._todo = output.class_axis, todo
        self._known: int | None = None

    @property
    def known(self) -> int | None:
        """The axis that was said or that labels decided; None if neither, and for (N, C)."""
        return self._known if self._given is None else self._given

    def last(
        self, values: Tensor, labels: object = None, *, scored: bool = False, where: str = ""
    ) -> Tensor:
        """The values (N, ..., C, ...) as (N, ..., C).

        Args:
            values: outputs of a batch.
            labels: of the batch, of any type; read for their shape.
            scored: whether the labels must fit.
            where: the batch in words, for messages.

        Raises:
            DataError: there is no such axis, it holds fewer than two classes, or nothing says which
                it is.
        """
        return values.movedim(self.of(values, labels, scored=scored, where=where), -1)

    def of(
        self, values: Tensor, labels: object = None, *, scored: bool = False, where: str = ""
    ) -> int:
        """The class axis of the values, from 1 on; arguments and errors as `last`."""
        axis = self._axis(values, labels if isinstance(labels, Tensor) else None, scored, where)
        if values.shape[axis] < 2:
            raise DataError(
                f"The outputs have shape {tuple(values.shape)}{where}, one number for each example,"
                f" as a regressor's or a binary classifier's; {self._todo} needs two classes or"
                " more."
            )
        return axis

    def _axis(self, values: Tensor, labels: Tensor | None, scored: bool, where: str) -> int:
        shape = tuple(values.shape)
        if self._given is not None:
            if not -values.dim() < self._given < values.dim():
                raise DataError(
                    f"The class axis was said to be {self._given}, but the outputs have shape"
                    f" {shape}{where}; give another."
                )
            return self._given % values.dim()
        if values.dim() < 2:
            raise DataError(
                f"The outputs have shape {shape}{where}, one number for each example, as a"
                f" regressor's or a binary classifier's; {self._todo} needs two classes or more."
            )
        if values.dim() == 2 and shape[1] < 2:
            return 1
        fitting = [] if labels is None else class_axes(shape, tuple(labels.shape))
        if len(fitting) == 1:
            if values.dim() == 2:
                return 1
            self._known = (
                fitting[0] - values.dim() if fitting[0] == values.dim() - 1 else fitting[0]
            )
            return fitting[0]
        if fitting and self._known is not None:
            return self._known % values.dim()
        if fitting:
            raise DataError(
                f"The outputs have shape {shape} and the labels"
                f" {tuple(labels.shape) if labels is not None else ()}{where}, so that the classes"
                " may lie on axis 1 or on the last; say which by"
                " output=onefold.inference.Output(class_axis=...)."
            )
        if labels is not None and (scored or _one_for_each(values, labels)):
            raise DataError(_misfit(shape, labels, where))
        if values.dim() == 2:
            return 1
        if self._known is not None:
            return self._known % values.dim()
        raise DataError(
            f"The outputs have shape {shape}{where}, and without labels nothing says on which axis"
            f" the classes lie, if they are classes; {self._todo} needs that, so say it by"
            " output=onefold.inference.Output(class_axis=...), as 1 for (N, C, H, W) or -1 for (N,"
            " T, C)."
        )


def class_axes(shape: tuple[int, ...], labels: tuple[int, ...]) -> list[int]:
    """The axes, of the second and the last, without which `shape` is that of the labels."""
    axes = sorted({1, len(shape) - 1}) if len(shape) > 1 else []
    return [axis for axis in axes if shape[:axis] + shape[axis + 1 :] == labels]


def _misfit(shape: tuple[int, ...], labels: Tensor, where: str) -> str:
    """Why labels are no labels of classes for outputs of `shape`, as a sentence."""
    kind = str(labels.dtype).removeprefix("torch.")
    if tuple(labels.shape) == shape:
        one_hot = "one-hot labels are made class numbers by labels.argmax(1)"
        return (
            f"The labels have the shape of the outputs, {shape}{where} ({kind}), one for every"
            " output, as in regression or with several classes at once; class numbers are needed,"
            f" and {one_hot}."
        )
    wanted = " or ".join(
        dict.fromkeys(str(shape[:axis] + shape[axis + 1 :]) for axis in sorted({1, len(shape) - 1}))
    )
    return (
        f"The labels have shape {tuple(labels.shape)} but the logits {shape}{where}; give labels"
        f" {wanted}."
    )


def _one_for_each(values: Tensor, labels: Tensor) -> bool:
    """Whether there is a label for every output, and the rows of labels are no probabilities.

    Then the outputs are no scores of classes.
    """
    if labels.shape != values.shape or values.dim() < 2 or labels.is_complex() or len(labels) == 0:
        return False
    rows = labels.double()
    return bool((rows < 0).any()) or bool(((rows.sum(1) - 1).abs() > 1e-3).any())
