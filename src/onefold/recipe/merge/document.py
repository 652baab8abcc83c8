"""The recipe of a merge: its keys are the arguments of `onefold.merge`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from onefold.alignment.matchers import Matcher, feature_matchers
from onefold.documents.part import Flag, InputFile, Part
from onefold.documents.settings import OneOf, described_fields
from onefold.errors import SettingError, nearest
from onefold.fold import folds
from onefold.fold.auto import IN_WORDS, Auto
from onefold.fold.distillation import Polish, check_views
from onefold.fold.network_fold import as_fold
from onefold.fold.partial.splitting import share_of
from onefold.fold.plan import AUTO, DEFAULT, REPAIRS
from onefold.recipe.document import Job
from onefold.recipe.reading import check_as, read_as
from onefold.result_reports.provenance import Fact, Provenance, written
from onefold.widths.budget import budget_of

POLISH = described_fields(Polish)
ALIGNING, FOLDING = Flag(panel="How to align"), Flag(panel="How to fold")


class SavedAlignment(Part):
    """An alignment that `onefold align` has written, instead of a matcher."""

    file: Annotated[InputFile, Flag(name="alignment")] = Field(
        description="A saved alignment, instead of --align."
    )


ALIGN = OneOf(feature_matchers, also=("none", AUTO), other=SavedAlignment)
FOLD = OneOf(folds)


class PolishPart(Part):
    """Distillation from the members' ensemble, behind everything else."""

    main: ClassVar[str | None] = "passes"
    passes: Annotated[int, Flag(name="polish")] = Field(
        default=0, ge=0, description="Passes of distillation from the ensemble, last."
    )
    lr: float = Field(default=Polish.lr, gt=0, description=POLISH["lr"])
    batchnorm: Literal["eval", "train", "reestimate"] = Field(
        default="eval", description=POLISH["batchnorm"]
    )
    views: str = Field(default="none", description=POLISH["views"])
    temperature: float = Field(default=Polish.temperature, gt=0, description=POLISH["temperature"])
    schedule: Literal["linear", "cosine"] = Field(default="linear", description=POLISH["schedule"])
    warmup: float = Field(default=Polish.warmup, ge=0, lt=1, description=POLISH["warmup"])

    @field_validator("views")
    @classmethod
    def _known(cls, views: str) -> str:
        try:
            check_views(views)
        except SettingError as error:
            raise ValueError(f"{error}".removesuffix(".")) from None
        return views


