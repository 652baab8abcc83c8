"""What a merge document holds, as frozen dataclasses that know their lines.

The document is mergekit's configuration. Every part has `at`, the keys that lead to it, so that
what is found out later (a layer that a model lacks, a filter that matches nothing) can still be
told with the line. `at` takes no part in comparisons: two documents are equal if they ask for the
same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from onefold.documents.problems import Keys, Source, WrongKey
from onefold.errors import RecipeError

Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]  # a tuple is a gradient over the layers
Form = Literal["models", "slices", "modules"]
WHOLE = "default"  # the module of documents that name none


def _at() -> Keys:
    return ()


@dataclass(frozen=True)
class Place:
    """A folder, a file or a name, in a revision.

    Attributes:
        path: a path, the name of a model ("org/name"), or the name of another document.
        revision: branch, tag or commit; None: the main one.
    """

    path: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.path}@{self.revision}" if self.revision else self.path


@dataclass(frozen=True)
class Reference:
    """A model that a document names.

    Attributes:
        place: where its weights are.
        adapter: a LoRA adapter that is added to it first; None: none.
        architecture: a name that stands in for that of its config; None: that of its config.
    """

    place: Place
    adapter: Place | None = None
    architecture: str | None = None

    def __str__(self) -> str:
        return f"{self.place}+{self.adapter}" if self.adapter else str(self.place)


@dataclass(frozen=True)
class Entry:
    """One value of a parameter, and the tensors that it is for.

    Attributes:
        value: a number, truth value or text, or a gradient of them over the layers.
        filter: part of the names of the tensors; None: all tensors.
        at: the keys that lead to the value.
    """

    value: Value
    filter: str | None = None
    at: Keys = field(default_factory=_at, compare=False, repr=False)


Setting = tuple[Entry, ...]
Parameters = Mapping[str, Setting]


@dataclass(frozen=True)
class Input:
    """One model among those that are merged.

    Attributes:
        model: the model.
        parameters: its own values.
        layers: the first of its layers and the one after the last; None: all.
    """

    model: Reference
    parameters: Parameters = field(default_factory=dict)
    layers: tuple[int, int] | None = None
    at: Keys = field(default_factory=_at, compare=False, repr=False)


@dataclass(frozen=True)
class Slice:
    """Layers of the output, and the layers of models that they are merged from.

    Attributes:
        inputs: the models, with as many layers each.
        base: the base of this slice; None: that of the document.
        parameters: values for this slice.
    """

    inputs: tuple[Input, ...]
    base: Reference | None = None
    parameters: Parameters = field(default_factory=dict)
    at: Keys = field(default_factory=_at, compare=False, repr=False)

    @property
    def layered(self) -> bool:
        """Whether it is one of the slices that a document lists."""
        return any(one.layers is not None for one in self.inputs)


@dataclass(frozen=True)
class Module:
    """A part of a model that has layers of its own, as the decoder of a vision-language model.

    Attributes:
        name: its name; `WHOLE` where a document names none.
        inputs: the models with all of their layers; empty where `slices` are given.
        slices: the slices, in the order of the output's layers; empty where `inputs` are given.
        parameters: values for this module.
    """

    name: str = WHOLE
    inputs: tuple[Input, ...] = ()
    slices: tuple[Slice, ...] = ()
    parameters: Parameters = field(default_factory=dict)
    at: Keys = field(default_factory=_at, compare=False, repr=False)


@dataclass(frozen=True)
class TokenOf:
    """The row of one token in one model: by its text or its number."""

    model: Reference
    token: str | None = None
    token_id: int | None = None


@dataclass(frozen=True)
class Token:
    """Where the row of a token is taken from.

    Attributes:
        source: a model's row of the same token, another row, "zero", or None for the default.
        force: whether it replaces the row in all models.
    """

    source: Reference | TokenOf | Literal["zero"] | None = None
    force: bool = False
    at: Keys = field(default_factory=_at, compare=False, repr=False)

    @property
    def model(self) -> Reference | None:
        """The model that the row is taken from; None: no model is named."""
        source = self.source.model if isinstance(self.source, TokenOf) else self.source
        return source if isinstance(source, Reference) else None


@dataclass(frozen=True)
class Tokenizer:
    """How the tokenizers of the models become one.

    Attributes:
        source: "union", "base", or the model whose tokenizer is taken.
        tokens: rows of single tokens.
        pad_to_multiple_of: the vocabulary's size is rounded up to a multiple; None: it is not.
    """

    source: Reference | Literal["union", "base"] = "union"
    tokens: Mapping[str, Token] = field(default_factory=dict)
    pad_to_multiple_of: int | None = None
    at: Keys = field(default_factory=_at, compare=False, repr=False)


@dataclass(frozen=True)
class Finish:
    """What is done with each merged tensor behind the method; mergekit knows no such key.

    Attributes:
        name: a name in the registry of filters.
        settings: its settings by name; what is left out has its default.
    """

    name: str
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    at: Keys = field(default_factory=_at, compare=False, repr=False)


@dataclass(frozen=True)
class Document:
    """One merge.

    Attributes:
        method: the name of the method.
        modules: what is merged; one named `WHOLE`, unless `form` is "modules".
        form: which of the keys `models`, `slices` and `modules` the document has.
        base: the model that the others stem from; None: none.
        parameters: values for all of it.
        dtype: the name of the dtype that inputs are cast to, without "torch."; None: as they are.
        out_dtype: the name of the dtype that is written; None: `dtype`.
        tokenizer: how tokenizers are merged; None: not at all.
        chat_template: "auto", a known name or a template; None: the donor's.
        finish: what is done with merged tensors; None: nothing.
        name: by which other documents refer to this one's result; None: none.
        as_mergekit: what mergekit ignores is ignored; False: it was refused.
        ignored: one sentence for each setting that has no effect, as in mergekit.
        notes: one sentence for each thing that was decided and may surprise.
        doubts: one sentence for each value that most likely is a mistake.
        source: where it is from.
    """

    method: str
    modules: tuple[Module, ...]
    form: Form = "models"
    base: Reference | None = None
    parameters: Parameters = field(default_factory=dict)
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer: Tokenizer | None = None
    chat_template: str | None = None
    finish: Finish | None = None
    name: str | None = None
    as_mergekit: bool = field(default=False, compare=False)
    ignored: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    doubts: tuple[str, ...] = field(default=(), compare=False)
    source: Source = field(
        default_factory=lambda: Source("The document"), compare=False, repr=False
    )

    def base_of(self, part: Slice | None = None) -> Reference | None:
        """The base of a slice: its own, or the document's."""
        return (part.base if part is not None else None) or self.base

    def models(self) -> tuple[Reference, ...]:
        """All models that are merged, once each: the base, then as they are listed."""
        found = dict.fromkeys(reference for reference, _ in self.references(tokenizers=False))
        return tuple(found)

    def references(self, tokenizers: bool = True) -> Iterator[tuple[Reference, Keys]]:
        """Every model that is named, with its place, as often as it is named."""
        if self.base is not None:
            yield self.base, ("base_model",)
        for module in self.modules:
            for one in module.inputs:
                yield one.model, (*one.at, "model")
            for part in module.slices:
                if part.base is not None:
                    yield part.base, (*part.at, "base_model")
                for one in part.inputs:
                    yield one.model, (*one.at, "model")
        if tokenizers and self.tokenizer is not None:
            yield from _named_by(self.tokenizer)

    def row_models(self) -> tuple[Reference, ...]:
        """The models whose rows are named for single tokens, once each."""
        tokens = () if self.tokenizer is None else self.tokenizer.tokens.values()
        found = dict.fromkeys(model for one in tokens if (model := one.model) is not None)
        return tuple(found)

    def error(self, at: Keys, reason: str, found: object = None) -> RecipeError:
        """The sentence on one key of this document, with its line or its option.

        Args:
            at: the keys that lead to it.
            reason: what is wrong and what to do, as the end of a sentence.
            found: the value, if that is plain and worth telling; None: it is not told.
        """
        told = {} if found is None else {"found": found}
        return self.source.error(WrongKey(at, reason, **told))  # type: ignore[arg-type]

    def line(self, at: Keys) -> int | None:
        """The line of a key, or of the nearest key around it; None: it is from no file."""
        while at and at not in self.source.lines:
            at = at[:-1]
        return self.source.lines.get(at)


def _named_by(tokenizer: Tokenizer) -> Iterator[tuple[Reference, Keys]]:
    if isinstance(tokenizer.source, Reference):
        yield tokenizer.source, (*tokenizer.at, "source")
    for token in tokenizer.tokens.values():
        if token.model is not None:
            yield token.model, (*token.at, "source")
