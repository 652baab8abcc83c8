"""Merge documents: mergekit's configuration, read strictly or as mergekit reads it.

Importing this package imports no torch.
"""

from onefold.checkpoints.document.content import (
    Document,
    Entry,
    Finish,
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
from onefold.checkpoints.document.flags import document_of
from onefold.checkpoints.document.methods import finish_of, method_class
from onefold.checkpoints.document.order import needed_by, stands_for
from onefold.checkpoints.document.parameters import Values, position
from onefold.checkpoints.document.reading import (
    IgnoredSetting,
    documents_from,
    is_merge_document,
    parse_documents,
    read_documents,
)
from onefold.checkpoints.document.references import Located, locate
from onefold.checkpoints.document.slices import slices_of
from onefold.checkpoints.document.write import mergekit_yaml, record_of, yaml_of

__all__ = [
    "Document",
    "Entry",
    "Finish",
    "IgnoredSetting",
    "Input",
    "Located",
    "Module",
    "Place",
    "Reference",
    "Slice",
    "Token",
    "TokenOf",
    "Tokenizer",
    "Values",
    "check_filters",
    "document_of",
    "documents_from",
    "finish_of",
    "is_merge_document",
    "locate",
    "mergekit_yaml",
    "method_class",
    "needed_by",
    "parse_documents",
    "position",
    "read_documents",
    "record_of",
    "slices_of",
    "stands_for",
    "yaml_of",
]
