"""Vocabularies of which nothing was decided: they must be equal, as far as they can be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onefold.checkpoints.document import Reference
from onefold.checkpoints.vocabulary.content import (
    NoTokenizerError,
    UnreadableTokenizerError,
    Vocabulary,
)
from onefold.checkpoints.vocabulary.differing import difference, named
from onefold.checkpoints.vocabulary.plan import MemberRows, Origin, VocabularyPlan
from onefold.errors import MembersError
from onefold.printable import counted

WAYS = (
    "write 'tokenizer_source: union' for the tokens of all, 'tokenizer_source: base' for those of"
    " the base, or a model for its tokens (--tokenizer in a command)"
)


@dataclass(frozen=True)
class Undecided:
    """The models of a merge and what was read of their tokenizers.

    Attributes:
        order: the models that are merged, the base first.
        found: the vocabularies that could be read.
        unread: why the others could not.
        rows: the rows of each model's embedding, as far as they are known.
        folders: the folders of the models.
        by_number: rows of different tokens are merged by their number.
    """

    order: Sequence[Reference]
    found: Mapping[Reference, Vocabulary]
    unread: Mapping[Reference, NoTokenizerError | UnreadableTokenizerError]
    rows: Mapping[Reference, int]
    folders: Mapping[Reference, Path]
    by_number: bool

    def plan(self) -> VocabularyPlan | None:
        """The plan where no row moves; None: tokens are equal, and rows of padding are filled.

        Raises:
            MembersError: the tokens differ, and nothing says which to keep.
            WeightsError: files are missing or cannot be read, and that matters.
        """
        if self.unread:
            if not self._level():
                raise next(iter(self.unread.values()))
            closed = self._closed()
            if closed and not self.all_equal() and not self.by_number:
                raise next(iter(closed.values()))
            if closed or not self.found:
                return self.unread_plan()
        text = difference(self.found)
        level = len({rows_of(one) for one in self.found.values()}) == 1
        if text and not (self.by_number and level):
            raise MembersError(f"{text}, and nothing says which to keep; {WAYS}.")
        if not level:
            return None
        return self._as_they_are([f"{text}; their rows are merged by number."] if text else [])

    def all_equal(self) -> bool:
        """Whether all tokenizers are of files that cannot be read here, and are equal."""
        digests = {one.digest for one in self._closed().values()}
        return not self.found and len(digests) == 1 and self._level()

    def unread_plan(self) -> VocabularyPlan:
        """All rows stay as they are, and the tokenizer is that of the first model that has one."""
        closed = self._closed()
        donor = next((one for one in self.order if one in closed or one in self.found), None)
        warnings: tuple[str, ...] = ()
        if closed and not self.all_equal():
            warnings = (
                "Not all tokenizers can be read, so that they are not compared; rows are merged by"
                " number.",
            )
        size = next((self.rows[one] for one in self.order if one in self.rows), 0)
        return VocabularyPlan(
            {},
            None,
            donor,
            None if donor is None else self.folders[donor],
            members={one: MemberRows(one, size, size) for one in self.order},
            vocabularies=dict(self.found),
            warnings=warnings,
            notes=self.notes() if donor is not None else (),
        )

    def completed(self) -> dict[Reference, Vocabulary]:
        """The vocabularies of all models; those without files are taken to be as the others."""
        first = next(iter(self.found.values()))
        return {
            one: self.found.get(one) or dataclasses.replace(first, rows=self.rows[one])
            for one in self.order
        }

    def notes(self) -> tuple[str, ...]:
        """One sentence for each model that has no tokenizer files."""
        return tuple(
            f"{model} has no tokenizer files, and is taken to have the tokens of the others."
            for model, error in self.unread.items()
            if isinstance(error, NoTokenizerError)
        )

    def _closed(self) -> dict[Reference, UnreadableTokenizerError]:
        return {
            model: error
            for model, error in self.unread.items()
            if isinstance(error, UnreadableTokenizerError)
        }

    def _level(self) -> bool:
        """Whether all models are known to have equally many rows."""
        counts = {self.rows.get(one) for one in self.order}
        return len(counts) == 1 and None not in counts

    def _as_they_are(self, warnings: list[str]) -> VocabularyPlan:
        donor = next(one for one in self.order if one in self.found)
        own = self.found[donor]
        size = rows_of(own)
        if beyond := own.beyond():
            warnings.append(
                f"The tokenizer of {donor} has {counted(len(beyond), 'token')} beyond the"
                f" {size:,} rows of the embedding ({named(beyond)}); a text with one of"
                " them cannot be run."
            )
        all_of = self.completed()
        counts = {id(one.tokens): _counts(one, size) for one in all_of.values()}
        return VocabularyPlan(
            dict(own.tokens),
            size,
            donor,
            own.folder,
            members={
                one: MemberRows(one, size, size, counts=counts[id(all_of[one].tokens)])
                for one in self.order
            },
            vocabularies=all_of,
            warnings=tuple(warnings),
            notes=self.notes(),
        )


def rows_of(vocabulary: Vocabulary) -> int:
    """The rows of a model's embedding; as many as tokens where they are not known."""
    return vocabulary.size if vocabulary.rows is None else vocabulary.rows


def _counts(vocabulary: Vocabulary, size: int) -> dict[Origin, int]:
    tokens = len(vocabulary.tokens)
    if vocabulary.size > size:
        tokens = sum(number < size for number in vocabulary.tokens.values())
    return {"own": tokens, **({"own padding": size - tokens} if tokens < size else {})}
