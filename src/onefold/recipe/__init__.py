"""Recipes: checked documents, written beside every result, that make its bits again."""

from onefold.documents.part import InputFile
from onefold.documents.record import Record
from onefold.recipe.document import DataPart, EvaluationPart
from onefold.recipe.merge.document import Recipe, check, read
from onefold.recipe.reading import absolute, relative, text_of

__all__ = [
    "DataPart",
    "EvaluationPart",
    "InputFile",
    "Recipe",
    "Record",
    "absolute",
    "check",
    "read",
    "relative",
    "text_of",
]
