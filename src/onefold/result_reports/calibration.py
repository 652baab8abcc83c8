"""Calibration curves of classifiers, of one network or of the ensemble of several.

Tasks without classes have no such curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from onefold.batches import Data
from onefold.ensemble.mean import mean_output
from onefold.errors import SettingError
from onefold.inference import ANY
from onefold.inference.running import eval_mode, outputs_of
from onefold.tasks.base import Bins, Task, tasks
from onefold.tasks.calibration import Reliability
from onefold.tasks.class_tally import ClassTally
from onefold.tasks.scores import Scores


def curve_of(
    networks: Sequence[nn.Module], data: Data, scores: Scores, named: Task | None = None
) -> Reliability:
    """The calibration curve of networks that were scored; several answer by their mean.

    Args:
        networks: one or several.
        data: the labelled data that they were scored on.
        scores: theirs, which say the task and the bins.
        named: the task, if it was named.

    Raises:
        SettingError: the task has no classes.
    """
    task = named or tasks.get(scores.task)()
    tally = task.tally(Bins(scores.bins, scores.binning))
    if not isinstance(tally, ClassTally):
        raise SettingError(f"A calibration curve is for classifiers; {scores.task} has none.")
    reader, mean = task.reader(ANY, "a calibration curve"), task.default_mean(None)
    with eval_mode(networks):
        for outputs, batch in outputs_of(networks, data, "Calibration", ANY):
            values = [reader.values(own, batch) for own in outputs]
            joined = values[0] if len(values) == 1 else mean_output(values, mean, task)
            tally.add(reader.targets(joined, batch).rows(joined))
    return tally.reliability()


def has_curve(scores: Scores, named: Task | None = None) -> bool:
    """Whether networks of these scores have a calibration curve: classifiers that are counted.

    Args:
        scores: of a network.
        named: the task, if it was named.
    """
    task = named or tasks.get(scores.task)()
    return isinstance(task.tally(Bins(scores.bins, scores.binning)), ClassTally)


def errors_of(curves: Mapping[str, Reliability]) -> dict[str, float]:
    """The expected calibration error of every curve, a fraction of 1."""
    return {name: curve.ece for name, curve in curves.items()}


__all__ = ["curve_of", "errors_of", "has_curve"]