class EnsemblePart(Part):
    """The ensemble of the members that least squares and polish aim at."""

    main: ClassVar[str | None] = "name"
    name: Annotated[Literal["logits", "probabilities", "classes"], Flag(name="ensemble")] = Field(
        description="The ensemble that least squares and polish aim at: the mean of logits or of"
        " probabilities, or classes, which weighs each member by how much it saw of a class."
    )
    shares: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...] | None, Flag(name="class-shares")
    ] = Field(
        default=None,
        description="Of --ensemble classes: the shares of the classes in --data, as 0.5,0.3,0.2;"
        " even ones if they are left out.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> EnsemblePart:
        if self.shares is not None and self.name != "classes":
            raise ValueError(
                "{ensemble.shares} goes with the name classes, so give {ensemble.name} classes, or"
                " leave the shares out"
            )
        return self


class Recipe(Job):
    """A whole merge: `members` of the architecture `model`, aligned and folded on `data`."""

    command: ClassVar[str] = "merge"
    noun: ClassVar[str] = "merge"
    align: Annotated[Matcher | SavedAlignment | str, ALIGN, ALIGNING] = Field(
        default=AUTO,
        description="A matcher, none, or auto: none for members that share an origin, else"
        f" {DEFAULT} if the fold uses it and any parameter can be moved.",
    )
    reference: Annotated[int, ALIGNING] = Field(
        default=0, ge=0, description="The member that the others are mapped to."
    )
    max_positions: Annotated[int | None, ALIGNING] = Field(
        default=None, ge=1, description="Use at most so many positions of a feature map."
    )
    fold: Annotated[Any, FOLD, FOLDING] = Field(
        default=Auto(), description=f"A fold. auto: {IN_WORDS}."
    )
    weights: Annotated[tuple[float, ...] | None, FOLDING] = Field(
        default=None,
        description="The members' weights, as 0.7,0.3; equal ones if they are left out.",
    )
    repair: Annotated[str, FOLDING] = Field(
        default="auto", description=f"How statistics are repaired: {', '.join(REPAIRS)}."
    )
    polish: Annotated[PolishPart, FOLDING] = Field(default=PolishPart(), description="")
    ensemble: Annotated[EnsemblePart | None, FOLDING] = Field(default=None, description="")
    until: Annotated[str | None, FOLDING] = Field(
        default=None,
        description="Merge up to this module, or this share of the layers, as 50%; the rest stays"
        " the members'.",
    )
    barrier: Annotated[bool, Flag(panel="How to score")] = Field(
        default=False, description="Measure the barrier between members 0 and 1."
    )
    budgets: Annotated[tuple[str, ...] | None, Flag(panel="How to score")] = Field(
        default=None,
        description="Also score folds by least squares to these budgets, as 1x,1.5x,2x: factors of"
        " one member's multiply-adds.",
    )
    devices: int = Field(default=1, ge=1, description="Processes that share the calibration data.")

    @model_validator(mode="before")
    @classmethod
    def _partial(cls, content: Any) -> Any:
        """A merge up to a module averages, unless a fold is named."""
        if isinstance(content, dict) and content.get("until") is not None:
            return {"fold": "average", **content}
        return content

    @field_validator("budgets", mode="before")
    @classmethod
    def _split(cls, budgets: Any) -> Any:
        """One text may hold several, as on a command line."""
        texts = [budgets] if isinstance(budgets, str) else budgets
        if not isinstance(texts, list | tuple) or not all(isinstance(t, str) for t in texts):
            return budgets
        return tuple(part.strip() for text in texts for part in text.split(","))

    @field_validator("budgets")
    @classmethod
    def _budgets(cls, budgets: tuple[str, ...] | None) -> tuple[str, ...] | None:
        try:
            for budget in budgets or ():
                budget_of(budget)
        except SettingError as error:
            raise ValueError(f"{error}".removesuffix(".")) from None
        return budgets

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        for wrong, reason in _contradictions(self):
            if wrong:
                raise ValueError(reason)
        return self

    @property
    def computes_alignment(self) -> bool:
        """Whether the merge aligns, if anything can be moved: as asked, or as the fold does."""
        if self.align == AUTO:
            return as_fold(self.fold).aligns
        return self.align != "none" and not isinstance(self.align, SavedAlignment)

    def facts(self) -> dict[str, Fact]:
        """What every job tells, and the file of the alignment and the shares of the classes."""
        facts = super().facts()
        if isinstance(self.align, SavedAlignment):
            facts["file of the alignment"] = self.align.file.path
        if self.budgets:
            facts["further budgets folded to"] = ", ".join(self.budgets)
        if self.ensemble is not None and self.ensemble.shares:
            facts["shares of the classes asked about"] = written(self.ensemble.shares)
        return facts

    def origin(self, files: Mapping[str, str] | None = None) -> Provenance:
        """All that a report tells of this recipe; see `Document.origin`."""
        origin = super().origin(files)
        return replace(origin, run={**origin.run, "processes": self.devices})


def _contradictions(recipe: Recipe) -> list[tuple[bool, str]]:
    """Whether keys contradict each other, and what to do, for every rule."""
    count, weights, without = len(recipe.members), recipe.weights, recipe.data is None
    cut, polish, until = recipe.until is not None, bool(recipe.polish.passes), str(recipe.until)
    return [
        (
            recipe.reference >= count,
            f"{{reference}} is {recipe.reference}, but there are only {count} members, counted from"
            " 0",
        ),
        (
            weights is not None and len(weights) != count,
            f"{{weights}} has {len(weights or ())} numbers for {count} members; give one for each",
        ),
        (
            recipe.repair not in REPAIRS,
            f"there is no repair {recipe.repair[:60]!r}; {nearest(recipe.repair, REPAIRS)}",
        ),
        *_without_data(recipe, without),
        (
            cut and (without or polish or recipe.ensemble is not None),
            "{until} needs calibration data and takes no {polish} and no {ensemble}, so give {data}"
            " and leave these out",
        ),
        (
            until.endswith("%") and share_of(until) is None,
            f"{{until}} is {until[:60]!r}; give a module's name, or a share of the"
            " layers between 0% and 100%, as 50%",
        ),
        (
            cut and recipe.max_positions is not None,
            "{until} takes no {max_positions}, so leave one of them out",
        ),
        (
            not recipe.computes_alignment and recipe.max_positions is not None,
            "{max_positions} is of an alignment that is computed, and this merge computes none, so"
            " name a matcher with {align}, or leave it out",
        ),
        (
            recipe.barrier and recipe.evaluation is None,
            "{barrier} needs labelled data, so give {evaluation} too",
        ),
        (
            bool(recipe.budgets) and (recipe.evaluation is None or without),
            "{budgets} are folded on calibration data and scored on labelled data, so give {data}"
            " and {evaluation}",
        ),
        (
            bool(recipe.budgets) and (cut or recipe.devices > 1),
            "{budgets} are of whole networks in one process, so leave out {until} and {devices}",
        ),
        (
            recipe.devices > 1 and without,
            "several processes share the calibration data, so give {data}, or leave {devices} out",
        ),
    ]


def _without_data(recipe: Recipe, without: bool) -> list[tuple[bool, str]]:
    """The rules of a merge that has no calibration data."""
    polish = bool(recipe.polish.passes)
    return [
        (
            without and isinstance(recipe.fold, Auto),
            "the default reads the members' predictions on unlabelled data, so give {data}, or name"
            " a fold ({fold} average) with {align} and {repair} none",
        ),
        (
            without and (recipe.align, recipe.repair) != ("none", "none"),
            "aligning and repairing need calibration data, so give {data}, or set {align} and"
            " {repair} to none",
        ),
        (
            without and polish,
            "{polish} needs calibration data, so give {data}, or leave {polish} out",
        ),
        (
            without and any(getattr(recipe.fold, need, False) for need in ("traced", "labelled")),
            f"the fold '{FOLD.name_of(recipe.fold)}' needs calibration data, so give {{data}}",
        ),
    ]


def read(path: str | Path, *, trust: bool = False) -> Recipe:
    """The recipe of a merge in the YAML file `path`; see `read_as`.

    Args:
        path: the file.
        trust: the Python files that it names may be run.
    """
    return read_as(Recipe, path, trust=trust)


def check(content: object, what: str = "The recipe", folder: str | Path | None = None) -> Recipe:
    """`content` as the recipe of a merge, with absolute paths; see `check_as`."""
    return check_as(Recipe, content, what, folder)
