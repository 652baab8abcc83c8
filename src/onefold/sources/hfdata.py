"""Data sets of the library `datasets` on disk (`hfdata:DIR`): texts, tokens, images or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onefold.errors import DataError, SettingError
from onefold.sources.arrays import Array, Arrays, as_tensor
from onefold.sources.data import Request, checks, data_sources
from onefold.sources.dataset_table import DatasetTable, dataset_split
from onefold.sources.delimited import Columns
from onefold.sources.held_out import check_share
from onefold.sources.images import OPTIONS as IMAGES
from onefold.sources.images import decode, image_options, normalization
from onefold.sources.names import check_options
from onefold.sources.text_columns import OPTIONS as TEXTS
from onefold.sources.text_columns import (
    Split,
    check_columns,
    chosen_columns,
    columns_in,
    examples,
    labels_of_rows,
)
from onefold.sources.texts import Blocks, Texts
from onefold.sources.tokenizing import TokenRows

OPTIONS = ("image", "inputs", *IMAGES, *TEXTS)
TOKENS = ("input_ids", "attention_mask", "token_type_ids")  # columns of texts that are tokens
LACKING = "save a DatasetDict that has one"


@data_sources.register("hfdata:")
def hfdata(request: Request) -> Texts | Blocks | Arrays:
    """Data sets of the library datasets, as save_to_disk writes them (hfdata:DIR); options below.

    DIR holds a DatasetDict with splits, or a Dataset, which is the train split; `test_share=0.2`
    holds out a share of its rows, drawn by `seed` (0). `label` names the column of labels, or
    several (`label=a,b`); without it there are none. Classes are numbered and named as the data set
    has them; `classes`, `regression` and lists of labels are as those of text.

    What the inputs are: with `tokenizer=FOLDER`, the column `text` (and `text2`), as those of text,
    with its options `max_length` and `block`. With `image=COLUMN`, or where there is one column of
    images alone, images (n, c, h, w), with the options of imagefolder. With `inputs=a,b`, columns
    of numbers (n, 2) float32, or of lists of one length. A column `input_ids` is taken for texts
    that are tokens already, padded to the longest of a batch; its column `labels`, if it holds
    lists, has a label for each token.

    Raises:
        DataError: there is no data set, split or column of that name, or a row is unfit.
        SettingError: an option is unknown or impossible, or the package datasets is missing.
    """
    checked(request)
    found = dataset_split(request)
    options, table = request.name.options, found.table
    split = Split(table, found.training, found.whole, LACKING)
    if any(option in options for option in ("tokenizer", "text", "block")):
        check_columns(request)
        return examples(request, split)
    if "inputs" in options:
        return _numbers(request, split)
    if "image" not in options and "input_ids" in table.names():
        return _tokens(request, split, table)
    return _images(request, table, split)


def checked(request: Request) -> None:
    """Refuse what is wrong before anything is read.

    Raises:
        SettingError: see `hfdata`. DataError: a folder is missing.
    """
    check_options(request.name, OPTIONS)
    check_share(request)
    image_options(request.name)
    request.folder()
    if any(option in request.name.options for option in ("tokenizer", "text", "block")):
        check_columns(request)


def _tokens(request: Request, split: Split, table: DatasetTable) -> Texts:
    """Texts that are tokens already."""
    keys = [key for key in TOKENS if key in table.names()]
    given = columns_in(request.name, "label")
    words = not given and "labels" in table.names()
    columns = chosen_columns(request, split, [*keys, *(["labels"] if words else given)])
    if words and not isinstance(columns.values[-1][0], list):
        words = False  # one label for each text, which `label=labels` would ask for
    every = [*keys, *(["labels"] if words else [])]
    rows = []
    for row in range(len(columns)):
        found = {key: columns.values[k][row] for k, key in enumerate(every)}
        lengths = {len(value) if isinstance(value, list) else -1 for value in found.values()}
        if len(lengths) != 1 or lengths & {0, -1}:
            raise DataError(
                f"The lists {', '.join(every)} in {columns.where(row)} are empty or of unequal"
                " lengths; give each token one entry in each."
            )
        found.setdefault("attention_mask", [1] * len(found["input_ids"]))
        rows.append({key: np.asarray(value, dtype=np.int32) for key, value in found.items()})
    texts = Texts(TokenRows(rows), torch.arange(len(rows)))
    if not given:
        return texts
    target = labels_of_rows(request, split, columns, given, len(keys))
    return replace(texts, target=target.values, classes=target.classes, names=target.names)


def _images(request: Request, table: DatasetTable, split: Split) -> Arrays:
    """Images, as those of other sources."""
    wanted = columns_in(request.name, "image")
    pictures = [name for name in table.names() if table.is_image(name)]
    if not wanted and len(pictures) != 1:
        raise DataError(
            f"What the inputs of '{request.name.text}' are is not told; add image=COLUMN,"
            " inputs=COLUMN,COLUMN for numbers, or text=COLUMN and tokenizer=FOLDER; its columns"
            f" are {', '.join(table.names()[:12])}."
        )
    image = table.column(wanted[0]) if wanted else pictures[0]
    if image not in pictures:
        raise DataError(
            f"The column '{image}' of '{request.name.text}' holds no images; cast it with"
            " datasets.Image(), or name another."
        )
    labels = columns_in(request.name, "label")
    channels, size = image_options(request.name)
    encoded = replace(split, table=table.encoded())
    columns = chosen_columns(request, encoded, [image, *labels])
    sources = [_file(value, columns.where(k)) for k, value in enumerate(columns.values[0])]
    inputs = decode(sources, lambda k: f"The image in {columns.where(k)}", channels, size)
    mean, std = normalization(request.name, channels, min(inputs.shape[-2:]))
    array = Array(inputs, f"The images of '{request.name.text}'", True, mean, std)
    return _arrays((array,), request, encoded, columns, labels, 1)


def _file(value: Any, where: str) -> bytes | Path:
    """The encoded image of a cell."""
    if isinstance(value, dict) and value.get("bytes") is not None:
        return bytes(value["bytes"])
    if isinstance(value, dict) and value.get("path"):
        return Path(value["path"])
    raise DataError(f"The image is missing in {where}; leave the row out.")


def _numbers(request: Request, split: Split) -> Arrays:
    """Columns of numbers: all single numbers together, and every column of lists for itself."""
    wanted, labels = columns_in(request.name, "inputs"), columns_in(request.name, "label")
    if not wanted:
        raise SettingError(f"The option 'inputs' of '{request.name.text}' names no column.")
    columns = chosen_columns(request, split, [*wanted, *labels])
    single: list[Any] = []
    arrays: list[Array] = []
    for name, values in zip(wanted, columns.values, strict=False):
        text = f"The column '{name}' of '{request.name.text}'"
        try:
            given = np.asarray(values)
        except ValueError:
            raise DataError(
                f"{text} holds lists of unequal lengths; give all one length."
            ) from None
        found = as_tensor(given, text)
        if found.dim() == 1:
            single.append(found.float())
        else:
            arrays.append(Array(found, text))
    if single:
        together = Array(torch.stack(single, 1), f"The inputs of '{request.name.text}'")
        arrays.insert(0, together)
    return _arrays(tuple(arrays), request, split, columns, labels, len(wanted))


def _arrays(
    inputs: tuple[Array, ...],
    request: Request,
    split: Split,
    columns: Columns,
    labels: Sequence[str | int],
    before: int,
) -> Arrays:
    """Inputs with their labels, which stand behind `before` other columns."""
    rows = torch.arange(len(columns))
    checked_inputs = tuple(array.checked(rows) for array in inputs)
    if not labels:
        return Arrays(checked_inputs, None, rows)
    target = labels_of_rows(request, split, columns, labels, before)
    array = Array(target.values, f"The labels of '{request.name.text}'")
    return Arrays(checked_inputs, array, rows, (), target.classes, target.names)


checks["hfdata:"] = checked
