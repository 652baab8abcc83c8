"""The plan for the vocabularies of a merge, or why there can be none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from onefold.checkpoints.document import Reference, Tokenizer
from onefold.checkpoints.vocabulary.content import (
    NoTokenizerError,
    UnreadableTokenizerError,
    Vocabulary,
)
from onefold.checkpoints.vocabulary.deciding import Decided, decided
from onefold.checkpoints.vocabulary.differing import named
from onefold.checkpoints.vocabulary.filling import Filling
from onefold.checkpoints.vocabulary.plan import VocabularyPlan
from onefold.checkpoints.vocabulary.reading import LIMIT, Read, vocabulary_of
from onefold.checkpoints.vocabulary.undecided import Undecided, rows_of
from onefold.checkpoints.vocabulary.unreadable import model_digest
from onefold.errors import MembersError, SettingError
from onefold.printable import counted


def plan_vocabulary(
    folders: Mapping[Reference, Path],
    members: Sequence[Reference],
    base: Reference | None,
    decision: Tokenizer | None,
    rows: Mapping[Reference, int],
    *,
    by_number: bool = False,
) -> VocabularyPlan:
    """What becomes of the vocabularies of models that are merged.

    Args:
        folders: the folder of each model that is merged or that `decision` names.
        members: the models that are merged, as they are listed.
        base: the model that they stem from; None: there is none.
        decision: how tokenizers become one; None: it was not said, and they must be equal.
        rows: the rows of each model's embedding, from its headers. A model that is left out has
            the `vocab_size` of its config, or as many rows as tokens.
        by_number: without a decision, rows of different tokens are merged by their number, as
            mergekit does, with a warning.

    Raises:
        MembersError: the tokens differ without a decision, the vocabularies do not fit together,
            or a tokenizer has tokens beyond the rows of its model.
        SettingError: the decision names a token or a row that is not there.
        WeightsError: a file is missing or broken, or of a form that cannot be read.
    """
    order = ([base] if base is not None and base in members else []) + list(members)
    order = list(dict.fromkeys(order))
    found: dict[Reference, Vocabulary] = {}
    read = Read()
    unread: dict[Reference, NoTokenizerError | UnreadableTokenizerError] = {}
    for model in dict.fromkeys([*order, *(folders if decision is not None else ())]):
        try:
            found[model] = vocabulary_of(folders[model], rows.get(model), read=read)
        except (NoTokenizerError, UnreadableTokenizerError) as error:
            unread[model] = error
    _take_equal(found, unread, rows)
    undecided = Undecided(order, found, unread, rows, folders, by_number)
    if decision is None:
        kept = undecided.plan()
        if kept is not None:
            return kept
        all_of = undecided.completed()
        first = order[0] if order[0] in found else next(iter(found))
        plan = _plan(order, all_of, base, None, Decided(first, dict(found[first].tokens)))
        return dataclasses.replace(plan, notes=(*undecided.notes(), *plan.notes))
    if unread:
        if decision.pad_to_multiple_of is None and not decision.tokens and undecided.all_equal():
            return undecided.unread_plan()
        raise next(iter(unread.values()))
    return _plan(order, found, base, decision, decided(order, found, base, decision))


def _take_equal(
    found: dict[Reference, Vocabulary],
    unread: dict[Reference, NoTokenizerError | UnreadableTokenizerError],
    rows: Mapping[Reference, int],
) -> None:
    """Give a model whose tokens are not read those of a model with an equal tokenizer.model."""
    for model, error in list(unread.items()):
        if not isinstance(error, UnreadableTokenizerError):
            continue
        for one in list(found.values()):
            if model_digest(one.folder) == error.digest:
                found[model] = dataclasses.replace(one, rows=rows.get(model, one.rows))
                del unread[model]
                break


def _plan(
    order: Sequence[Reference],
    found: Mapping[Reference, Vocabulary],
    base: Reference | None,
    decision: Tokenizer | None,
    result: Decided,
) -> VocabularyPlan:
    known = {model: dataclasses.replace(one, rows=rows_of(one)) for model, one in found.items()}
    for model, one in known.items():
        beyond = one.beyond()
        if beyond and model in order:
            raise MembersError(
                f"The tokenizer of {model} has {counted(len(beyond), 'token')} beyond the"
                f" {one.rows:,} rows of its embedding ({named(beyond)}); resize the"
                " embedding of that model, or give it the tokenizer that it was trained with."
            )
    size = _size(known[result.donor], result.tokens, decision)
    filling = Filling(
        result.tokens,
        size,
        {model: known[model] for model in order},
        base if base in order else None,
        result.rows,
        result.forced,
    )
    members = {model: filling.rows_of(model) for model in order}
    owned = set().union(*(known[model].tokens for model in order))
    zeros = [one for one in result.tokens.keys() - owned if one not in result.rows]
    zeros.sort(key=result.tokens.__getitem__)
    warnings = list(result.warnings)
    if zeros:
        warnings.append(
            f"No model has {len(zeros):,} of the tokens ({named(zeros)}), so that their rows are"
            " zeros; give them a source under 'tokenizer: tokens'."
        )
    return VocabularyPlan(
        result.tokens,
        size,
        result.donor,
        found[result.donor].folder,
        result.additions,
        members,
        known,
        tuple(warnings),
        tuple(result.notes),
    )


def _size(donor: Vocabulary, tokens: Mapping[str, int], decision: Tokenizer | None) -> int:
    """The rows of the result: the donor's with its padding, unless the decision names a multiple.

    A multiple counts from the tokens, as mergekit counts: 1 removes all padding.
    """
    needed = max(tokens.values()) + 1
    multiple = decision.pad_to_multiple_of if decision is not None else None
    if multiple is not None:
        if not 0 < multiple <= LIMIT:
            raise SettingError(
                f"pad_to_multiple_of is {multiple}; write a whole number from 1 to {LIMIT}."
            )
        return -(-needed // multiple) * multiple
    return max(needed, rows_of(donor))
