"""The base class of folds, the job that a fold gets, and its result.

A fold is a frozen dataclass whose fields are its settings, registered by a decorator, as matchers
are. A plain function of state dicts (see `average.py`) is a fold, too.
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
from onefold.comparison import Evidence
from onefold.ensemble.pool import ClassPool
from onefold.errors import SettingError, shown
from onefold.finite import finite
from onefold.fold.average import Fold, folds
from onefold.inference import ANY, Output
from onefold.symmetry import SymmetrySpec, TracedNetwork
from onefold.tasks import Scoring

CHOSEN = "chosen for each layer"  # a ridge that is not given


@dataclass(frozen=True)
class FoldJob(ABC):
    """The inputs of a fold, and the operations of the merge that it may use.

    Attributes:
        models: the members as they came.
        states: the members' state dicts in the reference's basis.
        shares: the members' weights, which sum to 1.
        reference: the member whose shapes and integer buffers the result has.
        alignment: the maps into that basis; None: the states are as they came.
        spec: the symmetries of the network, if it could be traced.
        traced: its graph, if it could be traced.
        data: calibration batches; None: there are none.
        validation: labelled batches to choose by, if there are any besides `data`.
        seed: of what is random in the fold.
        kept: state-dict name -> why the tensor is not averaged (see `unaveraged.py`).
        output: which output is meant if scores are needed.
        scoring: the task, and the score that decides.
        always: the result will be repaired whatever the fold says, as repair was asked for by name.
        evidence: how the members relate, if that was measured.
    """

    models: Sequence[nn.Module]
    states: Sequence[Mapping[str, Tensor]]
    shares: tuple[float, ...]
    reference: int
    alignment: Alignment | None
    spec: SymmetrySpec | None
    traced: TracedNetwork | None
    data: Data | None
    validation: Data | None
    seed: int = 0
    kept: Mapping[str, str] = field(default_factory=dict)
    output: Output = ANY
    scoring: Scoring = field(default_factory=Scoring)
    always: bool = False
    evidence: Evidence | None = None

    @abstractmethod
    def average(self, shares: Sequence[float]) -> dict[str, Tensor]:
        """The plain average of the states by these shares."""

    @abstractmethod
    def complete(self, state: dict[str, Tensor], shares: Sequence[float]) -> dict[str, Tensor]:
        """A folded state with what is not averaged taken from one member."""

    @abstractmethod
    def plain(self, state: Mapping[str, Tensor]) -> nn.Module:
        """The network with that state, not repaired."""

    @abstractmethod
    def repaired(self, state: Mapping[str, Tensor], based: bool = True) -> nn.Module:
        """The network with that state, repaired as the merge will repair it.

        Args:
            state: the folded state.
            based: as `Folded.based`.
        """


@dataclass(frozen=True)
class Folded:
    """The result of a fold.

    Attributes:
        state: the folded state dict.
        repair: whether `repair="auto"` shall repair it.
        details: facts for the report, as plain data.
        warnings: notes for the user, one sentence each.
        based: the features are in the basis of the alignment, so that the members' statistics,
            which are measured there, are the targets of repair.
        wants_alignment: members were averaged without any alignment; the merge aligns them by its
            default, unless it was asked not to, and folds again.
        aligned: the state is made of the aligned members, so that the alignment belongs to it.
        chosen: whole sentences that stand first in the report: what was chosen, and why.
        network: a network that has the shapes of the state; None: the reference has.
    """

    state: dict[str, Tensor]
    repair: bool
    details: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    based: bool = True
    wants_alignment: bool = False
    aligned: bool = True
    chosen: tuple[str, ...] = ()
    network: nn.Module | None = None


class NetworkFold(ABC):
    """A fold with settings, which may run networks.

    Attributes:
        labelled: the fold may use labels.
        traced: the fold needs the traced graph, and so calibration data.
        repairs: repair may have something to do after the fold.
        runs: the fold runs networks, and so needs all of the data in one process.
    """

    labelled: ClassVar[bool] = False
    traced: ClassVar[bool] = True
    repairs: ClassVar[bool] = True
    runs: ClassVar[bool] = True

    @property
    def aligns(self) -> bool:
        """Whether an alignment changes the result, so that one is computed by default."""
        return True

    @abstractmethod
    def fold(self, job: FoldJob) -> Folded:
        """The members of the job as one network."""

    def settings(self) -> dict[str, Any]:
        """The settings as plain data, for reports."""
        if not dataclasses.is_dataclass(self):
            return {}
        settings = {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        if "ridge" in settings and settings["ridge"] is None:
            settings["ridge"] = CHOSEN
        return settings

    @property
    def name(self) -> str:
        """The name that the fold is registered by, or its class's in lower case."""
        kind = type(self)
        return next((e.name for e in folds if e.value is kind), kind.__name__.lower())


class StateFold(NetworkFold):
    """A fold that is a function of aligned state dicts alone.

    Args:
        function: the function (see `average.py`).
    """

    traced: ClassVar[bool] = False
    runs: ClassVar[bool] = False

    def __init__(self, function: Fold) -> None:
        self.function = function

    def fold(self, job: FoldJob) -> Folded:
        """The result of the function of the states.

        Raises:
            SettingError: the function returns no state dict.
        """
        state = self.function(job.states, job.shares, reference=job.reference)
        if not isinstance(state, Mapping) or not state:
            raise SettingError(
                f"The fold '{self.name}' returns {shown(state)}; it must return a state dict."
            )
        return Folded(job.complete(state, job.shares), repair=True)

    @property
    def name(self) -> str:
        """The name that the function is registered by, or its own."""
        unregistered = getattr(self.function, "__name__", "fold")
        return next((e.name for e in folds if e.value is self.function), unregistered)


def as_fold(fold: str | NetworkFold | Callable[..., Any]) -> NetworkFold:
    """A fold from its name (with default settings), a function of state dicts, or a fold.

    Raises:
        SettingError: there is no such fold, or it is none of these.
    """
    if isinstance(fold, NetworkFold):
        return fold
    value: Any = folds.get(fold) if isinstance(fold, str) else fold
    if isinstance(value, type) and issubclass(value, NetworkFold):
        if not isinstance(fold, str):
            raise SettingError(
                f"A fold is a name or an instance, not {shown(fold)}; write {value.__name__}()."
            )
        return value()
    if not callable(value):
        raise SettingError(
            f"A fold is a name or an instance such as onefold.LeastSquares(), not {shown(fold)};"
            " see `onefold methods fold`."
        )
    return StateFold(value)


def takes(fold: NetworkFold, setting: str) -> bool:
    """Whether a fold has a setting of that name."""
    return dataclasses.is_dataclass(fold) and setting in {f.name for f in dataclasses.fields(fold)}


def plain(value: Any) -> Any:
    """A setting as plain data for JSON."""
    if isinstance(value, ClassPool):
        return "classes"
    return finite(value) if isinstance(value, str | int | float | bool | None) else str(value)


def told(settings: Mapping[str, Any]) -> str:
    """The settings of one step in brackets; "" if there are none."""
    words = ", ".join(
        f"{name} {f'{value:g}' if isinstance(value, float) else value}"
        for name, value in settings.items()
    )
    return f" ({words})" if words else ""
