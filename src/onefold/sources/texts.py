"""Texts with labels, and running text in blocks: examples of which batches can be taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onefold.errors import DataError
from onefold.sources.tokenizing import CHUNK, IGNORED, Encodings, TokenRows, padded, padding_number


@dataclass(frozen=True, eq=False)
class Texts:
    """Tokenized texts and their labels.

    Attributes:
        encodings: the tokens of all texts.
        rows: (n,), int64, the texts that are examples.
        target: a label of each text (m, ...); None if there are none, or one for each token.
        classes: number of classes; None if the labels are no class numbers.
        names: of the classes in the order of their numbers; () if they are not known.
    """

    encodings: Encodings | TokenRows
    rows: Tensor
    target: Tensor | None = None
    classes: int | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Tensor | None:
        """The labels (n, ...) of the texts; None if there are none, or if tokens have them."""
        return None if self.target is None else self.target[self.rows]

    @property
    def groups(self) -> Tensor | None:
        """None, as texts of any lengths share a batch."""
        return None

    def batch(self, index: Tensor | slice) -> dict[str, Tensor]:
        """The texts at `index`: a dict of (n, length), int64, with "labels" if there are any."""
        rows = self.rows[index]
        found = padded([self.encodings.row(row) for row in rows.tolist()], self.encodings.tokenizer)
        if self.target is not None:
            found["labels"] = self.target[rows]
        return found

    def part(self, index: Tensor) -> Texts:
        """The texts at `index` alone."""
        return replace(self, rows=self.rows[index])


@dataclass(frozen=True, eq=False)
class Blocks:
    """Running text, cut into blocks of one length.

    Attributes:
        tokens: (m,), int32, the tokens of all blocks.
        block: the length of a block; the last may be shorter.
        padding: the number of the padding token.
        rows: (n,), int64, the blocks that are examples.
    """

    tokens: Tensor
    block: int
    padding: int
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Tensor | None:
        """None; a batch has a label for each token."""
        return None

    @property
    def classes(self) -> int | None:
        """None, as tokens are counted by the network's vocabulary."""
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """No names."""
        return ()

    @property
    def groups(self) -> Tensor | None:
        """None, as blocks of any lengths share a batch."""
        return None

    def batch(self, index: Tensor | slice) -> dict[str, Tensor]:
        """The blocks at `index`: input_ids, attention_mask and labels (n, length), int64.

        Labels equal the tokens; padding has the label -100.
        """
        parts = [self.tokens[row * self.block :][: self.block] for row in self.rows[index].tolist()]
        length = max(map(len, parts))
        ids = torch.full((len(parts), length), self.padding, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for number, part in enumerate(parts):
            ids[number, : len(part)] = part
            mask[number, : len(part)] = 1
        labels = ids.masked_fill(mask == 0, IGNORED)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def part(self, index: Tensor) -> Blocks:
        """The blocks at `index` alone."""
        return replace(self, rows=self.rows[index])


def cut_into_blocks(
    tokenizer: Any,
    texts: Sequence[str],
    block: int,
    stop: int | None,
    nothing: Callable[[], DataError],
) -> Blocks:
    """Texts one after the other, in blocks.

    A text ends with the token of the text's end, if the tokenizer has one. Texts behind the last
    block that is wanted are not tokenized.

    Args:
        tokenizer: a tokenizer of transformers.
        texts: the texts.
        block: tokens in a block, at least 2.
        stop: one past the last block that is wanted; None takes all.
        nothing: makes the error for texts of fewer than two tokens.

    Raises:
        DataError: as `nothing` makes it.
    """
    end = getattr(tokenizer, "eos_token_id", None)
    parts: list[np.ndarray[Any, np.dtype[np.int32]]] = []
    count = 0
    for start in range(0, len(texts), CHUNK):
        if stop is not None and count >= stop * block:
            break
        try:
            found = tokenizer(list(texts[start : start + CHUNK]), verbose=False)["input_ids"]
        except (TypeError, UnicodeError) as error:
            raise DataError(
                f"The tokenizer takes none of the texts {start} to {start + CHUNK} (counted from"
                f" 0: {str(error)[:100]}); look for half a character in them."
            ) from error
        for ids in found:
            ended = end is None or (bool(ids) and ids[-1] == end)
            parts.append(np.asarray(ids if ended else [*ids, end], dtype=np.int32))
            count += len(parts[-1])
    tokens = torch.from_numpy(np.concatenate([np.zeros(0, dtype=np.int32), *parts]))
    if stop is not None:
        tokens = tokens[: stop * block]
    if len(tokens) % block == 1:  # a block of one token predicts nothing
        tokens = tokens[:-1]
    if len(tokens) < 2:
        raise nothing()
    rows = torch.arange(-(-len(tokens) // block))
    return Blocks(tokens, block, padding_number(tokenizer), rows)
