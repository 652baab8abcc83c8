"""Merge documents: mergekit's configuration, read strictly or as mergekit reads it.

Importing this package imports no torch.
"""

from onefold.checkpoints.document.content import (
    Document,
    Entry,
    Input,
    Module,
    Place,
    Reference,
    Slice,
    Token,
    Tokenizer,
    TokenOf,
)
from onefold.checkpoints.document.filters import check_filters
from onefold.checkpoints.document.order import needed_by, stands_for
from onefold.checkpoints.document.parameters import Values, position
from onefold.checkpoints.document.reading import (
    IgnoredSetting,
    is_merge_document,
    parse_documents,
    read_documents,
)
from onefold.checkpoints.document.slices import slices_of

__all__ = [
    "Document",
    "Entry",
    "IgnoredSetting",
    "Input",
    "Module",
    "Place",
    "Reference",
    "Slice",
    "Token",
    "TokenOf",
    "Tokenizer",
    "Values",
    "check_filters",
    "is_merge_document",
    "needed_by",
    "parse_documents",
    "position",
    "read_documents",
    "slices_of",
    "stands_for",
]
