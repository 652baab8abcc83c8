"""The demo: two small networks that saw different digits, folded in several ways and compared.

One of them saw many of the digits 0 to 4 and few of 5 to 9, the other one the rest of the images.
The training split is cut in three: images to train on, images without labels to align, fold and
repair with, and images to choose the best fold by. The test split serves the table and the curves
alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from onefold.batches import Data
from onefold.demo.train import train
from onefold.fold import MergeResult
from onefold.fold.reasons import reason
from onefold.measure import evaluate
from onefold.recipe import DataPart, EvaluationPart, InputFile, Recipe
from onefold.recipe.inputs import load_data
from onefold.recipe.merge.fold import fold_networks
from onefold.recipe.merge.run import MergeRunning, make
from onefold.report import Candidate, Report, Table, comparison_table, verdict
from onefold.result_reports.alignments import add_alignment, add_barriers, add_groups, barriers
from onefold.result_reports.provenance import stamp
from onefold.result_reports.scored import CAPTION, Scored, best_of, member_candidates, parameters_of
from onefold.sources import ImageBatches, build_data, build_model
from onefold.sources.class_names import class_names_of
from onefold.weights import atomic_directory, check_output, save

MODEL, DATA = "digits?width=16", "sklearn:digits"
MEMBERS, EPOCHS = 2, 20
TRAINING, CALIBRATION, SELECTION = 400, 500, 357  # examples of the training split, in this order
MOST = 0.95  # the share of the digits 0 to 4 that the first member sees; the second one of 5 to 9
WAYS = {  # name -> how to align, the fold, how to repair
    "plain average": ("none", "average", "none"),
    "plain average, repaired": ("none", "average", "full"),
    "permutation, repaired": ("permutation", "average", "auto"),
    "CCA, repaired": ("cca", "average", "auto"),
    "the default": ("auto", "auto", "auto"),
}


@dataclass(frozen=True)
class Outcome:
    """The results of the demo.

    Attributes:
        table: all networks on the test split.
        best: the name of the best fold, as chosen on held-out images.
        verdict: a sentence that compares it with its baselines.
        folder: the folder written.
        seconds: the time it took.
    """

    table: Table
    best: str
    verdict: str
    folder: Path
    seconds: float


def run(
    output: Path,
    *,
    seed: int = 0,
    force: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Run the demo, and write the members, the best fold with its recipe, and report.html.

    The same seed gives the same bits.

    Args:
        output: the folder to write.
        seed: of the members' first weights and of the order of their batches.
        force: replace an existing folder.
        tell: takes a sentence on each step.

    Raises:
        OutputError: the folder exists and `force` is not given, or it cannot be written.
        DataError: scikit-learn is missing.
    """
    start = time.perf_counter()
    check_output(output, force, folder=True)
    with _one_thread(), atomic_directory(output, force=force) as folder:
        models = _members(seed)
        recipes = {
            name: _recipe(folder, seed, align, fold, repair)
            for name, (align, fold, repair) in WAYS.items()
        }
        calibration = load_data(_part(TRAINING, CALIBRATION))
        selection = load_data(_part(TRAINING + CALIBRATION, SELECTION))
        test = load_data(EvaluationPart(source=DATA))

        tell(f"Folding in {len(WAYS)} ways with {CALIBRATION} unlabelled images")
        results = {
            name: fold_networks(recipe, models, calibration) for name, recipe in recipes.items()
        }
        held_out = {name: evaluate(result.model, selection) for name, result in results.items()}
        best = min(results, key=lambda name: [-value for value in held_out[name].rank])

        tell(f"Scoring on {len(_labels(test))} test images")
        candidates = _candidates(models, results, test)
        table = comparison_table(candidates, against=best, caption=CAPTION)
        sentence = _verdict(candidates, best)

        tell("Writing the members, the best fold, its recipe and the report")
        for k, model in enumerate(models):
            save(model, folder / f"member-{k}.safetensors")
        make(recipes[best], MergeRunning(threads=1))
        why = reason(best, held_out)
        scored = Scored(
            tuple(candidates), sentence, best, class_names_of(test), f"the best fold ({best})"
        )
        report = _report(models, results, scored, why, test, calibration, seed)
        stamp(report).save(folder / "report.html")
    return Outcome(table, best, sentence, Path(output), time.perf_counter() - start)


