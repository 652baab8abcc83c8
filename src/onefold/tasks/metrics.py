"""Scores of a user's own: metrics of torchmetrics, and functions of outputs and labels.

A metric of torchmetrics is copied for every network and updated batch by batch. A function gets
(outputs, labels) of each batch. It returns a number for every example (n,), by which differences
are paired, or one number for the batch, which counts by the batch's examples.

A metric of a user's own file is registered by a name, so that recipes and options find it:

    @onefold.tasks.own_metrics.register("gap")
    def gap(outputs, labels): ...

    gap.higher_is_better = False

Both get outputs in the network's axes: of classes their log-probabilities (metrics take them as
logits), of yes or no the probabilities, of regression the numbers; and labels as the data give
them, of yes or no as whole numbers with -1 for NaN. In language modeling they get (N, T - 1, V) and
the tokens (N, T - 1) that follow, -100 where none counts. Labels that do not count are among them:
say `ignore_index` to the metric.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from onefold.errors import DataError, SettingError, nearest, shown
from onefold.registry import Registry
from onefold.tasks.score import Score

Function: TypeAlias = Callable[[Tensor, Tensor], Any]
PACKAGE = "torchmetrics"

own_metrics: Registry[Any] = Registry("metric")  # functions and Metrics of a user's own


@dataclass(frozen=True)
class Metric:
    """A score beside those of the task.

        onefold.evaluate(model, data, metrics=[MulticlassF1Score(num_classes=10)])
        onefold.evaluate(model, data, metrics=[Metric(gap, "gap", highest=False)])

    Attributes:
        of: a metric of torchmetrics, its name with arguments as
            "MulticlassF1Score(num_classes=10)", a function of (outputs, labels), or the name of one
            in `own_metrics`.
        name: by which it is shown and chosen; "": that of the metric or function.
        highest: whether more is better; None: as the metric says of itself.
        unit: behind its numbers.

    Raises:
        SettingError: it is no metric, or a name of torchmetrics that does not exist.
    """

    of: Any
    name: str = ""
    highest: bool | None = None
    unit: str = ""
    kind: Score = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found, own, highest = self.of, "", self.highest
        if isinstance(found, str) and found in own_metrics:
            own, found = found, own_metrics.get(found)
            if isinstance(found, Metric):
                highest = found.highest if highest is None else highest
                object.__setattr__(self, "unit", self.unit or found.unit)
                found = found.of
        found = named(found) if isinstance(found, str) else found
        if not callable(found) or isinstance(found, type):
            raise SettingError(
                f"A metric is {shown(self.of)}; give a metric of torchmetrics, its name with"
                " arguments, or a function of (outputs, labels)."
            )
        own = own or getattr(found, "__name__", "") or type(found).__name__
        if highest is None:
            highest = getattr(found, "higher_is_better", None)
        object.__setattr__(self, "of", found)
        object.__setattr__(self, "name", self.name or own)
        object.__setattr__(self, "highest", highest)
        object.__setattr__(self, "kind", Score(self.name, self.name, self.unit, highest))

    def counter(self) -> Counter:
        """An empty counter for one network."""
        return Streamed(self) if is_streamed(self.of) else Called(self)


def is_streamed(of: Any) -> bool:
    """Whether it is a metric that is updated batch by batch; other modules are functions."""
    return isinstance(of, nn.Module) and all(
        callable(getattr(of, name, None)) for name in ("update", "compute", "reset")
    )


def as_metric(given: Any) -> Metric:
    """A metric as it is, or what stands for one.

    Raises:
        SettingError: as `Metric`.
    """
    return given if isinstance(given, Metric) else Metric(given)


def as_metrics(given: Any) -> tuple[Metric, ...]:
    """All metrics of an argument, which is one or several.

    Raises:
        SettingError: as `Metric`, or two have one name.
    """
    several = isinstance(given, Iterable) and not isinstance(given, str | nn.Module)
    metrics = tuple(as_metric(one) for one in (given if several else [given]))
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise SettingError(
                f"Two metrics are called '{name}'; give them names, as onefold.Metric(metric,"
                " 'name')."
            )
    return metrics


class Counter:
    """Counts one metric of one network."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def add(self, outputs: Tensor, labels: Tensor, where: str) -> None:
        """Add one batch."""
        raise NotImplementedError

    def value(self) -> float:
        """The metric of all that was added."""
        raise NotImplementedError

    def contributions(self) -> Tensor | None:
        """What each example contributes (n,), if that is known."""
        return None


