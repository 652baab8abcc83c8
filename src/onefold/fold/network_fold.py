"""Folds that need more than the members' weights: calibration data to run, labels to choose by.

A fold of state dicts alone is a function (see `average.py`). One of these is a frozen dataclass
whose fields are its settings, as matchers are.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from onefold.alignment import Alignment
from onefold.batches import Data
from onefold.errors import SettingError
from onefold.fold.average import Fold, folds
from onefold.inference import ANY, Output
from onefold.symmetry import SymmetrySpec, TracedNetwork


@dataclass(frozen=True)
class FoldJob:
    """Everything that a fold may use.

    models: the members as they came. states: theirs in the reference's basis. average: what the
    plain fold of these states gives. shares: the members' weights, which sum to 1. data:
    calibration batches. validation: labelled batches to choose by, if there are any besides `data`.
    output: which output is meant where scores are needed. plain, repaired: the network with that
    state, as it is, and repaired as the merge's settings say, which takes `Folded.based` of it.
    always: what is folded will be repaired whatever the fold says, as it was asked for by name.
    """

    models: Sequence[nn.Module]
    states: Sequence[Mapping[str, Tensor]]
    average: Callable[[Sequence[float]], dict[str, Tensor]]
    shares: tuple[float, ...]
    reference: int
    alignment: Alignment | None
    spec: SymmetrySpec | None
    traced: TracedNetwork | None
    data: Data | None
    validation: Data | None
    plain: Callable[[Mapping[str, Tensor]], nn.Module]
    repaired: Callable[[Mapping[str, Tensor], bool], nn.Module]
    seed: int
    kept: Mapping[str, str] = field(
        default_factory=dict
    )  # what is not averaged, with the reason (see `unaveraged.py`)
    output: Output = ANY
    always: bool = False


@dataclass(frozen=True)
class Folded:
    """The folded state dict; whether `repair="auto"` shall repair it; what was done, as plain data
    for the report, and notes for the user.

    based: the features stand where the alignment puts them, so that the members' statistics, which
    are measured there, are theirs.
    """

    state: dict[str, Tensor]
    repair: bool
    details: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    based: bool = True


class NetworkFold(ABC):
    """A fold with settings. labelled: it may use labels; traced: it needs the traced graph;
    repairs: repair may have something to do after it.
    """

    labelled: ClassVar[bool] = False
    traced: ClassVar[bool] = True
    repairs: ClassVar[bool] = True

    @abstractmethod
    def fold(self, job: FoldJob) -> Folded:
        """The members of the job as one network."""


def fold_with(fold: str | NetworkFold, settings: Mapping[str, Any]) -> Fold | NetworkFold:
    """The fold of that name with the settings that are not None.

    Raises SettingError for a name or a setting that there is not.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    kind = type(fold) if isinstance(fold, NetworkFold) else folds.get(fold)
    known = _settings(kind)
    for name in given:
        if name not in known:
            having = [entry.name for entry in folds if name in _settings(entry.value)]
            shown = fold if isinstance(fold, str) else type(fold).__name__
            raise SettingError(
                f"The fold '{shown}' takes no {name}; leave it out, or use"
                f" {' or '.join(having) or 'another fold'}."
            )
    if isinstance(fold, NetworkFold):
        return dataclasses.replace(fold, **given)  # type: ignore[type-var]
    if isinstance(kind, type):
        made: NetworkFold = kind(**given)
        return made
    plain: Fold = kind
    return plain


def takes(fold: str | NetworkFold, setting: str) -> bool:
    """Whether a fold has that setting. Raises SettingError for a name that there is not."""
    return setting in _settings(type(fold) if isinstance(fold, NetworkFold) else folds.get(fold))


def fold_name(fold: str | NetworkFold) -> str:
    """The name that a fold is registered by, or its class's."""
    if isinstance(fold, str):
        return fold
    return next(
        (entry.name for entry in folds if entry.value is type(fold)), type(fold).__name__.lower()
    )


def _settings(kind: Any) -> set[str]:
    return (
        {f.name for f in dataclasses.fields(kind)}
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
        else set()
    )
