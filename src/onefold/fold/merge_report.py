"""What a merge did, in numbers and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from torch import nn

from onefold.alignment import Alignment
from onefold.fold.settings import told

M = TypeVar("M", bound=nn.Module)

CHOOSING = "choice by labels"


@dataclass
class MergeReport:
    """What a merge did. seconds: of each phase. groups: one row for each group (`Alignment.table`).
    numbers: float64 numbers of moments kept.

    coverage: the share of the parameters in tensors that can move. spaces: feature spaces between
    layers; moving_spaces: those that can move. folded: what the fold itself reports (of least
    squares: every layer); polished: passes, examples and loss of the distillation. kept: state-dict
    name -> why it was not averaged but taken from one member, the reference where it has any
    weight; with a warning where members differ in it (see `onefold.fold.unaveraged`). used: step ->
    how many examples it read. examples: different calibration examples that any step but the choice
    by labels read. settings: step -> setting -> value, defaults filled in.
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

    def read(self, step: str, examples: int) -> None:
        """Enter that a step read so many examples; what is not read, as 0, is not entered."""
        if examples:
            self.used[step] = examples
            self.examples = (
                max(count for name, count in self.used.items() if name != CHOOSING)
                if set(self.used) - {CHOOSING}
                else 0
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @property
    def _steps(self) -> list[str]:
        own = [
            f"{step}{told(self.settings[step])}"
            for step in ("align", "fold")
            if self.settings.get(step)
        ]
        return [
            *own,
            f"shares {', '.join(f'{share:.3g}' for share in self.weights)}",
            f"seed {self.settings.get('seed', 0)}",
        ]

    @property
    def _polishing(self) -> str:
        if not self.polished:
            return ""
        settings = {name: self.polished[name] for name in ("ensemble", "lr", "batchnorm")}
        return f", polish {self.polished['passes']} passes{told(settings)}"

    def __str__(self) -> str:
        seconds = ", ".join(f"{phase} {value:.2f} s" for phase, value in self.seconds.items())
        lines = [
            (
                f"{self.members} networks of {self.parameters:,} parameters: align {self.align} to"
                f" {_aim(self.reference)}, fold {self.fold}, repair {self.repair}{self._polishing},"
                f" {self.examples} calibration examples{told(self.used)}."
            ),
            f"Settings: {'; '.join(self._steps)}.",
            (
                f"{len(self.groups)} groups cover {100 * self.coverage:.1f} % of the parameters,"
                f" {self.moving_spaces} of {self.spaces} feature spaces between layers can move."
                f" {seconds}."
            ),
        ]
        return "\n".join(lines + [f"note: {warning}" for warning in self.warnings])


@dataclass
class MergeResult(Generic[M]):
    """A plain network of the members' class, the maps it was made with (None for align="none"), and
    what was done.
    """

    model: M
    alignment: Alignment | None
    report: MergeReport


def _aim(reference: int | None) -> str:
    return "a common basis" if reference is None else f"member {reference}"


def _describe(alignment: Alignment, report: MergeReport) -> None:
    """Enter what was measured and solved into the report, with a warning for groups that another
    matcher served.
    """
    report.seconds |= {
        phase: value for phase, value in alignment.seconds.items() if phase != "trace"
    }
    report.numbers = alignment.numbers
    report.read("alignment" if report.align != "none" else "statistics", alignment.examples)
    if report.align == "none":
        return
    report.groups = alignment.table()
    report.warnings += alignment.warnings