class Streamed(Counter):
    """A metric of torchmetrics."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(metric)
        self._own = copy.deepcopy(metric.of).cpu()
        self._own.reset()

    def add(self, outputs: Tensor, labels: Tensor, where: str) -> None:
        """Update the metric.

        Raises:
            DataError: it refuses the batch.
        """
        try:
            self._own.update(outputs, labels)
        except Exception as error:
            raise DataError(
                f"The metric '{self.metric.name}' refuses outputs {tuple(outputs.shape)} with"
                f" labels {tuple(labels.shape)}{where} ({_line(error)}); give one that fits the"
                " task."
            ) from error

    def value(self) -> float:
        """The value of the metric.

        Raises:
            DataError: it fails, or is no single number.
        """
        try:
            found = self._own.compute()
        except Exception as error:
            raise DataError(
                f"The metric '{self.metric.name}' cannot be computed of all batches"
                f" ({_line(error)}); give one that fits the task."
            ) from error
        return _number(found, self.metric.name)


class Called(Counter):
    """A function of outputs and labels."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(metric)
        self._parts: list[Tensor] = []
        self._sizes: list[int] = []
        self._single = True

    def add(self, outputs: Tensor, labels: Tensor, where: str) -> None:
        """Call the function.

        Raises:
            DataError: it fails, or returns neither a number nor one for every example.
        """
        try:
            found = torch.as_tensor(self.metric.of(outputs, labels)).detach().cpu().double()
        except Exception as error:
            raise DataError(
                f"The metric '{self.metric.name}' failed on outputs {tuple(outputs.shape)} with"
                f" labels {tuple(labels.shape)}{where} ({type(error).__name__}: {_line(error)});"
                " mend the function."
            ) from error
        count = len(outputs)
        if found.shape not in ((), (count,)):
            raise DataError(
                f"The metric '{self.metric.name}' returned shape {tuple(found.shape)} for {count}"
                f" examples{where}; return one number, or one for every example."
            )
        self._single &= found.dim() == 1
        self._parts.append(found.reshape(-1))
        self._sizes.append(count)

    def value(self) -> float:
        """The mean over examples."""
        if self._single:
            return float(torch.cat(self._parts).mean())
        total = sum(
            float(part.mean()) * size for part, size in zip(self._parts, self._sizes, strict=True)
        )
        return total / sum(self._sizes)

    def contributions(self) -> Tensor | None:
        """The numbers of the examples; None if batches had one number each."""
        return torch.cat(self._parts) if self._single else None


def named(text: str) -> nn.Module:
    """The metric of torchmetrics of a name with arguments, as "BinaryAUROC()".

    Arguments are keywords with numbers, words, truth values or None. The name may begin with the
    module, as "classification.BinaryAUROC".

    Raises:
        SettingError: torchmetrics is missing, has no such metric, or refuses the arguments.
    """
    try:
        import torchmetrics
    except ImportError:
        raise SettingError(
            f"The metric '{text}' needs the package torchmetrics; install it by pip install"
            " torchmetrics."
        ) from None
    except Exception as error:
        raise SettingError(
            f"The metric '{text}' needs the package torchmetrics, which cannot be imported here"
            f" ({type(error).__name__}: {_line(error)}); install versions that go together."
        ) from error
    try:
        call = ast.parse(text.strip(), mode="eval").body
        call = call if isinstance(call, ast.Call) else ast.Call(call, [], [])
        if call.args:
            raise ValueError("its arguments must be given by name")
        path = ast.unparse(call.func).split(".")
        values = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise SettingError(
            f"The metric '{text}' is not written as NAME(argument=value, ...) ({error}); write it"
            " as MulticlassF1Score(num_classes=10)."
        ) from None
    holders = [torchmetrics, *_parts_of(torchmetrics)]
    made = next((found for holder in holders if (found := _at(holder, path)) is not None), None)
    if made is None:
        known = {
            name
            for holder in holders
            for name, value in vars(holder).items()
            if inspect.isclass(value) and issubclass(value, torchmetrics.Metric)
        }
        raise SettingError(
            f"{PACKAGE} has no metric '{'.'.join(path)}';"
            f" {nearest(path[-1], known, 'see its list of metrics.')}"
        )
    try:
        found = made(**values)
    except Exception as error:
        raise SettingError(
            f"The metric '{text}' cannot be made ({_line(error)}); see its arguments in the"
            " documentation of torchmetrics."
        ) from None
    if not isinstance(found, nn.Module):
        raise SettingError(f"'{text}' is no metric of torchmetrics; give one of its classes.")
    return found


def _parts_of(package: Any) -> list[Any]:
    """The modules of torchmetrics whose metrics need no module before their name."""
    wanted = ("classification", "regression", "segmentation", "text", "retrieval", "image", "audio")
    found = []
    for name in wanted:
        with contextlib.suppress(ImportError):  # what a part needs may be missing
            found.append(importlib.import_module(f"{package.__name__}.{name}"))
    return found


def _at(holder: Any, path: Sequence[str]) -> Any:
    for name in path:
        if name == PACKAGE:
            continue
        holder = getattr(holder, name, None)
    return holder if inspect.isclass(holder) else None


def _number(value: Any, name: str) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value)
    if isinstance(value, int | float):
        return float(value)
    what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise DataError(
        f"The metric '{name}' gives no single number but {what}; choose an average of it, as"
        " average='macro'."
    )


def _line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return text[:200] or type(error).__name__


def check_chooses(kind: Score) -> None:
    """Refuse a score that is to choose and has no direction.

    Raises:
        SettingError: as said.
    """
    if kind.highest is None:
        raise SettingError(
            f"The metric '{kind.name}' is to choose, but nothing says whether more of it is better;"
            f" say so, as onefold.Metric(metric, '{kind.name}', highest=True)."
        )


__all__ = ["Metric", "as_metrics", "check_chooses", "own_metrics"]
