"""What the tokenizer files of a model say: tokens, numbers, special tokens, chat templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from onefold.errors import WeightsError

Kind = Literal["BPE", "WordPiece", "Unigram", "WordLevel"]
DEFAULT = "default"  # the name of the chat template that is used where none is named


class NoTokenizerError(WeightsError):
    """A folder has no tokenizer files at all."""


class UnreadableTokenizerError(WeightsError):
    """A folder has a tokenizer in a form that is not read here.

    Attributes:
        digest: the SHA-256 of its files. Folders with equal digests have equal tokenizers.
    """

    digest: str = ""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one model.

    Attributes:
        folder: where its files are.
        kind: how it cuts words into pieces.
        tokens: the number of each token: pieces, added and special tokens.
        added: the tokens that are found in a text as a whole before it is cut into pieces, with
            their entries as in tokenizer.json (content, id, special, lstrip, ...).
        special: the special tokens, in the order of their numbers.
        templates: the chat templates by name; that of `DEFAULT` is used where none is named.
        rows: how many rows the embedding has; None: it is not known.
    """

    folder: Path
    kind: Kind
    tokens: Mapping[str, int] = field(repr=False)
    added: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    special: tuple[str, ...] = field(default=(), repr=False)
    templates: Mapping[str, str] = field(default_factory=dict, repr=False)
    rows: int | None = None

    @cached_property
    def by_number(self) -> dict[int, str]:
        """The token of each number."""
        return {number: token for token, number in self.tokens.items()}

    @cached_property
    def size(self) -> int:
        """One more than the highest number of a token."""
        return max(self.tokens.values(), default=-1) + 1

    @property
    def padding(self) -> int:
        """How many rows the embedding has beyond the tokens; 0 where it is not known."""
        return max((self.rows or 0) - self.size, 0)

    @property
    def template(self) -> str | None:
        """The chat template that is used where none is named; None: there is none."""
        return self.templates.get(DEFAULT)

    @cached_property
    def gaps(self) -> tuple[int, ...]:
        """The numbers below `size` that no token has."""
        if len(self.tokens) == self.size:
            return ()
        return tuple(number for number in range(self.size) if number not in self.by_number)

    def beyond(self) -> tuple[str, ...]:
        """The tokens for which the embedding has no row, in the order of their numbers."""
        if self.rows is None or self.size <= self.rows:
            return ()
        found = [(number, token) for token, number in self.tokens.items() if number >= self.rows]
        return tuple(token for _, token in sorted(found))
