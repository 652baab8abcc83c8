"""The tokens of the result as a document decides them, and the rows that it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onefold.checkpoints.document import Reference, Token, Tokenizer, TokenOf
from onefold.checkpoints.vocabulary.content import Vocabulary
from onefold.checkpoints.vocabulary.differing import named
from onefold.checkpoints.vocabulary.filling import Rows
from onefold.checkpoints.vocabulary.plan import Addition
from onefold.errors import MembersError, SettingError, WeightsError, nearest
from onefold.printable import counted

NEW = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
SHARED = 0.5  # models of one origin share more of their tokens


@dataclass
class Decided:
    """The tokens of the result.

    Attributes:
        donor: the model whose tokenizer files are written.
        tokens: the number of each token.
        additions: the tokens that the donor has not.
        rows: the rows that the document names, by token; no rows are zeros.
        forced: the tokens whose row is replaced in all models.
        warnings: what will surprise.
        notes: what was decided.
    """

    donor: Reference
    tokens: dict[str, int]
    additions: dict[str, Addition] = field(default_factory=dict)
    rows: dict[str, Rows] = field(default_factory=dict)
    forced: frozenset[str] = frozenset()
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def decided(
    order: Sequence[Reference],
    found: Mapping[Reference, Vocabulary],
    base: Reference | None,
    decision: Tokenizer,
) -> Decided:
    """The tokens of the result.

    Args:
        order: the models that are merged, the base first.
        found: the vocabularies of all models that the document names.
        base: the base; None: there is none.
        decision: what the document says of the tokenizer.

    Raises:
        MembersError: tokenizers of different kinds cannot be united.
        SettingError: the document names a base, a token or a row that is not there.
        WeightsError: numbers of the donor have gaps, so that none can be added behind them.
    """
    donor = _donor(order, base, decision)
    result = Decided(donor, dict(found[donor].tokens))
    if decision.source == "union":
        for model in order:
            _unite(result, model, found[model])
        _check_kinds(result, found)
    for token, one in decision.tokens.items():
        if token not in result.tokens:
            result.additions[token] = Addition(
                len(result.tokens), _entry(token, order, found), None
            )
            result.tokens[token] = len(result.tokens)
        if one.source is not None:
            result.rows[token] = _rows(token, one, found)
    result.forced = frozenset(token for token, one in decision.tokens.items() if one.force)
    _check_gaps(result, found[donor])
    _tell(result, order, found)
    return result


def _donor(order: Sequence[Reference], base: Reference | None, decision: Tokenizer) -> Reference:
    if isinstance(decision.source, Reference):
        return decision.source
    if base is not None and base in order:
        return base
    if decision.source == "base":
        raise SettingError(
            "The tokenizer is to be that of the base, and there is no base_model; write one, or"
            " name a model as the tokenizer's source."
        )
    return order[0]


def _unite(result: Decided, model: Reference, vocabulary: Vocabulary) -> None:
    """Add the tokens of one model behind those that are there, in the order of their numbers."""
    new = vocabulary.tokens.keys() - result.tokens.keys()
    for token in sorted(new, key=vocabulary.tokens.__getitem__):
        number = len(result.tokens)
        result.additions[token] = Addition(number, _entry_in(token, vocabulary), model)
        result.tokens[token] = number


def _entry(
    token: str, order: Iterable[Reference], found: Mapping[Reference, Vocabulary]
) -> Mapping[str, Any]:
    """The entry of a token that the document adds: that of a model that has it, or a new one."""
    for model in order:
        if (entry := _entry_in(token, found[model])) is not None:
            return entry
    return {"content": token, **NEW, "special": False}


def _entry_in(token: str, vocabulary: Vocabulary) -> Mapping[str, Any] | None:
    if token in vocabulary.added:
        return vocabulary.added[token]
    if token in vocabulary.special:
        return {"content": token, **NEW, "special": True}
    return None


def _rows(token: str, one: Token, found: Mapping[Reference, Vocabulary]) -> Rows:
    """The row that the document names for a token."""
    if one.source == "zero" or one.source is None:
        return ()
    wanted = one.source if isinstance(one.source, TokenOf) else TokenOf(one.source, token)
    vocabulary = found[wanted.model]
    number = wanted.token_id
    if number is None:
        text = wanted.token or ""
        if text not in vocabulary.tokens:
            near = nearest(
                text, list(vocabulary.special) or list(vocabulary.added), "write another."
            )
            raise SettingError(
                f"The row of the token {token!r} is to be that of {text!r} in {wanted.model},"
                f" which has no such token; {near}"
            )
        number = vocabulary.tokens[text]
    rows = vocabulary.size if vocabulary.rows is None else vocabulary.rows
    if number >= rows:
        raise SettingError(
            f"The row of the token {token!r} is to be row {number} of {wanted.model}, whose"
            f" embedding has {counted(rows, 'row')}; write a number below that."
        )
    return ((wanted.model, number),)


def _check_kinds(result: Decided, found: Mapping[Reference, Vocabulary]) -> None:
    kind = found[result.donor].kind
    for token, one in result.additions.items():
        other = found[one.owner].kind if one.owner is not None else kind
        if one.entry is None and other != kind:
            raise MembersError(
                f"The tokenizers of {result.donor} ({kind}) and {one.owner} ({other}) cut words in"
                f" different ways, so that pieces such as {token!r} cannot be united; write"
                " 'tokenizer_source: base' or one of the models."
            )


def _check_gaps(result: Decided, donor: Vocabulary) -> None:
    if result.additions and donor.gaps:
        raise WeightsError(
            f"The numbers of the tokens in {donor.folder} have {counted(len(donor.gaps), 'gap')}"
            f" (the first is {donor.gaps[0]}), so that no token can be added behind them; save its"
            " tokenizer again without gaps, or take the tokenizer of one model."
        )


def _tell(
    result: Decided, order: Sequence[Reference], found: Mapping[Reference, Vocabulary]
) -> None:
    pieces = [token for token, one in result.additions.items() if one.entry is None]
    whole = [token for token, one in result.additions.items() if one.entry is not None]
    donor = result.donor
    if whole:
        result.notes.append(
            f"The tokenizer of {donor} gets {counted(len(whole), 'added token')} ({named(whole)})."
        )
    if pieces:
        result.warnings.append(
            f"The tokenizer of {donor} gets {counted(len(pieces), 'piece')} of words"
            f" ({named(pieces)}), so that texts may be cut into other tokens than those each model"
            " learned from; 'tokenizer_source: base' keeps them as the base cuts them."
        )
    for model in order:
        own = found[model].tokens
        lost = sorted(own.keys() - result.tokens.keys(), key=own.__getitem__)
        if lost:
            result.notes.append(
                f"{model} loses {counted(len(lost), 'token')} that the result has not"
                f" ({named(lost)})."
            )
        shared = len(own.keys() & found[donor].tokens.keys()) / len(own)
        if shared < SHARED:
            result.warnings.append(
                f"{model} shares {shared:.0%} of its tokens with {donor}; models of one origin"
                " share nearly all, so these are hardly fine-tunes of one base."
            )
