"""Scores and facts that the reports of all recipes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from onefold.batches import Data
from onefold.inference import ANY, Output
from onefold.measure import evaluate, evaluate_all
from onefold.recipe.document import DataPart, Document, InputFile
from onefold.report import Candidate, Report, Section, Table, comparison_table

CAPTION = "In bold: the most accurate. Differences are taken example by example."


@dataclass(frozen=True)
class Scored:
    """Networks and ensembles that were scored on the same data.

    Attributes:
        candidates: the rows of the table.
        verdict: one sentence on the result beside its rivals.
        against: the row that all others are compared with.
        classes: the classes by number, if they have names.
    """

    candidates: tuple[Candidate, ...]
    verdict: str
    against: str
    classes: str = ""

    @property
    def table(self) -> Table:
        """All candidates, the most accurate in bold, beside the result."""
        return comparison_table(self.candidates, against=self.against, caption=CAPTION)

    @property
    def examples(self) -> int:
        """How many examples were scored on."""
        return self.candidates[0].scores.n

    def data(self) -> dict[str, Any]:
        """The scores by name, as plain data."""
        return {row.name: row.scores.to_dict() for row in self.candidates}

    def told(self, report: Report) -> Section:
        """The first section of a report: the table and the verdict."""
        section = report.section("Was it worth it").table(self.table).text(self.verdict)
        return section.text(f"Classes: {self.classes}.") if self.classes else section


def parameters_of(model: nn.Module) -> int:
    """Number of elements of all parameters."""
    return sum(p.numel() for p in model.parameters())


def candidate(
    name: str,
    model: nn.Module,
    data: Data,
    note: str = "",
    *,
    output: Output = ANY,
    cost: float = 1.0,
) -> Candidate:
    """One network as a row. cost: of inference, in units of one member's."""
    return Candidate(name, evaluate(model, data, output=output), parameters_of(model), cost, note)


def member_candidates(
    models: Sequence[nn.Module], data: Data, output: Output = ANY
) -> tuple[list[Candidate], Candidate]:
    """A row for each member, and one for their ensemble, which costs as much as all of them."""
    scores, size, count = (
        evaluate_all(models, data, output=output),
        parameters_of(models[0]),
        len(models),
    )
    members = [Candidate(f"member {k}", one, size, 1.0) for k, one in enumerate(scores.members)]
    return members, together(f"ensemble of {count}", scores.ensemble, size, count)


def together(
    name: str, scores: Any, size: int, count: int, note: str = "mean of probabilities"
) -> Candidate:
    """An ensemble of `count` networks of `size` parameters as a row."""
    return Candidate(name, scores, count * size, float(count), note)


def best_of(rows: Sequence[Candidate]) -> Candidate:
    """The most accurate row; on a tie that of lower NLL."""
    return max(rows, key=lambda row: (row.scores.accuracy, -row.scores.nll))


def described(part: DataPart | None) -> str:
    """A data source, and the part of it that is read."""
    if part is None:
        return "none"
    after = f" after the first {part.skip:,}" if part.skip else ""
    return f"{part.source}, {part.split} split{after}, in batches of {part.batch_size}"


def written(value: object) -> str | int | float | bool | None:
    """A setting as a report's fact."""
    if isinstance(value, str | int | float | bool | None):
        return value
    return ", ".join(map(str, value))  # type: ignore[call-overload]


def settings_facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, as facts of a report."""
    return {name.replace("_", " "): written(value) for name, value in settings.items()}


def short(digest: str | None) -> str:
    """A checksum as a report shows it."""
    return f"{(digest or 'unknown')[:12]}…"


def files_facts(title: str, files: Sequence[InputFile]) -> dict[str, str]:
    """Numbered files with their checksums."""
    return {f"{title} {k}": f"{f.path}, SHA-256 {short(f.sha256)}" for k, f in enumerate(files)}


def scored_facts(recipe: Document, scored: Scored | None) -> dict[str, Any]:
    """The evaluation data of a recipe, and how many of its examples were scored on."""
    part = getattr(recipe, "evaluation", None) if scored else None
    return {
        "evaluation data": described(part),
        "evaluation examples": scored.examples if scored else 0,
    }


def ending_facts(recipe: Document) -> dict[str, Any]:
    """The facts of how a recipe was carried out, the last of every report."""
    used = {
        f"file of methods {k}": text for k, text in enumerate(files_facts("", recipe.use).values())
    }
    return {
        **used,
        "seed": recipe.seed,
        "device": recipe.device,
        "threads": recipe.record.threads if recipe.record else None,
    }
