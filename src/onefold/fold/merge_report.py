"""The result of a merge, and its report in numbers and in words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from torch import nn

from onefold.alignment import Alignment
from onefold.finite import finite
from onefold.fold.distillation import TOLD
from onefold.fold.network_fold import told
from onefold.notebook import card
from onefold.symmetry import SymmetrySpec

M = TypeVar("M", bound=nn.Module)

CHOOSING = "choice by labels"


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """A context whose seconds are added to those of a phase."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - start


@dataclass
class MergeReport:
    """The report of a merge.

    Attributes:
        align: the name of the matcher, or "none".
        fold: the name of the fold.
        repair: what was repaired: "none", "batchnorm", "full" or "auto".
        members: K.
        reference: the member that the others were mapped to; None: a common basis.
        weights: the members' shares, which sum to 1.
        examples: the most calibration examples that a step read, except the choice by labels.
        parameters: of one network.
        coverage: the share of the parameters in tensors that can move.
        spaces: how many feature spaces lie between layers.
        moving_spaces: how many of them can move.
        numbers: how many float64 numbers of moments were in memory at once.
        seconds: phase -> seconds.
        groups: one row for each group (`Alignment.table`).
        repaired: the numbers of repair (`RepairReport`).
        folded: the details of the fold (least squares: every layer).
        polished: settings, examples, loss and times of the distillation (`Polished.to_dict`).
        frozen: state-dict name -> why no axis of it can move.
        unknown: operator without a rule -> how often it occurs.
        kept: state-dict name -> why it was not averaged but taken from one member, the reference
            if it has any weight. A warning names those in which members differ (`unaveraged.py`).
        warnings: notes for the user, one sentence each.
        used: step -> how many examples it read.
        settings: step -> setting -> value, with defaults filled in.
        chosen: what a fold that chooses took, why, and what it would take to gain; whole sentences.
    """

    align: str
    fold: str
    repair: str
    members: int
    reference: int | None
    weights: tuple[float, ...]
    examples: int = 0
    parameters: int = 0
    coverage: float = 0.0
    spaces: int = 0
    moving_spaces: int = 0
    numbers: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    repaired: dict[str, Any] = field(default_factory=dict)
    folded: dict[str, Any] = field(default_factory=dict)
    polished: dict[str, Any] = field(default_factory=dict)
    frozen: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    chosen: list[str] = field(default_factory=list)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """A context whose seconds are added to those of a phase."""
        with timed(self.seconds, phase):
            yield

    def read(self, step: str, examples: int) -> None:
        """Enter that a step read so many examples; 0 is not entered."""
        if not examples:
            return
        self.used[step] = examples
        counts = [count for name, count in self.used.items() if name != CHOOSING]
        self.examples = max(counts, default=0)

    def describe(self, alignment: Alignment, *, computed: bool = True) -> None:
        """Enter the groups, settings and warnings of an alignment.

        Args:
            alignment: the alignment.
            computed: this merge computed it, so that its seconds and examples are the merge's.
        """
        self.align, self.reference = alignment.method, alignment.reference
        self.settings["align"] = dict(alignment.settings)
        self.numbers = alignment.numbers
        self.groups = alignment.table()
        self.warnings += alignment.warnings
        if computed:
            spent = {name: value for name, value in alignment.seconds.items() if name != "trace"}
            self.seconds |= spent
            self.read("alignment", alignment.examples)
        else:
            self.settings["align"]["computed before"] = True

    def leave_unaligned(self) -> None:
        """Enter that the result does not use the alignment that was computed."""
        self.align, self.groups, self.numbers = "none", [], 0
        self.settings["align"] = {}

    def cover(self, spec: SymmetrySpec) -> None:
        """Enter how much of the network can move."""
        self.coverage = spec.coverage
        self.frozen, self.unknown = dict(spec.frozen), dict(spec.unknown)
        self.spaces = len(spec.spaces)
        self.moving_spaces = sum(bool(space.groups) for space in spec.spaces)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite becomes a word."""
        return {name: finite(value) for name, value in asdict(self).items()}

    @property
    def _settings(self) -> str:
        parts = [
            f"{step}{told(self.settings[step])}"
            for step in ("align", "fold")
            if self.settings.get(step)
        ]
        shares = ", ".join(f"{share:.3g}" for share in self.weights)
        return "; ".join([*parts, f"shares {shares}", f"seed {self.settings.get('seed', 0)}"])

    @property
    def _polishing(self) -> str:
        if not self.polished:
            return ""
        settings = {name: self.polished[name] for name in TOLD}
        return f", polish {self.polished['passes']} passes{told(settings)}"

    def __str__(self) -> str:
        seconds = ", ".join(f"{phase} {value:.2f} s" for phase, value in self.seconds.items())
        aim = "a common basis" if self.reference is None else f"member {self.reference}"
        lines = [
            *self.chosen,
            f"{self.members} networks of {self.parameters:,} parameters: align {self.align} to"
            f" {aim}, fold {self.fold}, repair {self.repair}{self._polishing}, {self.examples}"
            f" calibration examples{told(self.used)}.",
            f"Settings: {self._settings}.",
            f"{len(self.groups)} groups cover {100 * self.coverage:.1f} % of the parameters,"
            f" {self.moving_spaces} of {self.spaces} feature spaces between layers can move."
            f" {seconds}.",
        ]
        return "\n".join(lines + [f"note: {warning}" for warning in self.warnings])


@dataclass(repr=False)
class MergeResult(Generic[M]):
    """The result of `onefold.merge`.

    Attributes:
        model: a plain network of the members' class.
        alignment: the maps of the members; None if they were folded as they are.
        report: the report of every step.
    """

    model: M
    alignment: Alignment | None
    report: MergeReport

    @property
    def notes(self) -> list[str]:
        """What the user should know of the result, which the report holds as warnings."""
        return self.report.warnings

    def __repr__(self) -> str:
        report = self.report
        return (
            f"MergeResult({type(self.model).__name__} of {report.members} members, align"
            f" {report.align}, fold {report.fold}, repair {report.repair},"
            f" {len(report.warnings)} warnings; print(result.report) tells all)"
        )

    def __str__(self) -> str:
        return f"{type(self.model).__name__}: {self.report}"

    def _repr_html_(self) -> str:
        """The short form in a notebook: how it was made, why so, and what was in doubt."""
        report = self.report
        how = f"align {report.align}, fold {report.fold}, repair {report.repair}"
        return card(
            f"{report.members} networks folded into one {type(self.model).__name__}",
            [*report.chosen, f"{how}."] + [f"Note: {one}." for one in report.warnings],
            more="print(result.report) tells all; onefold.write_report scores it on a page.",
        )
