"""What a comparison says, one sentence each; its numbers are in `thresholds.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onefold.checkpoints.comparison.companions import VOCABULARIES
from onefold.checkpoints.comparison.results import CheckpointComparison
from onefold.checkpoints.comparison.thresholds import (
    CONFLICTS,
    LONG,
    OPPOSED,
    SAME_DIRECTION,
    UNRELATED,
)
from onefold.checkpoints.layouts.adapters import is_adapter_name
from onefold.checkpoints.layouts.ancestry import told_of
from onefold.printable import counted

LISTED = 3  # names in a sentence


def advice_of(found: CheckpointComparison) -> tuple[str, ...]:
    """The sentences, what must be put right first."""
    parts = (_non_finite, _structure, _companions, _ancestry, _lengths, _directions)
    return tuple(sentence for part in parts for sentence in part(found))


def _non_finite(found: CheckpointComparison) -> Iterator[str]:
    for name in found.paths:
        mine = [one for one in found.non_finite if one.checkpoint == name]
        if not mine:
            continue
        counts = [(sum(o.nans for o in mine), "NaN"), (sum(o.infinite for o in mine), "infinite")]
        told = " and ".join(f"{count:,} {kind}" for count, kind in counts if count)
        values = "value" if sum(count for count, _ in counts) == 1 else "values"
        more = f" and {counted(len(mine) - 1, 'more tensor')}" if len(mine) > 1 else ""
        yield (
            f"{name} holds {told} {values}, in '{mine[0].tensor}'{more} ({mine[0].file}): a merge"
            " spreads them, so get the file again."
        )


def _structure(found: CheckpointComparison) -> Iterator[str]:
    differ = found.differences
    if found.tensors and all(is_adapter_name(one.name) for one in found.tensors):
        yield (
            "These are adapters and no whole models: before a merge add each to its base, as with"
            " merge_and_unload of peft."
        )
    for name, tensor in differ.quantised.items():
        yield (
            f"{name} looks quantised ('{tensor}' holds small numbers that need a scale): compare"
            " and merge what it was made of."
        )
    for name, lacking in differ.missing.items():
        yield f"{name} lacks {_some(lacking)}, which {found.origin} has."
    for name, extra in differ.extra.items():
        yield f"{name} also holds {_some(extra)}, which {found.origin} lacks."
    if differ.shapes:
        tensor, shapes = next(iter(differ.shapes.items()))
        told = _by_value({name: _shape(shape) for name, shape in shapes.items()})
        others = len(differ.shapes) - 1
        verb = "differs" if others == 1 else "differ"
        more = f"; {counted(others, 'more tensor')} {verb}" if others else ""
        rows = len({shape[1:] for shape in shapes.values()}) == 1
        way = ", so a merge needs a decision on the vocabulary" if rows else ""
        yield f"The shape of '{tensor}' is {told}{more}: its values were not compared{way}."
    if differ.dtypes:
        told = _by_value({name: _main(kinds) for name, kinds in differ.dtypes.items()})
        yield f"The dtypes differ ({told}): name the one to write, and expect rounding."


def _companions(found: CheckpointComparison) -> Iterator[str]:
    if keys := found.differences.config:
        key, values = next(iter(keys.items()))
        told = _by_value({name: str(value)[:40] for name, value in values.items()})
        more = f"; {len(keys) - 1} more keys differ" if len(keys) > 1 else ""
        yield f"config.json differs in {key} ({told}){more}."
    files = [one for one in found.differences.tokenizers if one.file in VOCABULARIES]
    if not files:
        return
    whole = next((one for one in files if one.tokens), None)
    if whole is None:
        yield f"The tokenizers differ ({files[0].file}): say which one the result takes."
        return
    moved = max(whole.moved.values(), default=0)
    counts = _by_value({name: f"{count:,}" for name, count in whole.tokens.items()})
    if moved or len(set(whole.tokens.values())) > 1:
        yield (
            f"The tokenizers differ (tokens: {counts}; up to {moved:,} of {found.origin} have"
            " another number or none): rows of embeddings must be matched by token."
        )
    else:
        yield f"The files of the tokenizers differ, but their tokens do not ({counts})."


def _ancestry(found: CheckpointComparison) -> Iterator[str]:
    for name, ancestors in found.ancestors.items():
        yield told_of(name, ancestors)


def _lengths(found: CheckpointComparison) -> Iterator[str]:
    total, origin = found.total, found.origin
    base = {"given": "this base", "likely": f"the likely base {origin}"}.get(
        found.origin_is, origin
    )
    for k, name in enumerate(found.members):
        length, equal = total.relative[k], total.equal[k]
        if total.tensors and equal == total.tensors:
            yield f"{name} is {origin} in every tensor: leave it out."
        elif length is None:
            yield f"{name} shares no weights with {origin} that can be compared."
        elif length >= UNRELATED:
            size = "as long as the weights" if length >= 0.8 else "long beside the weights"
            yield (
                f"{name} does not stem from {base}: its task vector is {size} ({length:.2f} times)."
            )
        elif length >= LONG:
            yield (
                f"The task vector of {name} is long ({100 * length:.0f} % of the weights): scale it"
                " down, and look at the result."
            )
        elif 2 * equal >= total.tensors:
            yield f"{name} changed {total.tensors - equal} of {total.tensors} tensors alone."


def _directions(found: CheckpointComparison) -> Iterator[str]:
    """The sentences on the members that stem from the origin and changed something."""
    total, members = found.total, found.members
    if not any(total.tensors and length is not None for length in total.relative):
        return
    if found.origin_is == "unknown":
        yield "Cosines are small or large by the choice of the origin: give the base to judge them."
        return
    sound = [
        k
        for k, length in enumerate(total.relative)
        if length is not None and 0 < length < UNRELATED
    ]
    pairs = [
        (k, j, cosine)
        for k in sound
        for j in sound
        if k < j and (cosine := total.cosines[k][j]) is not None
    ]
    for k, j, cosine in pairs:
        if cosine > 1 - 1e-6 and total.relative[k] == total.relative[j]:
            yield f"{members[k]} and {members[j]} hold the same weights: leave one out."
        elif cosine <= OPPOSED:
            yield (
                f"{members[k]} and {members[j]} undo one another (cosine {cosine:+.2f}): a merge of"
                " both loses what each learnt."
            )
    others = [cosine for _, _, cosine in pairs if cosine > OPPOSED]
    if len(others) < len(pairs) or not others:
        return
    mean = sum(others) / len(others)
    shares = [s for k, j, _ in pairs if (s := total.conflicts[k][j]) is not None]
    conflicts = sum(shares) / len(shares) if shares else 0.0
    if mean >= SAME_DIRECTION:
        yield (
            f"The task vectors point the same way (cosine {mean:.2f}): a plain average keeps them."
        )
    elif conflicts >= CONFLICTS:
        yield (
            f"{100 * conflicts:.0f} % of the largest changes have opposite signs, where chance"
            " has 50 %: begin with task_arithmetic, and try ties beside it."
        )
    else:
        yield (
            f"The task vectors agree in sign in {100 * (1 - conflicts):.0f} % of their largest"
            " changes: task_arithmetic adds them with little loss."
        )


def _by_value(values: Mapping[str, str]) -> str:
    """Each value once, and the checkpoints that have it."""
    names: dict[str, list[str]] = {}
    for name, value in values.items():
        names.setdefault(value, []).append(name)
    return "; ".join(f"{value} in {_and(having)}" for value, having in names.items())


def _and(names: Sequence[str]) -> str:
    shown = list(names[:LISTED])
    if len(names) > LISTED:
        shown.append(f"{len(names) - LISTED} more")
    return " and ".join([part for part in (", ".join(shown[:-1]), shown[-1]) if part])


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:LISTED])
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{shown}{more}"


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"


def _main(kinds: Mapping[str, Any]) -> str:
    """The dtype of most tensors, and that there are others."""
    most = max(kinds, key=lambda kind: kinds[kind])
    return most if len(kinds) == 1 else f"mostly {most}"
