"""The report of persistent rounds, with scores of every network and a comparison of the rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from onefold.batches import Data
from onefold.errors import MembersError
from onefold.explore.pairs import Compared, Pairs, compare_networks
from onefold.explore.persistent_training import RERUN, RESTART, ROUND
from onefold.explore.training import warm_up_of
from onefold.measure import evaluate
from onefold.recipe import scores
from onefold.recipe.persist.document import PersistRecipe
from onefold.recipe.scores import candidate, described, parameters_of, settings_facts, together
from onefold.report import Candidate, Report, Section, Table, barrier_curves, heat_map, verdict
from onefold.report.blocks import Column
from onefold.sources.loader import Part

COMPARED = 2000  # examples that rounds are compared on, and training examples to align them by
POINTS = 7  # along the line between two rounds
CURVES = 6  # that one picture shows


@dataclass(frozen=True)
class PersistScored(scores.Scored):
    """The scores of persistent rounds.

    Attributes:
        on: the name of the data that was scored on.
        compared: the rounds compared; None: there is one only, or `note` says why not.
        note: why the rounds could not be compared.
    """

    on: str = ""
    compared: Compared | None = None
    note: str = ""


def score(
    networks: Mapping[str, nn.Module],
    validation: Mapping[str, float],
    best: str,
    training: Data,
    held_out: Data,
    evaluation: Data | None,
) -> PersistScored:
    """Score all networks and the ensembles of each kind, and compare the rounds.

    Without evaluation data the held-out data is scored on: it has chosen the best round, so it
    flatters that round's accuracy.

    Args:
        networks: all networks by name.
        validation: accuracy by name, which decided which round is best.
        best: the name of the best round.
        training: the training data.
        held_out: the data that the best round was chosen on.
        evaluation: labelled data to score on; None: the held-out data.
    """
    data = held_out if evaluation is None else evaluation
    rows = {
        name: candidate(name, network, data, f"validation accuracy {100 * validation[name]:.2f} %")
        for name, network in networks.items()
    }
    kinds = {kind: [n for n in networks if n.startswith(kind)] for kind in (ROUND, RESTART, RERUN)}
    ensembles: list[Candidate] = []
    rivals: list[Candidate] = []
    if best != f"{ROUND} 0":
        rivals.append(rows[f"{ROUND} 0"]._replace(name=f"{ROUND} 0, which nothing repelled"))
    for kind, members in kinds.items():
        names = [f"{ROUND} 0", *members] if members and kind != ROUND else members
        if len(names) > 1:
            scored = evaluate([networks[name] for name in names], data)
            size = parameters_of(networks[names[0]])
            title = f"ensemble of {len(names)} {kind}s"
            ensembles.append(together(title, scored, size, len(names)))
        if kind != ROUND and names:
            first = max(names, key=validation.__getitem__)
            name = f"the best {kind} by validation ({first})"
            rivals += [rows[first]._replace(name=name)] * (first != best)
    chosen = rows[best]._replace(name=f"The best of the rounds by validation ({best})")
    sentence = verdict(chosen, rivals) if rivals else alone(best, validation)
    on = "validation data" if evaluation is None else "evaluation data"
    compared, note = _compared([networks[name] for name in kinds[ROUND]], data, training)
    found = (*rows.values(), *ensembles)
    return PersistScored(found, sentence, best, on=on, compared=compared, note=note)


def _compared(
    rounds: Sequence[nn.Module], data: Data, training: Data
) -> tuple[Compared | None, str]:
    """The rounds compared, or why they cannot be: one may have no finite loss."""
    if len(rounds) < 2:
        return None, ""
    calibration = Part(training, 0, COMPARED)
    try:
        found = compare_networks(
            rounds, Part(data, 0, COMPARED), calibration_data=calibration, points=POINTS
        )
    except MembersError as error:
        return None, f"The rounds could not be compared: {error}"
    return found, ""


def alone(best: str, validation: Mapping[str, float]) -> str:
    """The sentence if the round that validation chose has nothing to be compared with.

    Args:
        best: the name of the round that was chosen.
        validation: accuracy by name.
    """
    rounds = [name for name in validation if name.startswith(ROUND)]
    if len(rounds) == 1:
        return f"{best.capitalize()} is the only round, so there is nothing to compare it with."
    return (
        f"No other round was more accurate than {best} on the validation data, by which it was"
        " chosen."
    )


def summarize(
    recipe: PersistRecipe,
    scored: PersistScored,
    found: Mapping[str, Mapping[str, Any]],
    sums: Mapping[str, str],
    examples: Mapping[str, int],
) -> Report:
    """The report of persistent rounds, for people (`to_html`) and for machines (`to_json`).

    Args:
        recipe: as it was written.
        scored: the scores.
        found: the runs by name.
        sums: file -> SHA-256.
        examples: how many were trained on ("training"), chose the best round ("validation"), and
            predictions are compared on ("reference", 0 if none are).
    """
    count = recipe.rounds.number
    report = Report(title=f"{count} persistent rounds", summary=scored.verdict)
    worth = scored.told(report).text(f"All were scored on the {scored.on}.")
    if recipe.evaluation is None:
        worth.text(
            "No evaluation data was named. The validation data decided which round is the best, and"
            " flatters it."
        )
    if recipe.rounds.baselines:
        worth.text(
            "Restarts begin from other initialisations, reruns see the data in another order; each"
            " took as many steps as a round."
        )
    else:
        worth.text(
            "Whether as many restarts from other initialisations, or reruns without repulsion,"
            " would do as well was not measured here; give --baselines for that, and --control for"
            " rounds repelled from random points instead."
        )
    if scored.compared is not None:
        _compare(report.section("Are the rounds different networks"), scored.compared, count)
    elif scored.note:
        worth.text(scored.note)
    facts = _facts(recipe, scored, found, sums, examples)
    report.section("What was done").facts(facts)
    report.data = {
        "recipe": recipe.model_dump(mode="json"),
        "best": scored.against,
        "scored on": scored.on,
        "validation": {name: run["score"] for name, run in found.items()},
        "losses": {name: list(run["losses"]) for name, run in found.items()},
        "files": dict(sums),
        "scores": scored.data(),
        "compared": scored.compared.to_dict() if scored.compared else None,
    }
    return report


def _facts(
    recipe: PersistRecipe,
    scored: PersistScored,
    found: Mapping[str, Mapping[str, Any]],
    sums: Mapping[str, str],
    examples: Mapping[str, int],
) -> dict[str, Any]:
    share = f"a share of {recipe.held_out:g} of the training data"
    facts: dict[str, Any] = {
        "architecture": recipe.model,
        "training data": described(recipe.data),
        "training examples": examples["training"],
        "validation data": described(recipe.validation) if recipe.validation else share,
        "validation examples": examples["validation"],
        "evaluation data": described(recipe.evaluation),
        "scored on": scored.on,
        "scored examples": scored.examples,
        "examples in a step": recipe.data.batch_size,
    }
    facts |= settings_facts(recipe.rounds.model_dump(exclude={"reference"}))
    facts["examples that predictions are compared on"] = examples["reference"]
    facts |= settings_facts(recipe.training.model_dump())
    facts["warm up"] = warm_up_of(recipe.training.epochs, recipe.training.warm_up)
    facts |= {
        f"mean loss of {name}, last epoch (nats)": run["losses"][-1] for name, run in found.items()
    }
    facts |= {f"SHA-256 of {file}": scores.short(digest) for file, digest in sums.items()}
    return facts | scores.ending_facts(recipe)


def _compare(section: Section, compared: Compared, count: int) -> None:
    """Distances, disagreement and barriers of the rounds, as they are and aligned."""
    names = [f"{ROUND} {k}" for k in range(count)]
    ways = {"as they are": compared.plain} | (
        {"aligned": compared.aligned} if compared.aligned is not None else {}
    )
    columns = (
        Column(name="rounds"),
        Column(name="mean distance", unit="Euclidean", digits=3),
        Column(name="mean disagreement", unit="%", digits=2),
        Column(name="mean barrier", unit="nats", digits=4),
    )
    means = {way: pairs.means() for way, pairs in ways.items()}
    rows = tuple(
        (way, mean["distance"], 100 * mean["disagreement"], mean["barrier"])
        for way, mean in means.items()
    )
    section.table(Table(columns=columns, rows=rows))
    section.text(
        f"Their weights have a mean length of {compared.norms.mean():.3g}. A distance and a barrier"
        " that alignment takes away belong to renumbered hidden units: the rounds would be one"
        " function. What is left is a difference of the functions, or a rescaling. Where a"
        " distance is larger after alignment, the rounds may have kept the order of units that"
        " they began with."
    )
    if compared.note:
        section.text(compared.note)
    if all(path.recalibrated for path in compared.plain.paths.values()):
        section.text(
            "Normalisation statistics were computed anew at every point of a line, on at most"
            f" {COMPARED:,} training examples."
        )
    for way, pairs in ways.items():
        _draw(section, way, pairs, names)


def _draw(section: Section, way: str, pairs: Pairs, names: Sequence[str]) -> None:
    matrices = {"distance (Euclidean)": pairs.distances, "barrier (nats)": pairs.barriers}
    if way == "as they are":  # a permutation keeps every prediction
        matrices["disagreement (%)"] = 100 * pairs.disagreement
    for label, matrix in matrices.items():
        section.picture(
            partial(heat_map, matrix.tolist(), names, names, label=label, low=0.0),
            f"{label[0].upper() + label[1:]} of every two rounds, {way}.",
            f"A heat map of {label}, from {float(matrix.min()):.3g} to {float(matrix.max()):.3g}.",
        )
    shown = list(pairs.paths.items())[:CURVES]
    left = f"; the first {CURVES} pairs" * (len(pairs.paths) > CURVES)
    section.picture(
        lambda: barrier_curves({f"{names[i]} to {names[j]}": path for (i, j), path in shown}),
        f"Accuracy and loss along the straight lines between rounds, {way}{left}; dashed, what the"
        " ends alone would lead one to expect.",
        "; ".join(
            f"{names[i]} to {names[j]}: {str(path).splitlines()[0]}" for (i, j), path in shown
        ),
    )
