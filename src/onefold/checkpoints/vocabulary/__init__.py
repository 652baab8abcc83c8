"""Vocabularies of models that are merged: read, brought to one, and written.

vocabulary_of    the tokens of a model folder, from its tokenizer files
plan_vocabulary  the tokens of the result, and where each model's rows are from
write_tokenizer  the tokenizer files of the result
chosen_template  the chat template of the result
with_vocabulary  a config with the numbers of the result
row_map.mapped   a model's tensor with the rows of the result; it alone imports torch
"""

from onefold.checkpoints.vocabulary.content import (
    NoTokenizerError,
    UnreadableTokenizerError,
    Vocabulary,
)
from onefold.checkpoints.vocabulary.differing import difference
from onefold.checkpoints.vocabulary.numbers import with_vocabulary
from onefold.checkpoints.vocabulary.plan import Addition, Fill, MemberRows, VocabularyPlan
from onefold.checkpoints.vocabulary.planning import plan_vocabulary
from onefold.checkpoints.vocabulary.reading import vocabulary_of
from onefold.checkpoints.vocabulary.templates import chosen_template, own_template
from onefold.checkpoints.vocabulary.writing import tokenizer_files, write_tokenizer

__all__ = [
    "Addition",
    "Fill",
    "MemberRows",
    "NoTokenizerError",
    "UnreadableTokenizerError",
    "Vocabulary",
    "VocabularyPlan",
    "chosen_template",
    "difference",
    "own_template",
    "plan_vocabulary",
    "tokenizer_files",
    "vocabulary_of",
    "with_vocabulary",
    "write_tokenizer",
]
