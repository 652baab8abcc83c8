"""The report of a merge, with scores of everything that it must be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from torch import nn

from onefold.alignment import Alignment
from onefold.batches import Data
from onefold.batchnorm import norms_of
from onefold.ensemble import ClassPool
from onefold.fold import MergeReport, MergeResult, merge
from onefold.inference import ANY, Output
from onefold.measure import LinearPath, barrier, evaluate
from onefold.recipe import scores
from onefold.recipe.merge.document import Recipe, SavedAlignment
from onefold.recipe.scores import (
    best_of,
    candidate,
    described,
    member_candidates,
    parameters_of,
    together,
    written,
)
from onefold.report import (
    Candidate,
    Column,
    Report,
    Section,
    Table,
    barrier_curves,
    correlation_spectra,
    group_lanes,
    verdict,
)
from onefold.report.symmetry_picture import lanes_of
from onefold.sources.class_names import class_map, class_names_of
from onefold.symmetry import SymmetrySpec

FOLD = "folded"


@dataclass(frozen=True)
class Scored(scores.Scored):
    """The scores of a merge.

    Attributes:
        paths: barriers between the first two members, by name.
    """

    paths: Mapping[str, LinearPath] = field(default_factory=dict)


def pooled_candidates(
    models: Sequence[nn.Module], done: MergeReport, data: Data, best: int, output: Output = ANY
) -> list[Candidate]:
    """Rows for the pool of classes that was aimed at, if one was: all members, and the best alone.

    The best member is shifted to the same classes by itself.
    """
    found = done.folded.get("classes") or done.polished.get("classes")
    if found is None:
        return []
    pool, size, count = ClassPool.from_dict(found), parameters_of(models[0]), len(models)
    how = "is estimated to have seen" if pool.estimated else "saw"
    note = f"each member weighed on a class by how much it {how} of it"
    scored = evaluate(models, data, ensemble=pool, output=output)
    alone = evaluate([models[best]], data, ensemble=pool.only(best), output=output)
    shifted = "its answers shifted to the classes of the data"
    return [
        together(f"ensemble of {count}, by class", scored, size, count, note),
        Candidate(f"member {best}, balanced", alone, size, 1.0, shifted),
    ]


def mapped_candidates(
    models: Sequence[nn.Module], alignment: Alignment, data: Data, output: Output = ANY
) -> list[Candidate]:
    """A row for each mapped member alone, which shows what its map costs.

    Permutations cost nothing, dense maps do.
    """
    note = f"to member {alignment.reference}, alone"
    return [
        candidate(f"member {k}, mapped", model, data, note, output=output)
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
    """The barrier between the first two members, before alignment and after each.

    Batch-norm statistics are re-estimated if there are any.
    """

    def line(first: nn.Module, second: nn.Module) -> LinearPath:
        again: dict[str, Any] = {"recalibrate": "batchnorm", "calibration_data": calibration}
        settings = again if calibration is not None and norms_of(first) else {}
        return barrier(first, second, data, output=output, **settings)

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
    """Score members, ensemble, plain average, mapped members and the fold.

    With `calibration` data also the barrier of the first two members.
    """
    members, ensemble = member_candidates(models, data, output)
    weights = result.report.weights
    plain = merge(models, align="none", fold="average", repair="none", weights=weights).model
    average = candidate("plain average", plain, data, "not aligned, not repaired", output=output)
    fold = _folded(result, len(models), data, output)
    mapped = mapped_candidates(models, result.alignment, data, output) if result.alignment else []
    best = best_of(members)
    rivals = [
        best._replace(name=f"the best member ({best.name})"),
        ensemble._replace(name="the ensemble"),
        average._replace(name="the plain average"),
    ]
    pooled = pooled_candidates(models, result.report, data, members.index(best), output)
    names = ("the ensemble by class", "the best member, balanced")
    rivals += [row._replace(name=name) for row, name in zip(pooled, names, strict=False)]
    alignments = [result.alignment] if result.alignment else []
    return Scored(
        (*members, ensemble, *pooled, average, *mapped, fold),
        verdict(fold._replace(name="The fold"), rivals),
        FOLD,
        class_map(class_names_of(data)),
        barriers(models, alignments, data, calibration, output) if calibration is not None else {},
    )


def _folded(result: MergeResult[nn.Module], count: int, data: Data, output: Output) -> Candidate:
    done, cost = result.report, 1.0
    note = f"align {done.align}, fold {done.fold}, repair {done.repair}"
    if partial := done.folded.get("partial"):
        note, costs = f"{note}, up to '{partial['until']}'", partial["costs"]
        one = costs["one"]["multiply_adds"]
        cost = costs["partial"]["multiply_adds"] / one if one else float(count)
    return candidate(FOLD, result.model, data, note, output=output, cost=cost)


def summarize(recipe: Recipe, result: MergeResult[nn.Module], scored: Scored | None) -> Report:
    """The report of a merge, for people (`to_html`) and for machines (`to_json`)."""
    done = result.report
    report = Report(
        title=f"{done.members} networks folded into one",
        summary=scored.verdict if scored else "The fold was not scored.",
    )
    if scored is not None:
        section = scored.told(report)
        if scored.paths:
            add_barriers(section, scored.paths)
    section = report.section("What was done").facts(_facts(recipe, done, scored))
    for warning in done.warnings:
        section.text(f"Note: {warning}.")
    if found := done.folded.get("classes") or done.polished.get("classes"):
        pool = ClassPool.from_dict(found)
        add_shares(report.section("What the members saw of the classes"), pool)
    if layers := done.folded.get("layers"):
        add_layers(report.section("Least squares"), layers, done.folded.get("averaged", {}))
    if result.alignment is not None:
        add_alignment(report.section("Alignment"), result.alignment)
        add_groups(report.section("What moves together"), result.alignment.spec)
    report.data = {
        "recipe": recipe.model_dump(mode="json"),
        "merge": done.to_dict(),
        "scores": scored.data() if scored else {},
        "barriers": {name: path.to_dict() for name, path in scored.paths.items()} if scored else {},
        "spectra": spectra(result.alignment) if result.alignment else {},
    }
    return report


def _facts(recipe: Recipe, done: MergeReport, scored: Scored | None) -> dict[str, Any]:
    """The members, the settings of every step, the examples it read, and the time it took."""
    saved = recipe.align.file.path if isinstance(recipe.align, SavedAlignment) else None
    shares = recipe.ensemble.shares if recipe.ensemble else None
    partial, polished = done.folded.get("partial"), done.polished
    facts: dict[str, Any] = {"architecture": recipe.model}
    facts |= scores.files_facts("member", recipe.members)
    facts |= {"calibration data": described(recipe.data), "calibration examples": done.examples}
    facts |= {f"examples for {step}": count for step, count in done.used.items()}
    facts |= scores.scored_facts(recipe, scored) | {"align": done.align}
    facts |= {"file of the alignment": saved} if saved else {}
    common = done.reference is None
    facts["reference"] = "a common basis" if common else f"member {done.reference}"
    facts["fold"] = done.fold
    facts |= {"fold that was chosen": done.folded["choice"]} if "choice" in done.folded else {}
    if partial:
        facts["merged up to"] = partial["until"]
        facts["merged share of the layers (%)"] = 100 * partial["share"]
    facts |= {"repair": done.repair, "polish (passes)": polished.get("passes", 0)}
    told = ("ensemble", "lr", "batchnorm", "steps") if polished else ()
    facts |= {f"polish: {name}": written(polished[name]) for name in told}
    for step in ("align", "fold"):
        settings = done.settings.get(step) or {}
        facts |= {f"{step}: {name}": written(value) for name, value in settings.items()}
    facts |= {"shares of the classes asked about": written(shares)} if shares else {}
    facts |= {
        "members' shares": ", ".join(f"{weight:.3g}" for weight in done.weights),
        "parameters of a member": done.parameters,
        "parameters in a live group (%)": 100 * done.coverage,
        "feature spaces between layers that can move": f"{done.moving_spaces} of {done.spaces}",
        "moments kept (numbers of 8 bytes)": done.numbers,
    }
    facts |= {f"time to {phase} (s)": seconds for phase, seconds in done.seconds.items()}
    facts |= scores.ending_facts(recipe) | {"seed": done.settings.get("seed", recipe.seed)}
    return facts | {"processes": recipe.devices}


def add_shares(section: Section, pool: ClassPool) -> None:
    """How much each member saw of each class, the errors of that, and doubts about members."""
    kinds = {"member": pool.seen}
    if pool.errors is not None:
        kinds["standard error of member"] = pool.errors
    columns = [Column(name="class")]
    rows: list[list[float]] = [[number] for number in range(pool.seen.shape[1])]
    for title, values in kinds.items():
        columns += [Column(name=f"{title} {k}", digits=3) for k in range(len(values))]
        rows = [row + more for row, more in zip(rows, values.T.tolist(), strict=True)]
    estimated = f"Estimated from predictions on {pool.examples} examples, not counted"
    origin = estimated if pool.estimated else "Counted"
    section.table(columns, rows, caption=f"{origin}; shares of what a member was trained on")
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
    """Group -> correlations, best first, averaged over the mapped members.

    Groups that stayed in place are left out.
    """
    others = [k for k in range(alignment.members) if k != alignment.reference]
    return {
        group: [
            float(value) for value in scores[others].sort(dim=1, descending=True).values.mean(0)
        ]
        for group, scores in alignment.scores.items()
        if alignment.matchers[group] != "identity"
    }
