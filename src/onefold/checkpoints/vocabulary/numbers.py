"""Numbers of tokens in config.json and generation_config.json, told again for the result."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from onefold.checkpoints.vocabulary.content import Vocabulary
from onefold.checkpoints.vocabulary.plan import VocabularyPlan

ENDINGS = ("_token_id", "_token_ids", "_token_index")
FURTHER = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids")
SIZE = "vocab_size"


def with_vocabulary(
    config: Mapping[str, Any], plan: VocabularyPlan, donor: Vocabulary | None
) -> tuple[dict[str, Any], list[str]]:
    """A config whose size of the vocabulary and numbers of tokens are those of the result.

    Args:
        config: the content of config.json or generation_config.json.
        plan: what becomes of the vocabularies.
        donor: the vocabulary of the model that the config is from; None: it could not be read.

    Returns:
        The config, and one sentence for each token that the result has not.
    """
    result: dict[str, Any] = copy.deepcopy(dict(config))
    notes: list[str] = []
    if plan.size is not None:
        for part in (result, result.get("text_config")):
            if isinstance(part, dict) and isinstance(part.get(SIZE), int):
                part[SIZE] = plan.size
    if donor is not None and plan.tokens:
        moved = any(plan.tokens.get(token) != number for token, number in donor.tokens.items())
        if moved:
            _tell_again(result, plan, donor, notes)
    return result, notes


def _tell_again(
    part: dict[str, Any], plan: VocabularyPlan, donor: Vocabulary, notes: list[str]
) -> None:
    for key, value in part.items():
        if isinstance(value, dict):
            _tell_again(value, plan, donor, notes)
        elif key.endswith(ENDINGS) or key in FURTHER:
            part[key] = _told(value, key, plan, donor, notes)


def _told(value: Any, key: str, plan: VocabularyPlan, donor: Vocabulary, notes: list[str]) -> Any:
    if isinstance(value, list):
        return [_told(one, key, plan, donor, notes) for one in value]
    if not isinstance(value, int) or isinstance(value, bool) or value not in donor.by_number:
        return value
    token = donor.by_number[value]
    if token in plan.tokens:
        return plan.tokens[token]
    notes.append(
        f"'{key}' of the config is the token {token!r}, which the result has not; it is left as"
        f" {value}, so set it by hand."
    )
    return value
