"""Was the merge worth it: scores of everything it must be compared with, and the report of it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from torch import nn

from onefold.alignment import Alignment
from onefold.batches import Data
from onefold.batchnorm import norms_of
from onefold.ensemble import ClassPool
from onefold.fold import MergeReport, MergeResult, merge
from onefold.inference import ANY, Output
from onefold.measure import LinearPath, barrier, evaluate, evaluate_all
from onefold.recipe.document import DataPart
from onefold.recipe.merge.document import Recipe
from onefold.report import (
    Candidate,
    Column,
    Report,
    Section,
    Table,
    barrier_curves,
    comparison_table,
    correlation_spectra,
    group_lanes,
    verdict,
)
from onefold.report.symmetry_picture import lanes_of
from onefold.sources.class_names import class_map, class_names_of
from onefold.symmetry import SymmetrySpec

FOLD = "folded"
CAPTION = "In bold: the most accurate. Differences are taken example by example."


@dataclass(frozen=True)
class Scored:
    """Everything that was scored on the same data: rows of a table, the fold among them, barriers
    by name, and the classes by number.
    """

    candidates: tuple[Candidate, ...]
    fold: Candidate
    verdict: str
    paths: Mapping[str, LinearPath] = field(default_factory=dict)
    classes: str = ""

    @property
    def table(self) -> Table:
        """All candidates, the best in bold, held against the fold."""
        return comparison_table(self.candidates, against=self.fold.name, caption=CAPTION)


def parameters_of(model: nn.Module) -> int:
    """Number of elements of all parameters."""
    return sum(p.numel() for p in model.parameters())


def member_candidates(
    models: Sequence[nn.Module], data: Data, output: Output = ANY
) -> tuple[list[Candidate], Candidate]:
    """A row for each member, and one for their ensemble, which costs as much as all of them."""
    scores, size, count = (
        evaluate_all(models, data, output=output),
        parameters_of(models[0]),
        len(models),
    )
    members = [Candidate(f"member {k}", each, size, 1.0) for k, each in enumerate(scores.members)]
    return members, Candidate(
        f"ensemble of {count}", scores.ensemble, count * size, float(count), "mean of probabilities"
    )


def pooled_candidates(
    models: Sequence[nn.Module], done: MergeReport, data: Data, best: int, output: Output = ANY
) -> list[Candidate]:
    """Where a pool of classes was aimed at: a row for the pool itself, and one for the best member,
    shifted to the same classes by itself.
    """
    found = done.folded.get("classes") or done.polished.get("classes")
    if found is None:
        return []
    pool, size, count = ClassPool.from_dict(found), parameters_of(models[0]), len(models)
    note = (
        "each member heard on a class by what it"
        f" {'is estimated to have seen' if pool.estimated else 'saw'} of it"
    )
    together = Candidate(
        f"ensemble of {count}, by class",
        evaluate(models, data, ensemble=pool, output=output),
        count * size,
        float(count),
        note,
    )
    alone = evaluate([models[best]], data, ensemble=pool.only(best), output=output)
    return [
        together,
        Candidate(
            f"member {best}, balanced",
            alone,
            size,
            1.0,
            "its answers shifted to the classes of the data",
        ),
    ]


def mapped_candidates(
    models: Sequence[nn.Module], alignment: Alignment, data: Data, output: Output = ANY
) -> list[Candidate]:
    """A row for each mapped member alone, which shows what its map costs.

    Permutations cost nothing, dense maps do.
    """
    return [
        Candidate(
            f"member {k}, mapped",
            evaluate(model, data, output=output),
            parameters_of(model),
            1.0,
            f"to member {alignment.reference}, alone",
        )
        for k, model in enumerate(alignment.each(models))
        if k != alignment.reference
    ]


def barriers(
    models: Sequence[nn.Module],
    alignments: Sequence[Alignment],
    data: Data,
    calibration: Data | None,
    output: Output = ANY,
) -> dict[str, LinearPath]:
    """The barrier between the first two members, before alignment and after each, with batch-norm
    statistics re-estimated where there are any.
    """

    def line(first: nn.Module, second: nn.Module) -> LinearPath:
        if calibration is None or not norms_of(first):
            return barrier(first, second, data, output=output)
        return barrier(
            first,
            second,
            data,
            recalibrate="batchnorm",
            calibration_data=calibration,
            output=output,
        )

    paths = {"as trained": line(models[0], models[1])}
    for alignment in alignments:
        paths[f"aligned by {alignment.method}"] = line(*islice(alignment.each(models), 2))
    return paths


def score(
    models: Sequence[nn.Module],
    result: MergeResult[nn.Module],
    data: Data,
    calibration: Data | None,
    output: Output = ANY,
) -> Scored:
    """Score members, ensemble, plain average, mapped members and the fold; with `calibration` data
    also the barrier of the first two members.
    """
    members, ensemble = member_candidates(models, data, output)
    plain = merge(
        models, align="none", fold="average", repair="none", weights=result.report.weights
    ).model
    average = Candidate(
        "plain average",
        evaluate(plain, data, output=output),
        parameters_of(plain),
        1.0,
        "not aligned, not repaired",
    )
    done, cost = (
        f"align {result.report.align}, fold {result.report.fold}, repair {result.report.repair}",
        1.0,
    )
    if partial := result.report.folded.get("partial"):
        done, costs = f"{done}, up to '{partial['until']}'", partial["costs"]
        cost = (
            costs["partial"]["multiply_adds"] / costs["one"]["multiply_adds"]
            if costs["one"]["multiply_adds"]
            else float(len(models))
        )
    fold = Candidate(
        FOLD, evaluate(result.model, data, output=output), parameters_of(result.model), cost, done
    )
    mapped = mapped_candidates(models, result.alignment, data, output) if result.alignment else []
    best = max(members, key=lambda row: (row.scores.accuracy, -row.scores.nll))
    baselines = [
        best._replace(name=f"the best member ({best.name})"),
        ensemble._replace(name="the ensemble"),
        average._replace(name="the plain average"),
    ]
    pooled = pooled_candidates(models, result.report, data, members.index(best), output)
    if pooled:
        together, alone = pooled
        baselines += [
            together._replace(name="the ensemble by class"),
            alone._replace(name="the best member, balanced"),
        ]
    sentence = verdict(fold._replace(name="The fold"), baselines)
    paths = (
        barriers(models, [result.alignment] if result.alignment else [], data, calibration, output)
        if calibration is not None
        else {}
    )
    return Scored(
        (*members, ensemble, *pooled, average, *mapped, fold),
        fold,
        sentence,
        paths,
        class_map(class_names_of(data)),
    )


def summarise(recipe: Recipe, result: MergeResult[nn.Module], scored: Scored | None) -> Report:
    """The report of a merge, for people (`to_html`) and for machines (`to_json`)."""
    done = result.report
    report = Report(
        title=f"{done.members} networks folded into one",
        summary=scored.verdict if scored else "The fold was not scored.",
    )
    if scored is not None:
        section = report.section("Was it worth it").table(scored.table).text(scored.verdict)
        if scored.classes:
            section.text(f"Classes: {scored.classes}.")
        if scored.paths:
            add_barriers(section, scored.paths)
    add_merge(report.section("What was done"), recipe, done, scored.fold.scores.n if scored else 0)
    if found := done.folded.get("classes") or done.polished.get("classes"):
        add_shares(
            report.section("What the members saw of the classes"), ClassPool.from_dict(found)
        )
    if layers := done.folded.get("layers"):
        add_layers(report.section("Least squares"), layers, done.folded.get("averaged", {}))
    if result.alignment is not None:
        add_alignment(report.section("Alignment"), result.alignment)
        add_groups(report.section("What moves together"), result.alignment.spec)
    report.data = {
        "recipe": recipe.model_dump(mode="json"),
        "merge": done.to_dict(),
        "scores": {row.name: row.scores.to_dict() for row in scored.candidates} if scored else {},
        "barriers": {name: path.to_dict() for name, path in scored.paths.items()} if scored else {},
        "spectra": spectra(result.alignment) if result.alignment else {},
    }
    return report


def add_merge(section: Section, recipe: Recipe, done: MergeReport, scored: int) -> None:
    """What was folded and how, with which settings and on how many examples, and how long it took.
    scored: examples of the scores.
    """
    polished = {
        f"polish: {name}": written(done.polished[name])
        for name in ("ensemble", "lr", "batchnorm", "steps")
        if done.polished
    }
    partial = done.folded.get("partial")
    chosen = {"fold that was chosen": done.folded["choice"]} if "choice" in done.folded else {}
    settings = {step: own for step in ("align", "fold") if (own := done.settings.get(step))}
    section.facts(
        {
            "architecture": recipe.model,
            **{
                f"member {k}": f"{member.path}, SHA-256 {(member.sha256 or 'unknown')[:12]}…"
                for k, member in enumerate(recipe.members)
            },
            "calibration data": described(recipe.data),
            "calibration examples": done.examples,
            **{f"examples for {step}": count for step, count in done.used.items()},
            "evaluation data": described(recipe.evaluation if scored else None),
            "evaluation examples": scored,
            "align": done.align,
            **({"file of the alignment": recipe.align.file.path} if recipe.align.file else {}),
            "reference": "a common basis" if done.reference is None else f"member {done.reference}",
            "fold": done.fold,
            **chosen,
            **(
                {
                    "merged up to": partial["until"],
                    "merged share of the layers (%)": 100 * partial["share"],
                }
                if partial
                else {}
            ),
            "repair": done.repair,
            "polish (passes)": done.polished.get("passes", 0),
            **polished,
            **{
                f"{step}: {name}": written(value)
                for step, own in settings.items()
                for name, value in own.items()
            },
            **(
                {"shares of the classes asked about": written(recipe.fold.class_shares)}
                if recipe.fold.class_shares
                else {}
            ),
            "members' shares": ", ".join(f"{w:.3g}" for w in done.weights),
            "parameters of a member": done.parameters,
            "parameters in a live group (%)": 100 * done.coverage,
            "feature spaces between layers that can move": f"{done.moving_spaces} of {done.spaces}",
            "moments kept (numbers of 8 bytes)": done.numbers,
            **{f"time to {phase} (s)": seconds for phase, seconds in done.seconds.items()},
            "seed": done.settings.get("seed", recipe.seed),
            "device": recipe.device,
            "processes": recipe.devices,
            "threads": recipe.record.threads if recipe.record else None,
        }
    )
    for warning in done.warnings:
        section.text(f"Note: {warning}.")


def described(part: DataPart | None) -> str:
    """A data source and which part of it was named."""
    if part is None:
        return "none"
    return (
        f"{part.source}, {part.split}"
        f" split{f' after the first {part.skip:,}' if part.skip else ''}, in batches of"
        f" {part.batch_size}"
    )


def add_shares(section: Section, pool: ClassPool) -> None:
    """What each member saw of each class, how sure that is, and of which members it cannot be told."""
    columns = [
        Column(name="class"),
        *(Column(name=f"member {k}", digits=3) for k in range(len(pool.seen))),
    ]
    if pool.errors is not None:
        columns += [
            Column(name=f"standard error of member {k}", digits=3) for k in range(len(pool.seen))
        ]
    table = (
        pool.seen.T.tolist()
        if pool.errors is None
        else [a + b for a, b in zip(pool.seen.T.tolist(), pool.errors.T.tolist(), strict=True)]
    )
    what = (
        f"Estimated from predictions on {pool.examples} examples, not counted"
        if pool.estimated
        else "Counted"
    )
    section.table(
        columns,
        [(c, *row) for c, row in enumerate(table)],
        caption=f"{what}; shares of what a member was trained on",
    )
    if pool.estimated:
        section.text(
            "The estimates are right for members whose confidence means what it says. The errors"
            " are those of the draw of examples alone."
        )
    for doubt in pool.doubts:
        section.text(f"Note: {doubt}.")


def add_layers(
    section: Section, layers: Sequence[Mapping[str, float | str]], averaged: Mapping[str, str]
) -> None:
    """The layers that least squares solved, and the weights that it left as the aligned average."""
    columns = (
        Column(name="weights"),
        Column(name="rows", unit="number"),
        Column(name="ridge, relative", digits=4),
        Column(name="drawn to"),
        Column(name="target explained, held out", digits=3),
    )
    rows = [
        (one["weights"], one["rows"], one["ridge"], one["prior"], one["explained"])
        for one in layers
    ]
    section.table(
        Table(columns=columns, rows=tuple(rows)),
        caption="Layers solved by least squares, in the order of the graph",
    )
    if averaged:
        section.text(
            "These keep the aligned average:"
            f" {', '.join(f'{name} ({why})' for name, why in averaged.items())}."
        )


def add_alignment(section: Section, alignment: Alignment) -> None:
    """The table of groups, and the spectra of their correlations."""
    section.table(
        alignment_table(alignment), caption="Groups of features that were mapped together"
    )
    if values := spectra(alignment):
        dense = any(m.kind == "dense" for maps in alignment.maps.values() for m in maps)
        kind = "canonical correlations" if dense else "correlations of matched features"
        section.picture(
            lambda: correlation_spectra(values),
            f"The {kind}, averaged over the mapped members: how much of each group the members"
            " share.",
            f"One spectrum for each of {len(values)} groups, sorted downwards from 1.",
        )


def add_groups(section: Section, spec: SymmetrySpec) -> None:
    """The picture of all groups along the network."""
    lanes = lanes_of(spec)
    section.picture(
        lambda: group_lanes(lanes),
        "The groups of features along the network, its tensors in the order of their use. The map"
        " of a group acts on all tensors that have a mark in its row at once, and the network"
        " computes what it did.",
        f"{len(spec.groups)} groups cover {100 * spec.coverage:.1f} % of {spec.parameters:,}"
        f" parameters, and {sum(bool(s.groups) for s in spec.spaces)} of {len(spec.spaces)} feature"
        " spaces between layers can move; the longest stands on"
        f" {max((len(group.slots) for group in spec.groups), default=0)} axes.",
    )


def alignment_table(alignment: Alignment) -> Table:
    """`Alignment.table` with names and units; notes only where there are any."""
    columns = [
        Column(name="group"),
        Column(name="features", unit="number"),
        Column(name="matcher"),
        Column(name="read at"),
        Column(name="mean correlation", digits=3),
        Column(name="least correlation", digits=3),
        Column(name="condition number", digits=1),
        Column(name="note"),
    ]
    rows = [tuple(row.values()) for row in alignment.table()]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table(columns=tuple(columns), rows=tuple(rows))


def add_barriers(section: Section, paths: Mapping[str, LinearPath]) -> None:
    """Barrier curves between the first two members."""
    again = (
        ", batch-norm statistics re-estimated at every point"
        if next(iter(paths.values())).recalibrated
        else ""
    )
    section.picture(
        lambda: barrier_curves(paths),
        f"The straight line between the weights of member 0 and member 1{again}. A barrier is where"
        " it is worse than its ends.",
        "; ".join(f"{name}: {str(path).splitlines()[0]}" for name, path in paths.items()),
    )


def spectra(alignment: Alignment) -> dict[str, list[float]]:
    """Group -> correlations, best first, averaged over the mapped members; groups that stayed in
    place are left out.
    """
    others = [k for k in range(alignment.members) if k != alignment.reference]
    return {
        group: [
            float(value) for value in scores[others].sort(dim=1, descending=True).values.mean(0)
        ]
        for group, scores in alignment.scores.items()
        if alignment.matchers[group] != "identity"
    }


def written(value: object) -> str | int | float | bool | None:
    """A setting as a report's fact."""
    return (
        value if isinstance(value, str | int | float | bool | None) else ", ".join(map(str, value))  # type: ignore[call-overload]
    )
