"""Texts to token numbers, by a tokenizer of the package transformers in a local folder.

Each text is tokenized once, when it is first needed, in chunks. Batches are padded to their longest
text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onefold.errors import DataError, SettingError
from onefold.sources.names import Name
from onefold.weights import check_ordinary

CHUNK = 512  # texts that are tokenized together
LONGEST = 10**6  # tokens; a tokenizer that names a larger limit has none
FILES = ("tokenizer.json", "vocab*", "*.model", "*.spm", "*.vocab", "merges.txt", "tekken.json")
IGNORED = -100  # the label of a token that is not scored


def load_tokenizer(name: Name) -> Any:
    """The tokenizer in the folder that the option `tokenizer` of a source names.

    Nothing is downloaded and no code in the folder is run.

    Raises:
        SettingError: the option is missing, or the package transformers.
        DataError: there is no such folder, or no tokenizer in it that can be read.
    """
    folder = tokenizer_folder(name)
    try:
        import transformers
    except ImportError:
        raise SettingError(
            f"The data source '{name.text}' needs the package transformers; install it with: pip"
            ' install "onefold[hf]".'
        ) from None
    try:
        return transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # it fails in any way on files that are damaged
        reason = str(error).strip().split("\n")[0][:150].rstrip(".") or type(error).__name__
        raise DataError(
            f"The tokenizer in {folder} cannot be read ({reason}); save it again with"
            " tokenizer.save_pretrained."
        ) from None


def tokenizer_folder(name: Name) -> Path:
    """The folder of the option `tokenizer`, which holds a tokenizer's files.

    Raises:
        SettingError: the option is missing.
        DataError: there is no such folder, or no tokenizer in it.
    """
    given = name.options.get("tokenizer")
    if given is None:
        raise SettingError(
            f"The data source '{name.text}' needs tokenizer=FOLDER, the folder of the model whose"
            " tokenizer makes numbers of its texts."
        )
    folder = Path(str(given)).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"The tokenizer's folder {folder} of '{name.text}' does not exist; give the folder of"
            " the model."
        )
    found = next((file for pattern in FILES for file in folder.glob(pattern)), None)
    if found is None:
        raise DataError(
            f"The folder {folder} of '{name.text}' holds no tokenizer; save it there with"
            " tokenizer.save_pretrained."
        )
    check_ordinary(found)
    return folder


def check_length(name: Name, option: str = "max_length", least: int = 2) -> int | None:
    """A number of tokens that an option gives; None without it.

    Raises:
        SettingError: it is no whole number, or too small.
    """
    value = name.options.get(option)
    if value is None or (type(value) is int and value >= least):
        return value
    raise SettingError(
        f"The option '{option}' of '{name.text}' must be a whole number of at least {least}, not"
        f" {value!r}."
    )


@dataclass(eq=False)
class Encodings:
    """The tokens of texts, made when they are first asked for.

    Attributes:
        tokenizer: a tokenizer of transformers.
        texts: texts, or lists of words.
        pairs: the second texts; None if there are none.
        max_length: tokens beyond which a text is cut; None: the tokenizer's own limit.
        where: says where a text is, for errors.
        labels: of each word of lists of words; None: no labels of words.
    """

    tokenizer: Any
    texts: Sequence[str] | Sequence[Sequence[str]]
    pairs: Sequence[str] | None
    max_length: int | None
    where: Callable[[int], str]
    labels: Sequence[Sequence[int]] | None = None
    _chunks: dict[int, list[dict[str, NDArray[np.int32]]]] = field(default_factory=dict)

    def row(self, index: int) -> dict[str, NDArray[np.int32]]:
        """The tokens of a text: `input_ids` and what else the tokenizer gives."""
        number, place = divmod(index, CHUNK)
        if number not in self._chunks:
            self._chunks[number] = self._encode(number * CHUNK)
        return self._chunks[number][place]

    def _encode(self, start: int) -> list[dict[str, NDArray[np.int32]]]:
        texts = self.texts[start : start + CHUNK]
        pairs = None if self.pairs is None else self.pairs[start : start + CHUNK]
        words = not isinstance(texts[0], str)
        limit = self.max_length or self.tokenizer.model_max_length
        cut = {"truncation": True, "max_length": limit} if limit <= LONGEST else {}
        more = {} if pairs is None else {"text_pair": list(pairs)}
        try:
            found = self.tokenizer(
                list(texts), **more, **cut, is_split_into_words=words, verbose=False
            )
        except (TypeError, UnicodeError) as error:
            raise DataError(self._unreadable(start, error)) from error
        # Zeros are what networks take without the key, and some take no such key.
        keys = [
            key for key in found if key != "token_type_ids" or any(any(row) for row in found[key])
        ]
        if self.pairs is not None and "token_type_ids" in found:
            keys = list(found)
        rows = []
        for index in range(len(texts)):
            row = {key: np.asarray(found[key][index], dtype=np.int32) for key in keys}
            if not len(row["input_ids"]):
                raise DataError(
                    f"The text in {self.where(start + index)} gives no token; leave the row out."
                )
            if self.labels is not None:
                row["labels"] = self._word_labels(found, index, self.labels[start + index])
            rows.append(row)
        return rows

    def _unreadable(self, start: int, error: Exception) -> str:
        """Which of the texts from `start` on the tokenizer does not take, as a sentence."""
        for row in range(start, min(start + CHUNK, len(self.texts))):
            parts = [self.texts[row], *([] if self.pairs is None else [self.pairs[row]])]
            try:
                "".join("".join(part) for part in parts).encode()
            except UnicodeEncodeError:
                return f"The text in {self.where(row)} holds half a character; put it right."
        return f"The tokenizer failed on the texts ({str(error)[:150]}); check them."

    def _word_labels(self, found: Any, row: int, labels: Sequence[int]) -> NDArray[np.int32]:
        """The label of each word at its first token; IGNORED at all other tokens."""
        last, result = None, []
        for word in found.word_ids(row):
            result.append(IGNORED if word is None or word == last else labels[word])
            last = word
        return np.asarray(result, dtype=np.int32)


@dataclass(frozen=True)
class TokenRows:
    """Texts that are tokens already, padded on the right with 0.

    Attributes:
        rows: `input_ids` and what else there is of each text.
    """

    rows: Sequence[dict[str, NDArray[np.int32]]]
    padding_side: str = "right"
    pad_token_id: int = 0

    @property
    def tokenizer(self) -> TokenRows:
        """What says how to pad: these themselves."""
        return self

    def row(self, index: int) -> dict[str, NDArray[np.int32]]:
        """The tokens of a text."""
        return self.rows[index]


def padded(rows: Sequence[dict[str, NDArray[np.int32]]], tokenizer: Any) -> dict[str, Tensor]:
    """A batch of tokens (n, length), int64, padded to the longest text.

    Args:
        rows: the tokens of each text.
        tokenizer: says the number and the side of the padding.
    """
    length = max(len(row["input_ids"]) for row in rows)
    left = tokenizer.padding_side == "left"
    keys = list(dict.fromkeys(key for row in rows for key in row))
    fills = {
        "input_ids": padding_number(tokenizer),
        "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0) or 0,
        "labels": IGNORED,
    }
    batch = {}
    for key in keys:
        values = torch.full((len(rows), length), fills.get(key, 0), dtype=torch.int64)
        for number, row in enumerate(rows):
            own = torch.from_numpy(row.get(key, np.zeros_like(row["input_ids"])))
            place = slice(length - len(own), length) if left else slice(len(own))
            values[number, place] = own
        batch[key] = values
    if "attention_mask" not in batch:
        raise DataError("The tokenizer gives no attention_mask; use one that does.")
    return batch


def padding_number(tokenizer: Any) -> int:
    """The number of the padding token; that of the text's end if there is none, else 0."""
    for name in ("pad_token_id", "eos_token_id"):
        if isinstance(found := getattr(tokenizer, name, None), int):
            return found
    return 0
