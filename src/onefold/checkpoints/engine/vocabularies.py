"""Vocabularies that differ: which row of each model stands for which row of the result.

The tokens of the result are those of one model, with their numbers; `union` appends what the other
models have added to it. Rows that stand for no token (padding) are kept as the model that the
tokens are of has them. What a model lacks is filled in before the merge: from the only model that
has it, else from the base, else by the mean of those that have it, else by 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onefold.checkpoints.document import Document, Reference
from onefold.checkpoints.engine.tokenizers import Tokens, all_known, differing
from onefold.checkpoints.layouts import Layout, embedding_of
from onefold.errors import MembersError

ABSENT = -1
SHOWN = 3  # tokens in a message


@dataclass(frozen=True)
class Vocabulary:
    """The rows of the result.

    Attributes:
        size: their number.
        rows: for each model its row for each of them; `ABSENT` where it has none.
        base: the base; None: there is none.
        added: entries for the list of added tokens in tokenizer.json.
        of: the model whose tokenizer is copied.
    """

    size: int
    rows: Mapping[str, Sequence[int]]
    base: str | None
    added: tuple[Mapping[str, Any], ...]
    of: Reference

    @cached_property
    def filled(self) -> Mapping[tuple[str, ...], list[int]]:
        """The rows that some model lacks, by the models that they are filled from."""
        groups: dict[tuple[str, ...], list[int]] = {}
        models = list(self.rows)
        for row in range(self.size):
            owners = tuple(model for model in models if self.rows[model][row] != ABSENT)
            if len(owners) < len(models):
                if len(owners) > 1 and self.base in owners:
                    owners = (str(self.base),)
                groups.setdefault(owners, []).append(row)
        return groups

    def notes(self) -> list[str]:
        """How many rows were filled from where, one sentence for each model that lacks some."""
        counts: dict[str, Counter[str]] = {model: Counter() for model in self.rows}
        for owners, rows in self.filled.items():
            source = (
                "0" if not owners else owners[0] if len(owners) == 1 else "a mean of the others"
            )
            for model, own in self.rows.items():
                counts[model][source] += sum(own[row] == ABSENT for row in rows)
        sentences = [f"The vocabulary has {self.size} rows, by the tokens of {self.of}."]
        for model, count in counts.items():
            parts = [f"{number} from {source}" for source, number in count.items() if number]
            if parts:
                total = sum(count.values())
                sentences.append(f"{model} lacks {total} rows, filled: {', '.join(parts)}.")
        return sentences


def vocabulary_of(
    document: Document,
    layouts: Mapping[Reference, Layout],
    tokens: Mapping[Reference, Tokens],
    donor: Reference,
) -> Vocabulary:
    """The rows that a document's key `tokenizer` asks for.

    Args:
        document: the document; it has that key.
        layouts: the models that are merged.
        tokens: of all models, that of the tokenizer among them.
        donor: the base, or the model that is listed first.

    Raises:
        MembersError: the document asks for what is not done here.
    """
    wanted = document.tokenizer
    assert wanted is not None
    if wanted.tokens:
        raise MembersError(
            "The document sets rows of single tokens, which is not done here; leave 'tokens' out,"
            " or use mergekit for this merge."
        )
    of = wanted.source if isinstance(wanted.source, Reference) else donor
    numbers, added = dict(tokens[of].numbers), list[Mapping[str, Any]]()
    if wanted.source == "union":
        added = _appended(numbers, [tokens[model] for model in layouts])
    counts = {model: rows_of(model, layout) for model, layout in layouts.items()}
    size = max(max(numbers.values(), default=-1) + 1, counts.get(of, 0))
    multiple = wanted.pad_to_multiple_of or 1
    size = -(-size // multiple) * multiple
    names: list[str | None] = [None] * size
    for token, number in numbers.items():
        names[number] = token
    rows = {str(m): _rows(names, tokens[m].numbers, counts[m]) for m in layouts}
    base = document.base
    return Vocabulary(size, rows, None if base is None else str(base), tuple(added), of)


def rows_of(model: Reference, layout: Layout) -> int:
    """The number of rows of a model's embedding.

    Raises:
        MembersError: it has none that can be told by its name.
    """
    name = embedding_of(layout.tensors)
    if name is None:
        raise MembersError(
            f"{model} has no embedding of tokens that can be told by its name, so that tokenizers"
            " cannot be merged; leave the tokenizer out of the document."
        )
    return layout.tensors[name].shape[0]


def _appended(numbers: dict[str, int], every: Sequence[Tokens]) -> list[Mapping[str, Any]]:
    """Append the tokens that others have added; returns their entries with new numbers."""
    added: list[Mapping[str, Any]] = []
    for tokens in every:
        lacking = [token for token in tokens.numbers if token not in numbers]
        own = [token for token in lacking if token not in tokens.added]
        if own:
            raise MembersError(
                f"{len(own)} tokens, such as {', '.join(map(repr, own[:SHOWN]))}, are in the"
                " vocabulary of one model and unknown to the others' tokenizer; choose the"
                " tokenizer of one model in place of their union."
            )
        for token in lacking:
            numbers[token] = max(numbers.values(), default=-1) + 1
            added.append({**tokens.added[token], "id": numbers[token]})
    return added


def _rows(names: Sequence[str | None], numbers: Mapping[str, int], count: int) -> list[int]:
    used = set(numbers.values())
    found = []
    for row, token in enumerate(names):
        own = numbers.get(token, ABSENT) if token is not None else row
        padding = token is None and row in used
        found.append(ABSENT if padding or own >= count else own)
    return found


def asked_vocabulary(
    document: Document,
    layouts: Mapping[Reference, Layout],
    folders: Mapping[Reference, Path],
    tokens: Mapping[Reference, Tokens | None],
) -> tuple[Vocabulary | None, list[str]]:
    """The rows of the vocabulary where the document asks for merged tokenizers, and notes."""
    differs = differing(tokens)
    if document.tokenizer is None:
        if differs is None:
            return None, []
        first, other, count = differs
        text = f"The tokenizers of {first} and {other} differ in {count} tokens or their numbers"
        return None, [f"{text}; that of the donor is kept, and rows are merged by number."]
    known = all_known(folders, tokens)
    donor = document.base if document.base in layouts else next(iter(layouts))
    assert donor is not None
    found = vocabulary_of(document, layouts, known, donor)
    counts = {rows_of(model, layout) for model, layout in layouts.items()}
    if differs is None and counts == {found.size}:
        return None, ["All tokenizers have the same tokens, so that rows stay as they are."]
    return found, found.notes()
