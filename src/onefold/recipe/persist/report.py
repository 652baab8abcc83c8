"""What came of persistent rounds: scores of every network, how alike the rounds are, and the report
of it all.
"""

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
from onefold.recipe.merge.report import CAPTION, described, parameters_of, written
from onefold.recipe.persist.document import PersistRecipe
from onefold.report import (
    Candidate,
    Report,
    Section,
    Table,
    barrier_curves,
    comparison_table,
    heat_map,
    verdict,
)
from onefold.report.blocks import Column
from onefold.sources.loader import Part

COMPARED = (
    2000  # examples on which rounds are compared, and as many training examples to align them by
)
POINTS = 7  # along the line between two rounds
CURVES = 6  # that one picture shows


@dataclass(frozen=True)
class PersistScored:
    """Everything that was scored on the same data: rows of a table, the best round's name, and the
    rounds compared.

    compared: None where there is one round only, or where `note` says why they could not be
    compared.
    """

    candidates: tuple[Candidate, ...]
    best: str
    verdict: str
    on: str
    compared: Compared | None
    note: str = ""

    @property
    def table(self) -> Table:
        """All candidates, the most accurate in bold, held against the round that the validation
        data chose.
        """
        return comparison_table(self.candidates, against=self.best, caption=CAPTION)


def score(
    networks: Mapping[str, nn.Module],
    validation: Mapping[str, float],
    best: str,
    training: Data,
    held_out: Data,
    evaluation: Data | None,
) -> PersistScored:
    """Score all networks and the ensembles of each kind, and compare the rounds. validation:
    accuracy by name, which decided what is best.

    Without evaluation data the held-out data is scored on: the best round's accuracy is flattered
    there, as the data has chosen it.
    """
    data, on = (
        (held_out, "validation data") if evaluation is None else (evaluation, "evaluation data")
    )
    size = parameters_of(next(iter(networks.values())))
    rows = {
        name: Candidate(
            name,
            evaluate(own, data),
            size,
            1.0,
            f"validation accuracy {100 * validation[name]:.2f} %",
        )
        for name, own in networks.items()
    }
    kinds = {
        kind: [name for name in networks if name.startswith(kind)]
        for kind in (ROUND, RESTART, RERUN)
    }
    for kind in (RESTART, RERUN):
        if kinds[kind]:
            kinds[kind].insert(0, f"{ROUND} 0")
    found = [rows[name] for name in networks]
    rivals = []
    for kind, names in kinds.items():
        if len(names) > 1:
            scores = evaluate([networks[name] for name in names], data)
            found.append(
                Candidate(
                    f"ensemble of {len(names)} {kind}s",
                    scores,
                    len(names) * size,
                    float(len(names)),
                    "mean of probabilities",
                )
            )
        if kind != ROUND and names:
            first = max(names, key=validation.__getitem__)
            rivals += [rows[first]._replace(name=f"the best {kind} by validation ({first})")] * (
                first != best
            )
    if best != f"{ROUND} 0":
        rivals.insert(0, rows[f"{ROUND} 0"]._replace(name=f"{ROUND} 0, which nothing repelled"))
    sentence = (
        verdict(rows[best]._replace(name=f"The best of the rounds by validation ({best})"), rivals)
        if rivals
        else alone(best, validation)
    )
    members = [networks[name] for name in kinds[ROUND]]
    compared, note = None, ""
    if len(members) > 1:
        try:
            compared = compare_networks(
                members,
                Part(data, 0, COMPARED),
                calibration_data=Part(training, 0, COMPARED),
                points=POINTS,
            )
        except (
            MembersError
        ) as error:  # a round of no finite loss, for which the others shall not be lost
            note = f"The rounds could not be compared: {error}"
    return PersistScored(tuple(found), best, sentence, on, compared, note)


def alone(best: str, validation: Mapping[str, float]) -> str:
    """The sentence where the round that validation chose has nothing to be held against.
    validation: accuracy by name.
    """
    rounds = [name for name in validation if name.startswith(ROUND)]
    if len(rounds) == 1:
        return f"{best.capitalize()} is the only round, so there is nothing to compare it with."
    return (
        f"No other round was more accurate than {best} on the validation data, by which it was"
        " chosen."
    )


def summarise(
    recipe: PersistRecipe,
    scored: PersistScored,
    found: Mapping[str, Mapping[str, Any]],
    sums: Mapping[str, str],
    examples: Mapping[str, int],
) -> Report:
    """The report of persistent rounds, for people (`to_html`) and for machines (`to_json`).

    sums: file -> SHA-256. examples: how many were trained on ("training"), chose the best round
    ("validation"), and were the batch that predictions are compared on ("reference", 0 where none
    are).
    """
    part = recipe.rounds
    report = Report(title=f"{part.number} persistent rounds", summary=scored.verdict)
    worth = (
        report.section("Was it worth it")
        .table(scored.table)
        .text(f"{scored.verdict} All were scored on the {scored.on}.")
    )
    if recipe.evaluation is None:
        worth.text(
            "No evaluation data was named. The validation data decided which round is the best, and"
            " flatters it."
        )
    if part.baselines:
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
        _compare(report.section("Are the rounds different networks"), scored.compared, part.number)
    elif scored.note:
        worth.text(scored.note)
    report.section("What was done").facts(
        {
            "architecture": recipe.model,
            "training data": described(recipe.data),
            "training examples": examples["training"],
            "validation data": (
                described(recipe.validation)
                if recipe.validation
                else f"a share of {recipe.held_out:g} of the training data"
            ),
            "validation examples": examples["validation"],
            "evaluation data": described(recipe.evaluation),
            "scored on": scored.on,
            "scored examples": scored.candidates[0].scores.n,
            "examples in a step": recipe.data.batch_size,
            **{
                key.replace("_", " "): written(value)
                for key, value in part.model_dump(exclude={"reference"}).items()
            },
            "examples that predictions are compared on": examples["reference"],
            **{
                key.replace("_", " "): written(value)
                for key, value in recipe.training.model_dump().items()
            },
            "warm up": warm_up_of(recipe.training.epochs, recipe.training.warm_up),
            "threads": recipe.record.threads if recipe.record else None,
            **{
                f"mean loss of {name}, last epoch (nats)": one["losses"][-1]
                for name, one in found.items()
            },
            **{f"SHA-256 of {file}": f"{digest[:12]}…" for file, digest in sums.items()},
            "device": recipe.device,
            "seed": recipe.seed,
        }
    )
    report.data = {
        "recipe": recipe.model_dump(mode="json"),
        "best": scored.best,
        "scored on": scored.on,
        "validation": {name: one["score"] for name, one in found.items()},
        "losses": {name: list(one["losses"]) for name, one in found.items()},
        "files": dict(sums),
        "scores": {row.name: row.scores.to_dict() for row in scored.candidates},
        "compared": scored.compared.to_dict() if scored.compared else None,
    }
    return report


def _compare(section: Section, compared: Compared, count: int) -> None:
    """Distances, disagreement and barriers of the rounds as a table and as pictures, as they are
    and aligned.
    """
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
