"""Texts in tables (`text:FILE` or `text:DIR`): csv, tsv, jsonl, parquet, or lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onefold.sources.data import Request, checks, data_sources
from onefold.sources.delimited import OPTIONS as READING
from onefold.sources.delimited import Columns, form_of, read_columns
from onefold.sources.names import check_options
from onefold.sources.split_files import check_place, other_file, split_files
from onefold.sources.table_formats import Form, open_table
from onefold.sources.text_columns import OPTIONS, Column, Split, check_columns, examples
from onefold.sources.texts import Blocks, Texts

SIDES = ("train", "test")  # options that name the file of the other split


@dataclass(frozen=True)
class FileTable:
    """The rows of files that follow each other.

    Attributes:
        files: the files.
        form: how they are read.
    """

    files: tuple[Path, ...]
    form: Form

    def names(self) -> tuple[str, ...]:
        """The names of all columns."""
        return open_table(self.files[0], self.form, self.form.header is not False).names

    def read(self, wanted: Sequence[Column], start: int, stop: int | None) -> Columns:
        """Columns of the rows from `start` to `stop`."""
        return read_columns(self.files, wanted, self.form, start, stop)

    def class_names(self, column: Column) -> tuple[str, ...]:
        """None; a table tells no names."""
        return ()


@data_sources.register("text:")
def text(request: Request) -> Texts | Blocks:
    """Texts in tables (text:FILE or text:DIR) and a tokenizer's folder; options below.

    `tokenizer` is the folder of the model. `text` names the column of texts, `text2` that of second
    texts, `label` that of labels; without `label` there are none. Columns are given by name, or by
    number from 0 where a file has no header. Files are .csv, .tsv, .jsonl, .json, .parquet, or .txt
    of a text a line. DIR holds train.csv, test.csv and so on; for a FILE `test=FILE` (or
    `train=FILE`) names the other split, or `test_share=0.2` holds out a share of the rows, drawn by
    `seed` (0). `encoding`, `delimiter`, `header=true` and `quotes=true` say how a file is read.

    Whole numbers are class numbers, unless `regression=true`; other numbers are those of a
    regression; names are numbered by their order in the training split's sorted names, or by
    `classes=NAME,NAME`. `label=a,b` takes several columns: classes of 0 and 1, or numbers. Lists
    are several classes at once, or, where the text is a list of words, the words' labels.

    A batch is a dict: input_ids and attention_mask (n, length), int64, padded to its longest text,
    and labels. Texts longer than `max_length`, or than the tokenizer's limit, are cut.
    `block=128` joins all texts, and cuts them into blocks whose labels are the tokens themselves.

    Raises:
        DataError: a file, a column or the tokenizer is missing or damaged; a row is unfit.
        SettingError: an option is unknown or impossible, or transformers is missing.
    """
    form = checked(request)
    found = split_files(request)
    training = FileTable(found.training, form) if found.training else None
    lacking = "name the file of the test split by test="
    return examples(request, Split(FileTable(found.files, form), training, found.whole, lacking))


def checked(request: Request) -> Form:
    """How the files of a request are read; nothing of them is read yet.

    Raises:
        SettingError: see `text`. DataError: a file, or the tokenizer's folder, is missing.
    """
    check_options(request.name, (*OPTIONS, *READING, *SIDES))
    form = form_of(request.name)
    check_columns(request)
    check_place(request)
    other_file(request)
    return form


checks["text:"] = checked
