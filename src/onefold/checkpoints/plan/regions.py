"""Which tensors of a checkpoint a module means, told from their names.

A module is a part of a network that has layers of its own, as the encoder of a sequence-to-sequence
model or the vision tower of a vision-language model. Its tensors share a prefix, which is found by
the module's name:

1. the prefix itself, as `model.visual`;
2. the prefix whose last part is the name, as `model.encoder` for `encoder`;
3. for `text_decoder` and other names of language: the prefix of the embedding of tokens, with the
   layers that stand beside it, but without parts that have layers of their own;
4. a prefix that says the same in another word, as `visual` for `vision_tower`.

The prefix nearest to the root counts. A tensor belongs to the module with the longest prefix. A
head over the vocabulary that is in no module belongs to the decoder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from onefold.checkpoints.document import Reference
from onefold.checkpoints.layouts import Layout, Stack, is_head, main_stack, stacks_of
from onefold.checkpoints.layouts.layers import parted
from onefold.checkpoints.layouts.vocabulary import is_embedding
from onefold.errors import MembersError

LANGUAGE = ("text", "language")
DECODER = "decoder"  # a word of modules that have the head, where none is the language's
WORDS = {
    "vision": ("vision", "visual", "image"),
    "projector": ("projector", "merger", "connector", "aligner"),
    "audio": ("audio", "speech"),
}  # words of names of modules -> words of prefixes that say the same
SHOWN = 8  # prefixes in a message
DEPTH = 3  # parts of a prefix in a message


@dataclass(frozen=True)
class Region:
    """The tensors of a module in one model. Within it, they have names without the prefix.

    Attributes:
        layout: the model.
        prefix: what their names begin with, the dot included; "": the whole model.
        inner: their names without the prefix -> those in the model, in the order of the files.
    """

    layout: Layout
    prefix: str
    inner: Mapping[str, str] = field(repr=False)

    def name(self, inner: str) -> str:
        """The name in the model of a tensor that is named without the prefix."""
        own = self.inner.get(inner)
        return own if own is not None else self.prefix + inner

    @cached_property
    def renamed(self) -> bool:
        """Whether names within it differ from those in the model."""
        return any(inner != name for inner, name in self.inner.items())

    @cached_property
    def stacks(self) -> Mapping[str, Stack]:
        """The stacks of layers, by their names without the prefix."""
        return stacks_of(self.inner) if self.renamed else self.layout.stacks

    @cached_property
    def main(self) -> Stack | None:
        """The stack that ranges of layers count; None: there is none."""
        if not self.renamed:
            return self.layout.main
        held = self.layout.tensors
        weights = {inner: held[name].nbytes for inner, name in self.inner.items()}
        return main_stack(self.stacks, weights, {})

    @property
    def layers(self) -> int:
        """The number of layers of the main stack."""
        return self.main.layers if self.main is not None else 0


def whole(layout: Layout) -> Region:
    """All tensors of a model."""
    return Region(layout, "", {name: name for name in layout.tensors})


def regions_of(
    model: Reference, layout: Layout, modules: Sequence[str], wanted: Iterable[str]
) -> dict[str, Region]:
    """The tensors of modules in one model.

    Args:
        model: the model, for errors.
        layout: what it holds.
        modules: the names of all modules of the document.
        wanted: those in which the model is merged.

    Raises:
        MembersError: one of those cannot be told; the message names the prefixes that exist.
    """
    nodes = _nodes(layout)
    prefixes: dict[str, str] = {}
    for name in modules:
        found = _prefixes(name, layout, nodes)
        if len(found) == 1:
            prefixes[name] = found[0]
        elif name in wanted:
            raise _unknown(name, found, model, nodes)
    twice = {prefix for prefix in prefixes.values() if list(prefixes.values()).count(prefix) > 1}
    if twice:
        names = " and ".join(f"'{name}'" for name, prefix in prefixes.items() if prefix in twice)
        raise MembersError(
            f"The modules {names} mean the same tensors of {model}, those under"
            f" '{min(twice)}'; leave one of them out."
        )
    text = {name for name in prefixes if is_language(name)}
    owners = text or {name for name in prefixes if DECODER in words(name)}
    parts: dict[str, dict[str, str]] = {name: {} for name in prefixes}
    for tensor in layout.tensors:
        inside = [name for name, prefix in prefixes.items() if _is_under(tensor, prefix)]
        owner = max(inside, key=lambda name: len(prefixes[name]), default=None)
        if owner in text and _is_apart(tensor, prefixes[owner], layout):
            owner = None
        if owner is not None:
            parts[owner][tensor[len(prefixes[owner]) + 1 :]] = tensor
        elif is_head(tensor) and len(owners) == 1:
            parts[next(iter(owners))][".".join(tensor.split(".")[-2:])] = tensor
    for name in wanted:
        if not parts[name]:
            raise _unknown(name, (), model, nodes)
    return {name: Region(layout, f"{prefixes[name]}.", parts[name]) for name in wanted}


def _prefixes(name: str, layout: Layout, nodes: Sequence[str]) -> list[str]:
    """The prefixes that a module may mean: one if it can be told."""
    if name in nodes:
        return [name]
    if found := _nearest(node for node in nodes if node.rpartition(".")[2] == name):
        return found
    if is_language(name):
        return _of_language(layout)
    for word in words(name):
        known = WORDS.get(word, ())
        found = _nearest(node for node in nodes if node.rpartition(".")[2] in known)
        found = found or _nearest(
            node for node in nodes if words(node.rpartition(".")[2]) & set(known)
        )
        if found:
            return found
    return []


def _of_language(layout: Layout) -> list[str]:
    """The prefix of the embedding of tokens beside which layers stand."""
    parents = (name.rpartition(".")[0] for name in layout.tensors if is_embedding(name))
    found = {parent.rpartition(".")[0] for parent in parents}
    stacks = [stack for stack in layout.stacks.values() if stack.layers > 0]
    beside = [
        prefix
        for prefix in found
        if prefix and any(stack.prefix.rpartition(".")[0] == prefix for stack in stacks)
    ]
    return _nearest(beside)


def _is_apart(tensor: str, prefix: str, layout: Layout) -> bool:
    """Whether a tensor under the prefix of the language is of a part with layers of its own."""
    begin = f"{prefix}.{tensor[len(prefix) + 1 :].split('.')[0]}."
    return any(one.prefix.startswith(begin) and one.layers > 0 for one in layout.stacks.values())


def _nodes(layout: Layout) -> list[str]:
    """All prefixes that are not within layers, in the order of the files."""
    found: dict[str, None] = {}
    for name in layout.tensors:
        place = parted(name)
        within = place is not None and place[0] in layout.stacks
        parts = (place[0] if place is not None and within else name.rpartition(".")[0]).split(".")
        for end in range(1, len(parts) + 1):
            found[".".join(parts[:end])] = None
    return [node for node in found if node]


def _nearest(nodes: Iterable[str]) -> list[str]:
    """Those with the fewest parts."""
    found = list(nodes)
    least = min((node.count(".") for node in found), default=0)
    return [node for node in found if node.count(".") == least]


def words(name: str) -> set[str]:
    """The words of a name."""
    return set(re.split(r"[^a-z]+", name.lower())) - {""}


def is_language(name: str) -> bool:
    """Whether the name of a module says that it is the part of the text."""
    return bool(words(name) & set(LANGUAGE))


def _is_under(tensor: str, prefix: str) -> bool:
    return tensor.startswith(f"{prefix}.")


def _unknown(
    name: str, found: Sequence[str], model: Reference, nodes: Sequence[str]
) -> MembersError:
    if found:
        listed = " or ".join(f"'{one}'" for one in found[:SHOWN])
        return MembersError(
            f"The module '{name}' may mean the tensors of {model} under {listed}; write one of"
            " them as the module's name."
        )
    shallow = [node for node in nodes if node.count(".") < DEPTH]
    shown = ", ".join(shallow[:SHOWN]) + (", ..." if len(shallow) > SHOWN else "")
    return MembersError(
        f"No tensors of {model} are told by the module '{name}'; write one of their prefixes as"
        f" the module's name: {shown}."
    )
