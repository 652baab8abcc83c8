"""Filters compared with the names of tensors: one that fits nothing is a mistake.

A filter of a parameter that each model has is compared with the names in the models, one of a
parameter for the whole merge with the names in the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from onefold.checkpoints.document.content import Document, Entry, Parameters, Reference
from onefold.checkpoints.document.findings import Findings
from onefold.checkpoints.document.methods import method_class
from onefold.checkpoints.document.slices import parts_of
from onefold.documents.problems import Keys
from onefold.errors import nearest


@dataclass(frozen=True)
class Filtered:
    """A filter and the models whose tensors it is meant for; None: those of the output.

    Attributes:
        entry: what it is part of.
        models: the models.
    """

    entry: Entry
    models: tuple[Reference, ...] | None


def filters_of(document: Document) -> Iterator[Filtered]:
    """Every filter of a document, with what it is compared with."""
    per_model = {one.name for one in method_class(document.method).per_model}
    levels: list[tuple[Parameters, tuple[Reference, ...]]] = []
    every = document.models()
    levels.append((document.parameters, every))
    for module in document.modules:
        levels.append((module.parameters, every))
        for part in parts_of(module):
            levels.append((part.parameters, tuple(one.model for one in part.inputs)))
            levels.extend((one.parameters, (one.model,)) for one in part.inputs)
    for parameters, models in levels:
        for name, setting in parameters.items():
            for entry in setting:
                if entry.filter is not None:
                    yield Filtered(entry, models if name in per_model else None)


def check_filters(
    document: Document, output: Iterable[str], inputs: Mapping[Reference, Iterable[str]]
) -> list[str]:
    """Refuse filters that fit no tensor.

    Args:
        document: the document.
        output: the names of all tensors of the output.
        inputs: the names of all tensors of each model.

    Returns:
        One sentence for each filter that is ignored, if the document is read as mergekit reads it.

    Raises:
        RecipeError: a filter fits nothing, and the document is read strictly.
    """
    written, named = list(output), {model: list(names) for model, names in inputs.items()}
    findings = Findings(document.source, document.as_mergekit)
    for one in filters_of(document):
        text = one.entry.filter or ""
        if one.models is None:
            names = written
        else:
            names = [name for model in one.models for name in named.get(model, ())]
        if not any(text in name for name in names):
            findings.ignore(
                _key(one.entry), f"no tensor has {text[:60]!r} in its name; {_near(text, names)}"
            )
    return findings.ignored


def _key(entry: Entry) -> Keys:
    return (*entry.at[:-1], "filter")


def _near(text: str, names: list[str]) -> str:
    """The part of a name that is nearest to a filter; a filter may span several parts."""
    width = text.count(".") + 1
    parts: set[str] = set()
    for name in names:
        pieces = name.split(".")
        parts.update(".".join(pieces[i : i + width]) for i in range(len(pieces) - width + 1))
    words = {part for part in parts if not part.replace(".", "").isdigit()}
    return nearest(text, words, "look at the names with onefold inspect.")
