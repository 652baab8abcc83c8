"""Was the soft merge worth it: scores of all that it must be compared with, its gates, and the
report of it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from onefold.batches import Data
from onefold.errors import OnefoldError
from onefold.fold import Mixture, SoftResult, merge
from onefold.inference import ANY, Output
from onefold.measure import evaluate
from onefold.recipe.merge.report import CAPTION, described, member_candidates, parameters_of
from onefold.recipe.soft.document import SoftRecipe
from onefold.report import Candidate, Column, Report, Table, comparison_table, heat_map, verdict
from onefold.sources.class_names import class_map, class_names_of

RESULT = "soft merge"


@dataclass(frozen=True)
class SoftScored:
    """Everything that was scored on the same data: rows of a table, the result among them. notes:
    what could not be had. classes: by number.
    """

    candidates: tuple[Candidate, ...]
    verdict: str
    notes: tuple[str, ...] = ()
    classes: str = ""

    @property
    def table(self) -> Table:
        """All candidates, the best in bold, held against the result."""
        return comparison_table(self.candidates, against=RESULT, caption=CAPTION)


def score(
    models: Sequence[nn.Module], result: SoftResult, data: Data, output: Output = ANY
) -> SoftScored:
    """Score members, ensembles, plain average and the result.

    A member of non-finite outputs counts as wrong everywhere.

    Where members were screened out, the result is held against the ensemble and the average of
    those that are left: to beat an ensemble that a broken member has spoilt proves nothing.
    """
    members, ensemble = member_candidates(models, data, output)
    baselines, notes, left = [], [], [models[k] for k in result.soft.survivors]
    rival = ensemble._replace(name="the ensemble")
    if 1 < len(left) < len(models):
        fit = ensemble._replace(
            name=f"ensemble of {len(left)}",
            scores=evaluate(left, data, output=output),
            parameters=sum(map(parameters_of, left)),
        )
        baselines.append(
            fit._replace(
                cost=float(len(left)), note=f"{fit.note}, without members that were screened out"
            )
        )
        rival = fit._replace(name=f"the ensemble of the {len(left)} members left")
    rivals = [rival] if len(left) > 1 else []
    try:
        average = merge(left, align="none", repair="none").model
        note = "not aligned, not repaired" + ", without members that were screened out" * (
            len(left) < len(models)
        )
        baselines.append(
            Candidate(
                "plain average",
                evaluate(average, data, output=output),
                parameters_of(average),
                1.0,
                note,
            )
        )
        rivals.append(baselines[-1]._replace(name="the plain average"))
    except OnefoldError as error:
        notes.append(f"the plain average cannot be had: {str(error).rstrip('.')}")
    size = parameters_of(result.model)
    done = f"{result.soft.level} level, {result.choice}"
    own = Candidate(
        RESULT,
        evaluate(result.model, data, output=output),
        size,
        size / parameters_of(models[0]),
        done,
    )
    best = max(members, key=lambda row: (row.scores.accuracy, -row.scores.nll))
    sentence = verdict(
        own._replace(name="The soft merge"),
        [best._replace(name=f"the best member ({best.name})"), *rivals],
    )
    return SoftScored(
        (*members, ensemble, *baselines, own),
        sentence,
        tuple(notes),
        class_map(class_names_of(data)),
    )


def summarise(recipe: SoftRecipe, result: SoftResult, scored: SoftScored | None) -> Report:
    """The report of a soft merge, for people (`to_html`) and for machines (`to_json`)."""
    count = len(recipe.members)
    chosen = (
        f"Of {count} members, the {result.choice} network was chosen on held-out examples."
        if result.scores
        else "Nothing was held out."
    )
    report = Report(
        title=f"{count} networks behind learned gates", summary=scored.verdict if scored else chosen
    )
    if scored is not None:
        section = report.section("Was it worth it").table(scored.table).text(scored.verdict)
        if scored.classes:
            section.text(f"Classes: {scored.classes}.")
    if result.scores:
        report.section("What was chosen").table(choice_table(result)).text(
            f"{chosen} {result.decision}"
        )
    gates = report.section("Gates").table(result.gates.table())
    gates.picture(
        lambda: heat_map(
            result.gates.values.tolist(),
            result.gates.names,
            [f"member {k}" for k in range(count)],
            label="gate (0 to 1)",
            low=0,
            high=1,
        ),
        "How much of each part comes from which member.",
        "A heat map of the gates, parts in rows and members in columns.",
    )
    gates.facts({f"member {k}": what for k, what in result.gates.fates().items()})
    facts = report.section("What was done").facts(
        {
            "architecture": recipe.model,
            **{
                f"file of member {k}": f"{m.path}, SHA-256 {(m.sha256 or 'unknown')[:12]}…"
                for k, m in enumerate(recipe.members)
            },
            "labelled data": described(recipe.data),
            "held-out data": held_out_of(recipe, result),
            "examples learned from": result.examples.get("learned from", 0),
            "examples chosen on": result.examples.get("chosen on", 0),
            "evaluation data": described(recipe.evaluation if scored else None),
            "evaluation examples": scored.candidates[0].scores.n if scored else 0,
            **{
                name.replace("_", " "): _written(value)
                for name, value in recipe.soft.model_dump().items()
            },
            "align": aligned_by(result),
            "stochastic": result.soft.stochastic,
            "steps": len(result.losses),
            "reference": (
                f"member {result.soft.reference}" if result.soft.reference is not None else "none"
            ),
            "networks in the result": max(
                (len(m.parts) for m in result.model.modules() if isinstance(m, Mixture)), default=1
            ),
            **{f"time to {phase} (s)": seconds for phase, seconds in result.seconds.items()},
            "seed": recipe.seed,
        }
    )
    for note in (*result.notes, *(scored.notes if scored else ())):
        facts.text(f"Note: {note}.")
    report.data = {
        "recipe": recipe.model_dump(mode="json"),
        "soft": result.to_dict(),
        "scores": {row.name: row.scores.to_dict() for row in scored.candidates} if scored else {},
    }
    return report


def held_out_of(recipe: SoftRecipe, result: SoftResult) -> str:
    """Where the examples that the network was chosen on come from."""
    if not result.scores:
        return "none"
    return (
        described(recipe.held_out)
        if recipe.held_out
        else f"a share of {recipe.soft.share:g} of the labelled data"
    )


def aligned_by(result: SoftResult) -> str:
    """The alignment that the gates worked in, whatever was asked for."""
    basis = result.soft.basis
    if basis is None:
        return "nothing, as whole networks are gated"
    return basis.alignment.method if basis.alignment else "none"


def choice_table(result: SoftResult) -> Table:
    """The candidates on the held-out examples, and what decided; the chosen one in bold."""
    assert result.decision is not None
    done = result.decision
    columns = (
        Column(name="network"),
        Column(name="accuracy", unit="%", digits=2),
        Column(name="loss at best temperature", unit="nats", digits=4),
        Column(name=f"loss on all {done.labelled} labelled examples", unit="nats", digits=4),
        Column(name="candidate"),
        Column(name="within a standard error of the top"),
    )
    names = list(result.scores)
    rows = tuple(
        (
            name,
            100 * result.scores[name].accuracy,
            result.held_out_losses[name],
            done.members.get(name),
            name in done.candidates,
            name in done.close,
        )
        for name in names
    )
    caption = f"On {done.examples} held-out examples; in bold what was chosen"
    return Table(
        columns=columns, rows=rows, caption=caption, emphasis=(names.index(result.choice),)
    )


def _written(value: object) -> str | int | float | bool | None:
    return (
        value if isinstance(value, str | int | float | bool | None) else ", ".join(map(str, value))  # type: ignore[call-overload]
    )
