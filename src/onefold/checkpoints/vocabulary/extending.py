"""A tokenizer with more tokens: the parts of its files that name them.

The library tokenizers numbers an added token that is no piece by itself, behind those before it.
Where pieces are added too, all tokens are therefore put into the model's vocabulary, where each
keeps the number that it has there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from onefold.checkpoints.vocabulary import files
from onefold.checkpoints.vocabulary.content import Vocabulary
from onefold.checkpoints.vocabulary.plan import VocabularyPlan
from onefold.errors import WeightsError

Json = dict[str, Any]
Merge = tuple[str, str]
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def whole_entries(plan: VocabularyPlan) -> list[Json]:
    """The entries of all added tokens, the donor's and new ones, in the order of their numbers."""
    assert plan.donor is not None
    found: dict[str, Mapping[str, Any]] = dict(plan.vocabularies[plan.donor].added)
    for token, one in plan.additions.items():
        if one.entry is not None:
            found[token] = one.entry
    entries = [
        {
            "id": plan.tokens[token],
            "content": token,
            **{flag: bool(entry.get(flag)) for flag in FLAGS},
        }
        for token, entry in found.items()
    ]
    return sorted(entries, key=lambda entry: entry["id"])


def extended_fast(plan: VocabularyPlan, content: Json, path: Path) -> Json:
    """The content of tokenizer.json with the tokens of the plan.

    Args:
        plan: what becomes of the vocabularies.
        content: the content of the donor's file.
        path: where it is from, for errors.

    Raises:
        WeightsError: a file of another model is broken.
    """
    result = {**content, "added_tokens": whole_entries(plan)}
    if all(one.entry is not None for one in plan.additions.values()):
        return result
    model = dict(content["model"])
    ordered = sorted(plan.tokens.items(), key=lambda one: one[1])
    if isinstance(model["vocab"], list):
        scores = dict(_scored(model["vocab"], path))
        low = min(scores.values(), default=0.0)
        for token, score in _scores(plan):
            scores.setdefault(token, score)
        # A token that is found as a whole before pieces are cut needs no score of its own.
        model["vocab"] = [[token, scores.get(token, low)] for token, _ in ordered]
    else:
        model["vocab"] = dict(ordered)
    if "merges" in model:
        model["merges"] = _with_merges(model["merges"], new_merges(plan))
    result["model"] = model
    return result


def new_merges(plan: VocabularyPlan) -> list[Merge]:
    """The merges of the models that make new pieces, in the order in which the models have them."""
    pieces = {token for token, one in plan.additions.items() if one.entry is None}
    owners = dict.fromkeys(
        one.owner for one in plan.additions.values() if one.entry is None and one.owner is not None
    )
    found: dict[Merge, None] = {}
    for owner in owners:
        prefix, merges = _merges_of(plan.vocabularies[owner])
        for first, second in merges:
            made = first + (second[len(prefix) :] if second.startswith(prefix) else second)
            if made in pieces and first in plan.tokens and second in plan.tokens:
                found[first, second] = None
    return list(found)


def extended_merges(text: str, merges: Iterable[Merge]) -> str:
    """The text of merges.txt with further merges; those with blanks cannot be written there."""
    lines = [f"{a} {b}\n" for a, b in merges if " " not in a + b and "\n" not in a + b]
    return (text if text.endswith("\n") or not text else text + "\n") + "".join(lines)


def _with_merges(old: list[Any], merges: Iterable[Merge]) -> list[Any]:
    if old and isinstance(old[0], str):
        return [*old, *(f"{a} {b}" for a, b in merges if " " not in a + b)]
    return [*old, *([a, b] for a, b in merges)]


def _merges_of(vocabulary: Vocabulary) -> tuple[str, list[Merge]]:
    """What pieces inside a word begin with, and the merges of a model's tokenizer."""
    path = vocabulary.folder / files.FAST
    if path.is_file():
        model = files.json_of(path)["model"]
        prefix = model.get("continuing_subword_prefix") or ""
        return prefix, [_pair(one, path) for one in model.get("merges") or ()]
    path = vocabulary.folder / files.MERGES
    if not path.is_file():
        return "", []
    lines = files.text_of(path).split("\n")
    lines = lines[1:] if lines[0].startswith("#version") else lines
    return "", [_pair(line, path) for line in lines if line.strip()]


def _pair(one: object, path: Path) -> Merge:
    parts = one.split(" ") if isinstance(one, str) else one
    if (
        not isinstance(parts, list)
        or len(parts) != 2
        or not all(isinstance(part, str) for part in parts)
    ):
        raise WeightsError(f"{path} has a merge that is no pair of pieces: {one!r:.80}.")
    return parts[0], parts[1]


def _scores(plan: VocabularyPlan) -> Iterator[tuple[str, float]]:
    """New pieces of Unigram models with their scores."""
    for owner in dict.fromkeys(one.owner for one in plan.additions.values()):
        if owner is None:
            continue
        path = plan.vocabularies[owner].folder / files.FAST
        for token, score in _scored(files.json_of(path)["model"]["vocab"], path):
            if token in plan.additions and plan.additions[token].entry is None:
                yield token, score


def _scored(vocab: object, path: Path) -> Iterator[tuple[str, float]]:
    """The pieces of a Unigram model with their scores; none of a model of another kind."""
    for one in vocab if isinstance(vocab, list) else ():
        try:
            yield str(one[0]), float(one[1])
        except (IndexError, TypeError, ValueError):
            raise WeightsError(f"{path} has a piece without a score: {one!r:.80}.") from None
