"""Structured pruning: one network folded into a narrower one of its class.

The units that stay are those that the layers behind them need most, and every layer is refitted
from what is left, in graph order, to what it gave before:

    E(S) = sum over readers r of  min_V mean_x | M_r^(1/2) (y_r - V x_r,S) |^2,

as in least-squares folding, of which this is the case of one member (`least_squares/units.py`). No
labels are needed and nothing is trained. A budget is spread over all groups by what their loss
costs at the outputs for what it saves (`widths/allocation.py`).

Pruning by the error of the next layer: Luo, Wu & Lin 2017, "ThiNet" (arXiv 1707.06342).
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from torch import nn

from onefold.alignment import trace_on
from onefold.arguments import checked
from onefold.batches import Data, check_reiterable
from onefold.errors import SettingError, WidthsError
from onefold.finite import finite
from onefold.fold.distillation import Polish
from onefold.fold.distillation import polish as distil
from onefold.fold.distillation.settings import as_polish
from onefold.fold.least_squares import LeastSquares
from onefold.fold.merge_report import timed
from onefold.fold.steps import MergeJob, made_of
from onefold.fold.unaveraged import unaveraged
from onefold.inference import OutputChoice, as_output
from onefold.isolation import isolated
from onefold.notebook import card
from onefold.symmetry import solve
from onefold.tasks import AUTO, TaskChoice, as_scoring

M = TypeVar("M", bound=nn.Module)


@dataclass
class PruneReport:
    """What was taken out of a network, and what is left.

    Attributes:
        widths: group -> its numbers of units before and after.
        costs: unit ("multiply-adds" of an example, "parameters", "bytes") -> cost of the result.
        factors: unit -> cost of the result, as a factor of the original's.
        examples: calibration examples.
        layers: one row for each layer that was refitted (`SolvedLayer`).
        averaged: parameter that was not refitted -> why.
        polished: settings and numbers of the distillation, if there was one.
        seconds: phase -> seconds.
        settings: setting -> value.
        warnings: notes for the user, one sentence each.
    """

    widths: dict[str, tuple[int, int]]
    costs: dict[str, float]
    factors: dict[str, float]
    examples: int
    layers: list[dict[str, Any]]
    averaged: dict[str, str]
    polished: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite becomes a word."""
        return {name: finite(value) for name, value in asdict(self).items()}

    @property
    def text(self) -> str:
        """What is left, as one sentence."""
        left = sum(after for _, after in self.widths.values())
        whole = sum(before for before, _ in self.widths.values())
        factors = self.factors
        return (
            f"{left:,} of {whole:,} units are left in {len(self.widths)} groups:"
            f" {factors['multiply-adds']:.3g} times the multiply-adds and"
            f" {factors['parameters']:.3g} times the parameters."
        )

    def __str__(self) -> str:
        seconds = ", ".join(f"{phase} {value:.2f} s" for phase, value in self.seconds.items())
        lines = [f"{self.text} {self.examples:,} calibration examples. {seconds}."]
        lines += [f"{name}: {a:,} -> {b:,} units" for name, (a, b) in self.widths.items()]
        return "\n".join(lines + [f"note: {warning}" for warning in self.warnings])


@dataclass(repr=False)
class PruneResult(Generic[M]):
    """The result of `onefold.prune`.

    Attributes:
        model: a plain network of the original's class, with narrower layers.
        report: what was taken out.
    """

    model: M
    report: PruneReport

    @property
    def notes(self) -> list[str]:
        """What the user should know of the result, which the report holds as warnings."""
        return self.report.warnings

    def __repr__(self) -> str:
        return f"PruneResult({type(self.model).__name__}: {self.report.text})"

    def __str__(self) -> str:
        return f"{type(self.model).__name__}: {self.report}"

    def _repr_html_(self) -> str:
        """The short form in a notebook."""
        return card(
            f"{type(self.model).__name__}, pruned",
            [self.report.text] + [f"Note: {one}." for one in self.report.warnings],
            more="print(result.report) tells all; onefold.save and load_resized keep the network.",
        )


