"""Image data sets in parquet files, as the Hugging Face hub stores them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onefold.errors import DataError
from onefold.sources.class_names import OPTION, renumbered, wanted_classes
from onefold.sources.data import SPLIT_NAMES, Request, class_labels, data_sources, none_left
from onefold.sources.images import OPTIONS, decode, image_options, normalization
from onefold.sources.loader import Images
from onefold.sources.names import check_options

ROWS = 1024  # read from a file at a time
LABEL_NAMES = ("label", "labels", "fine_label", "class", "target", "y")


@data_sources.register("parquet:")
def parquet(request: Request) -> Images:
    """Parquet files (parquet:DIR); options image, label, mean, std, size, channels, classes.

    `image` and `label` are names of columns. Without them the columns are chosen by their types and
    usual names. The image column is a struct with the encoded file in `bytes`, or plain binary.
    Files are in DIR or DIR/data, named `train.parquet`, `train-*.parquet` or `train_*.parquet`, and
    likewise for the test split. Images are (n, channels, h, w) in 0..1 before `mean` and `std`.
    Without these, colors are normalized by the statistics of CIFAR-10 (up to 64 pixels) or
    ImageNet, grey by none.

    Raises:
        DataError: pyarrow is missing, there is no file for the split, a column is missing, or an
            image cannot be decoded.
        SettingError: an option is unknown or impossible.
    """
    check_options(request.name, (*OPTIONS, "image", "label", OPTION))
    channels, size = image_options(request.name)
    files = _files(request.folder(), request)
    wanted = wanted_classes(request.name, request.folder())
    pq = _pyarrow_parquet()
    try:
        opened = [pq.ParquetFile(file) for file in files]
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these
        raise DataError(
            f"A parquet file of '{request.name.text}' is damaged ({str(error).splitlines()[0]});"
            " download it again."
        ) from error
    image, label = _columns(opened[0].schema_arrow, files[0], request)
    blobs, labels, where = _rows(opened, files, image, label, request)
    inputs = decode(blobs, lambda i: f"Image {where(i)} of '{request.name.text}'", channels, size)
    known = _class_names(opened[0].schema_arrow, label)
    targets = class_labels(labels, request)
    classes = len(known) or 1 + _largest_label(opened, label)
    mean, std = normalization(request.name, channels, min(inputs.shape[-2:]))
    if wanted is not None:
        targets, known = renumbered(
            targets, known or [str(number) for number in range(classes)], wanted, request.name
        )
        classes = len(known)
    return Images(inputs, targets, classes, mean, std, known)


def _largest_label(opened: list[Any], label: str) -> int:
    """The largest label of all files, which reads their column of labels."""
    return max(
        int(max(file.read(columns=[label]).column(0).to_pylist(), default=0)) for file in opened
    )


def _pyarrow_parquet() -> Any:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(
            'Reading parquet files needs pyarrow; install it with: pip install "onefold[vision]".'
        ) from None
    return pq


def _files(folder: Path, request: Request) -> list[Path]:
    """The files of a split, in DIR or DIR/data, sorted."""
    for parent in (folder, folder / "data"):
        for name in SPLIT_NAMES[request.split]:
            patterns = (f"{name}.parquet", f"{name}-*.parquet", f"{name}_*.parquet")
            files = {file for pattern in patterns for file in parent.glob(pattern)}
            if files := {file for file in files if file.is_file()}:
                return sorted(files)
    raise DataError(
        f"The folder {folder} holds no {request.split}-*.parquet file for '{request.name.text}';"
        " check the folder and the split."
    )


def _columns(schema: Any, file: Path, request: Request) -> tuple[str, str]:
    """The names of the column of images and of the column of labels."""
    import pyarrow as pa

    def holds_images(field: Any) -> bool:
        if pa.types.is_struct(field.type):
            return "bytes" in [child.name for child in field.type]
        return bool(pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type))

    images = [field.name for field in schema if holds_images(field)]
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    labels = [name for name in LABEL_NAMES if name in integers] or integers
    chosen = []
    for option, candidates in (("image", images), ("label", labels)):
        wanted = request.name.options.get(option)
        if wanted is not None and wanted not in candidates + integers:
            raise DataError(
                f"{file} has no {option} column '{wanted}'; its columns are"
                f" {', '.join(schema.names)}."
            )
        if wanted is None and (not candidates or (len(candidates) > 1 and option == "image")):
            many = "more than one" if candidates else "no"
            raise DataError(
                f"{file} has {many} {option} column; its columns are {', '.join(schema.names)}, so"
                f" add ?{option}=COLUMN."
            )
        chosen.append(wanted if wanted is not None else candidates[0])
    return chosen[0], chosen[1]


def _rows(
    opened: list[Any], files: list[Path], image: str, label: str, request: Request
) -> tuple[list[bytes], list[int], Any]:
    """Encoded images and labels of the wanted rows, and a function that says where a row is.

    Whole files before `skip` and everything after the end stay unread.
    """
    total = sum(file.metadata.num_rows for file in opened)
    end = total if request.end is None else min(request.end, total)
    if request.skip >= total:
        raise none_left(request, total)
    blobs: list[bytes] = []
    labels: list[int] = []
    row = 0
    for file, path in zip(opened, files, strict=True):
        rows = file.metadata.num_rows
        if row + rows <= request.skip or row >= end:
            row += rows
            continue
        for batch in file.iter_batches(batch_size=ROWS, columns=[image, label]):
            begin, stop = max(request.skip - row, 0), min(end - row, batch.num_rows)
            row += batch.num_rows
            if begin >= stop:
                if row >= end:
                    break
                continue
            part = batch.slice(begin, stop - begin)
            column = part.column(part.schema.get_field_index(image))
            encoded = (column.field("bytes") if hasattr(column, "field") else column).to_pylist()
            if None in encoded:
                raise DataError(
                    f"{path} holds an image without bytes (a reference to another file); embed the"
                    " images in the parquet files."
                )
            blobs += encoded
            given = part.column(part.schema.get_field_index(label)).to_pylist()
            if None in given:
                raise DataError(
                    f"{path} holds a row without a label in column '{label}'; use another split."
                )
            labels += given
    return blobs, labels, lambda index: f"in row {request.skip + index}"


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """The class names in the data set's own description; () if it has none."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        names = described["info"]["features"][label]["names"]
        return tuple(map(str, names.values() if isinstance(names, dict) else names))
    except (KeyError, TypeError, ValueError):
        return ()
