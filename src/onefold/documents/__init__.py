"""Checked documents: parts with keys, methods with their settings, and one sentence per problem.

Nothing here knows what a document is about. `recipe` makes documents of these parts, and `cli`
commands of their options.
"""

from onefold.documents.part import Flag, InputFile, NamePatterns, Part
from onefold.documents.problems import Source, WrongKey
from onefold.documents.reading import checked, parsed, read_yaml
from onefold.documents.settings import OneOf, described_fields, keys_of

__all__ = [
    "Flag",
    "InputFile",
    "NamePatterns",
    "OneOf",
    "Part",
    "Source",
    "WrongKey",
    "checked",
    "described_fields",
    "keys_of",
    "parsed",
    "read_yaml",
]