@checked
@isolated
def prune(
    model: M,
    data: Data,
    *,
    width: float | None = None,
    budget: str | None = None,
    method: LeastSquares | None = None,
    polish: int | Polish = 0,
    output: OutputChoice = None,
    task: TaskChoice = AUTO,
    seed: int = 0,
) -> PruneResult[M]:
    """A narrower network that computes nearly what `model` does; no labels, no training.

    Args:
        model: any network that can be traced; it is left as it is.
        data: unlabelled batches (see `onefold.batches`); a few thousand examples, which the network
            should not have been trained on. Labels are not read.
        width: the share of each group's units that stays, between 0 and 1.
        budget: what the result may cost, such as "0.5x" of the multiply-adds, "0.5x parameters" or
            "2e6 bytes"; groups then lose unlike shares. Give this or `width`.
        method: least squares with other settings of rows and ridge; its width and budget are those
            given here.
        polish: passes of distillation from `model` over `data` at the end, or `onefold.Polish`.
        output: which output counts if the network returns several (`onefold.inference`).
        task: what the network is asked, as in `onefold.evaluate`; only polish needs it.
        seed: of everything random.

    Returns:
        The network and its report. `onefold.save(result.model, file)` keeps the widths, and
        `onefold.load_resized(factory, file)` reads them.

    Raises:
        SettingError: no width or budget, both, or one that cannot be met.
        WidthsError: no group of the network can be narrowed.
        TraceError: the network cannot be traced.
        DataError: the data does not serve, or the network gives values that are not finite.
    """
    settings = _settings(method, width, budget)
    polishing = as_polish(polish)
    data = check_reiterable(data, "calibration data")
    meant = as_output(output)
    seconds: dict[str, float] = {}
    with timed(seconds, "trace"):
        traced = trace_on(model, data)
        spec = solve(traced)
    with timed(seconds, "prune"):
        state = model.state_dict()
        job = MergeJob(
            models=[model],
            states=[state],
            shares=(1.0,),
            reference=0,
            alignment=None,
            spec=spec,
            traced=traced,
            data=data,
            validation=None,
            seed=seed,
            kept=unaveraged(model, [model], [state], 0).kept,
            output=meant,
            network=model,
        )
        folded = settings.fold(job)
        if not folded.details["units"]:
            raise WidthsError(
                f"No group of {type(model).__name__} can be narrowed: no layer that least squares"
                " refits reads units that can be taken out alone; print"
                " onefold.find_symmetries(model, batch) for what may move."
            )
        network: M = made_of(folded, model)  # type: ignore[assignment]
    details = folded.details
    report = PruneReport(
        {name: (spec.group(name).size, sum(own)) for name, own in details["units"].items()},
        details["costs"],
        details["factors"],
        details["examples"],
        details["layers"],
        details["averaged"],
        seconds=seconds,
        settings={"width": width, "budget": budget, "rows": settings.rows, "seed": seed},
        warnings=list(folded.warnings),
    )
    if polishing is not None:
        asked = as_scoring(task, (), None).task
        with timed(seconds, "polish"):
            done = distil(network, [model], data, polishing, task=asked, seed=seed, output=meant)
        network, report.polished = done.model, done.to_dict()
        report.warnings += done.notes
    return PruneResult(network, report)


def _settings(method: LeastSquares | None, width: float | None, budget: str | None) -> LeastSquares:
    """Least squares of that width or budget."""
    if width is None and budget is None:
        raise SettingError(
            "Pruning needs to know how much is to stay; give width=0.5 (half of every group's"
            " units) or budget='0.5x' (half of the multiply-adds)."
        )
    if width is not None and width > 1:
        raise SettingError(
            f"The width is {width:g}, but one network has no more units than its own; give a share"
            " of at most 1, such as 0.5."
        )
    own = method or LeastSquares()
    if own.ensemble not in (None, "logits"):
        raise SettingError(
            f"Pruning aims at the network's own output and has no ensemble; leave out"
            f" {own.ensemble!r}."
        )
    return dataclasses.replace(own, target="pruning", ensemble="logits", width=width, budget=budget)
