"""A merge as a checked document: written beside every result, and enough to make it again."""

from onefold.recipe.document import DataPart, EvaluationPart, InputFile, Record
from onefold.recipe.merge.document import AlignPart, FoldPart, Recipe, check, read
from onefold.recipe.reading import absolute, check_data, relative, text_of

__all__ = [
    "AlignPart",
    "DataPart",
    "EvaluationPart",
    "FoldPart",
    "InputFile",
    "Recipe",
    "Record",
    "absolute",
    "check",
    "check_data",
    "read",
    "relative",
    "text_of",
]
