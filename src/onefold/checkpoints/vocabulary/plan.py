"""What becomes of the vocabularies of several models: their tokens, and where rows are from.

Tokens are told by their text. Each row of the result's vocabulary has, in each model, a source:
the model's own row, or rows of other models. `onefold.checkpoints.vocabulary.row_map` applies it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from onefold.checkpoints.document import Reference
from onefold.checkpoints.vocabulary.content import Vocabulary

# Where a row is from. The order is that of reports.
Origin = Literal[
    "own", "named", "only owner", "base", "mean of owners", "zero", "own padding",
    "other padding", "mean row",
]  # fmt: skip
PADDING = ("own padding", "other padding", "mean row")
TOLD = {
    "named": "as the document names them",
    "only owner": "from the only model that has them",
    "base": "from the base",
    "mean of owners": "with the mean of those that have them",
    "zero": "with zeros",
    "other padding": "from the padding of another model",
    "mean row": "with the mean of its rows, as padding",
}


@dataclass(frozen=True)
class Fill:
    """Rows of the result that are filled alike.

    Attributes:
        origin: by which rule.
        rows: the rows of the result.
        sources: the models whose rows are averaged, each with the row for each of `rows`. Empty:
            the rows are zeros, or with the origin "mean row" the mean of the rows of all tokens.
    """

    origin: Origin
    rows: array[int] = field(repr=False)
    sources: tuple[tuple[Reference, array[int]], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class MemberRows:
    """Where the rows of one model are from.

    Attributes:
        member: the model.
        held: how many rows its tensors have.
        size: how many rows the result has.
        own: for each row of the result the row of this model, or -1; None: rows stay where they
            are, none is filled, and `held` is `size`.
        fills: the rows that are -1.
        tokens: the rows of this model that belong to a token; the mean row is theirs.
        counts: how many rows of the result are from where.
    """

    member: Reference
    held: int
    size: int
    own: array[int] | None = field(default=None, repr=False)
    fills: tuple[Fill, ...] = field(default=(), repr=False)
    tokens: array[int] = field(default_factory=lambda: array("q"), repr=False)
    counts: Mapping[Origin, int] = field(default_factory=dict)

    @property
    def identity(self) -> bool:
        """Whether the tensors of this model stay as they are."""
        return self.own is None

    @property
    def sources(self) -> tuple[Reference, ...]:
        """The other models whose tensors are needed."""
        found = dict.fromkeys(model for fill in self.fills for model, _ in fill.sources)
        found.pop(self.member, None)
        return tuple(found)

    def without(self, models: Collection[Reference]) -> MemberRows:
        """The same where other models lack the tensor: rows from them are from others, or zeros."""
        fills = []
        for fill in self.fills:
            left = tuple(one for one in fill.sources if one[0] not in models)
            if len(left) == len(fill.sources):
                fills.append(fill)
            elif left:
                fills.append(replace(fill, sources=left))  # without any, rows are zeros
        return replace(self, fills=tuple(fills))

    def sentence(self) -> str:
        """How many rows were filled from where; "" if none was."""
        parts = [f"{self.counts[one]:,} {text}" for one, text in TOLD.items() if one in self.counts]  # type: ignore[index]
        moved = self.own is not None and any(
            row not in (-1, place) for place, row in enumerate(self.own)
        )
        if not parts:
            return f"{self.member}: rows are put into the order of the result." if moved else ""
        return f"{self.member}: rows of the vocabulary are filled, {', '.join(parts)}."


@dataclass(frozen=True)
class Addition:
    """A token that the donor's tokenizer has not.

    Attributes:
        number: its number in the result.
        entry: its entry as an added token, as in tokenizer.json; None: it is a piece of words.
        owner: the first model that has it; None: the document alone names it.
    """

    number: int
    entry: Mapping[str, Any] | None
    owner: Reference | None


@dataclass(frozen=True)
class VocabularyPlan:
    """The vocabulary of a merge.

    Attributes:
        tokens: the number of each token.
        size: how many rows vocabulary tensors have, padding among them; None: the vocabularies
            cannot be told, and all rows stay as they are.
        donor: the model whose tokenizer files are written; None: no model has any.
        folder: the folder of those files.
        additions: the tokens that the donor has not; empty: its files are copied unchanged.
        members: where the rows of each model are from.
        vocabularies: those of all models that could be read, the base first.
        warnings: what will surprise, one sentence each.
        notes: what was decided, one sentence each.
    """

    tokens: Mapping[str, int] = field(repr=False)
    size: int | None
    donor: Reference | None
    folder: Path | None
    additions: Mapping[str, Addition] = field(default_factory=dict, repr=False)
    members: Mapping[Reference, MemberRows] = field(default_factory=dict, repr=False)
    vocabularies: Mapping[Reference, Vocabulary] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> bool:
        """Whether no row of any model moves, and none is filled."""
        return all(one.identity for one in self.members.values())

    def digest(self) -> str:
        """A digest of the rows of all models: equal plans write equal tensors."""
        told = hashlib.sha256(repr(self.size).encode())
        for model, rows in self.members.items():
            told.update(f"\n{model} {rows.held} {rows.size} {rows.identity}\n".encode())
            told.update((rows.own or array("q")).tobytes() + rows.tokens.tobytes())
            for fill in rows.fills:
                told.update(f"\n{fill.origin}\n".encode() + fill.rows.tobytes())
                for source, numbers in fill.sources:
                    told.update(f"\n{source}\n".encode() + numbers.tobytes())
        return told.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """For each model how many rows of the result are from where, as a report stores it."""
        return {str(model): dict(rows.counts) for model, rows in self.members.items()}  # type: ignore[arg-type]

    def sentences(self) -> list[str]:
        """What was done, one sentence each."""
        told = [text for text in (one.sentence() for one in self.members.values()) if text]
        return [*self.notes, *told]