def _members(seed: int) -> list[nn.Module]:
    """The trained members, each from first weights of its own and on images of its own."""
    data = build_data(DATA, split="train", limit=TRAINING)
    assert isinstance(data, ImageBatches)
    assert data.labels is not None
    generator = torch.Generator().manual_seed(seed)
    share = torch.where(data.labels < 5, MOST, 1 - MOST)
    first = torch.rand(len(data.labels), generator=generator) < share
    return [_member(data, seen, seed * MEMBERS + k, k) for k, seen in enumerate((first, ~first))]


def _member(data: ImageBatches, seen: torch.Tensor, seed: int, number: int) -> nn.Module:
    """A network trained on some of the images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(MODEL)
    batches = ImageBatches(data.images.part(seen), batch_size=50, shuffle=True, seed=seed)
    train(model, batches, epochs=EPOCHS, name=f"member {number}")
    return model


def _part(skip: int, samples: int) -> DataPart:
    return DataPart(source=DATA, split="train", skip=skip, samples=samples)


def _recipe(folder: Path, seed: int, align: str, fold: str, repair: str) -> Recipe:
    """The recipe of one fold, which reads and writes files in `folder`."""
    files = (str(folder / f"member-{k}.safetensors") for k in range(MEMBERS))
    return Recipe(
        model=MODEL,
        members=tuple(InputFile(path=file) for file in files),
        data=_part(TRAINING, CALIBRATION),
        align=align,
        fold=fold,
        repair=repair,
        evaluation=EvaluationPart(source=DATA),
        seed=seed,
        output=str(folder / "folded.safetensors"),
    )


def _candidates(
    models: list[nn.Module], results: dict[str, MergeResult[nn.Module]], test: Data
) -> list[Candidate]:
    """The members, their ensemble and all folds, scored on the test split."""
    members, ensemble = member_candidates(models, test)
    size = parameters_of(models[0])
    folds = [
        Candidate(name, evaluate(result.model, test), size, 1.0) for name, result in results.items()
    ]
    return [*members, ensemble, *folds]


def _verdict(candidates: list[Candidate], best: str) -> str:
    """The sentence that compares the best fold with its baselines."""
    rows = {row.name: row for row in candidates}
    members = [row for row in candidates if row.name.startswith("member")]
    baselines = [
        best_of(members, "member"),
        rows[f"ensemble of {MEMBERS}"]._replace(name="the ensemble"),
    ]
    if best != "plain average":
        baselines.append(rows["plain average"]._replace(name="the plain average"))
    return verdict(rows[best]._replace(name=f"The best fold ({best})"), baselines)


def _report(
    models: list[nn.Module],
    results: dict[str, MergeResult[nn.Module]],
    scored: Scored,
    why: str,
    test: Data,
    calibration: Data,
    seed: int,
) -> Report:
    """The report of the demo."""
    title = f"The demo: {MEMBERS} small networks that saw different digits, folded into one"
    report = Report(title=title, summary=scored.verdict)
    scored.told(report).text(
        f"All scores are on the test split. The best fold was chosen on {SELECTION} held-out images"
        f" of the training split: {why}."
    )
    alignments = [result.alignment for result in results.values() if result.alignment is not None]
    section = report.section("Between two members", folded=True)
    add_barriers(section, barriers(models, alignments, test, calibration))
    section.text(
        "A dense map, as CCA's, does not quite keep the mapped member's function, so its end of the"
        " line is worse; the fold is the middle."
    )
    for alignment in alignments:
        section = report.section(f"Alignment by {alignment.method}", folded=True)
        add_alignment(section, alignment)
    add_groups(report.section("What moves together", folded=True), alignments[0].spec)
    report.section("What was done", folded=True).facts(
        {
            "architecture": MODEL,
            "parameters": parameters_of(models[0]),
            "training": (
                f"{EPOCHS} epochs each; of {TRAINING} images of {DATA} the first member saw"
                f" {100 * MOST:.0f} % of the digits 0 to 4 and {100 - 100 * MOST:.0f} % of 5 to 9,"
                " the second one the others"
            ),
            "calibration": f"{CALIBRATION} images of the training split, labels unused",
            "best fold": scored.against,
            "seed": seed,
        }
    )
    return report


def _labels(data: Data) -> torch.Tensor:
    assert isinstance(data, ImageBatches)
    assert data.labels is not None
    return data.labels


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Run on one thread, on whose number the bits depend.

    More threads only wait for one another on networks this small.
    """
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)
