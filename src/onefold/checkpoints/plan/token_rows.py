"""Which tensors have a row for each token, and where the rows of each model are from.

They are told by their names, as embeddings and heads over the vocabulary have them. A tensor with
another name is one of them if it stands outside of the layers, and one of its axes is as long as
the vocabulary in every model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onefold.checkpoints.document import Reference
from onefold.checkpoints.layouts import Held, Layout, is_head
from onefold.checkpoints.layouts.layers import layer_of
from onefold.checkpoints.layouts.vocabulary import is_embedding
from onefold.checkpoints.vocabulary import MemberRows, VocabularyPlan
from onefold.errors import MembersError

LEAST = 256  # rows by which a tensor with any name may be told
POSITIONS = ("position", "wpe", "pos_emb")  # in names of tensors with a row for each position


@dataclass(frozen=True)
class TokenRows:
    """The rows of one tensor over the vocabulary.

    Attributes:
        members: for each tensor that is read where its rows are from.
        held: the tensor of each model whose rows may be needed.
        axis: the axis of the vocabulary.
        size: the rows of the result.
    """

    members: Mapping[Held, MemberRows]
    held: Mapping[Reference, Held]
    axis: int
    size: int

    def shape(self, own: Held) -> tuple[int, ...]:
        """The shape of the result."""
        return (*own.shape[: self.axis], self.size, *own.shape[self.axis + 1 :])

    def moves(self, held: Held) -> bool:
        """Whether rows of a tensor move or are filled, which takes memory."""
        return not self.members[held].identity


def rows_in(layout: Layout) -> int | None:
    """The rows of a model's embedding of tokens; None: it has none that can be told."""
    size = _told_size(layout.config)
    found = [held.shape[0] for name, held in layout.tensors.items() if is_embedding(name)]
    if found:
        return size if size in found else found[0]
    if size is not None and size > LEAST:
        for held in layout.tensors.values():
            if held.shape[:1] == (size,) and _may_hold(held, layout):
                return size
    return None


def token_rows(
    vocabulary: VocabularyPlan,
    found: Mapping[Reference, Held],
    layouts: Mapping[Reference, Layout],
    held_of: Callable[[Reference], Held | None],
    told: Callable[[str], None],
) -> TokenRows | None:
    """The rows of one tensor; None: no row of it moves.

    Args:
        vocabulary: what becomes of tokens.
        found: the tensor in the models that are merged.
        layouts: those models.
        held_of: the tensor in another model; None: it has none.
        told: is called with what was done with tensors such as this one.

    Raises:
        MembersError: it has a row for each token by its name, and not by its shape.
    """
    if vocabulary.size is None or all(vocabulary.members[model].identity for model in found):
        return None
    axis = _axis(vocabulary, found, layouts, told)
    if axis is None:
        return None
    members = {model: vocabulary.members[model] for model in found}
    wanted = dict.fromkeys(model for rows in members.values() for model in rows.sources)
    others = {model: found.get(model) or held_of(model) for model in wanted}
    lacking = [model for model, held in others.items() if held is None]
    if lacking:
        names = " and ".join(map(str, lacking))
        told(f"without the rows of {names}, which lack them; rows that these alone have are zeros")
        members = {model: rows.without(lacking) for model, rows in members.items()}
    held = {model: one for model, one in others.items() if one is not None}
    return TokenRows(
        {found[model]: rows for model, rows in members.items()},
        {**held, **found},
        axis,
        vocabulary.size,
    )


def _axis(
    vocabulary: VocabularyPlan,
    found: Mapping[Reference, Held],
    layouts: Mapping[Reference, Layout],
    told: Callable[[str], None],
) -> int | None:
    """The axis of a tensor that has a row for each token; None: it has not."""
    counts = {model: vocabulary.members[model].held for model in found}
    first, own = next(iter(found.items()))
    alike = all(len(held.shape) == len(own.shape) for held in found.values())
    axes = [
        axis
        for axis in range(len(own.shape) if alike else 0)
        if all(held.shape[axis] == counts[model] for model, held in found.items())
        and len({_rest(held, axis) for held in found.values()}) == 1
    ]
    named = is_embedding(own.name) or is_head(own.name)
    if named and 0 in axes:
        return 0
    equal = len({held.shape for held in found.values()}) == 1
    if named:
        if equal and counts[first] not in own.shape:
            told("left as they are, as they have another number of rows than the embedding")
            return None
        listed = ", ".join(f"{_dims(held.shape)} in {model}" for model, held in found.items())
        rows = ", ".join(f"{count} in {model}" for model, count in counts.items())
        raise MembersError(
            f"'{own.name}' is {listed}, which does not fit embeddings of {rows} rows; rows of"
            " tokens cannot be told."
        )
    sure = not equal or counts[first] > LEAST
    return axes[0] if axes and sure and _may_hold(own, layouts[first]) else None


def _may_hold(held: Held, layout: Layout) -> bool:
    """Whether a tensor stands where one with a row for each token may stand."""
    outside = layer_of(held.name, layout.stacks) is None
    return outside and not any(text in held.name.lower() for text in POSITIONS)


def _told_size(config: Mapping[str, Any]) -> int | None:
    """The size of the vocabulary that a config tells."""
    for part in (config, config.get("text_config")):
        size = part.get("vocab_size") if isinstance(part, Mapping) else None
        if isinstance(size, int) and not isinstance(size, bool):
            return size
    return None


def _rest(held: Held, axis: int) -> tuple[int, ...]:
    return (*held.shape[:axis], *held.shape[axis + 1 :])


def _dims(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
