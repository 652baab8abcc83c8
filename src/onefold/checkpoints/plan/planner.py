"""How one tensor of the result is made, checked from headers; and what is to be told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onefold.checkpoints.document import Document, Reference, Values, finish_of
from onefold.checkpoints.layouts import (
    Held,
    Layout,
    embedding_of,
    is_constant,
    is_float,
    is_head,
    is_vocabulary,
    promoted,
)
from onefold.checkpoints.methods.base import Method
from onefold.checkpoints.plan.jobs import Job, Source
from onefold.checkpoints.plan.outputs import Merged, Output, decider_of
from onefold.checkpoints.plan.seeds import seed_names
from onefold.checkpoints.plan.token_rows import TokenRows, token_rows
from onefold.checkpoints.vocabulary import VocabularyPlan
from onefold.errors import MembersError
from onefold.printable import counted

SHOWN = 3  # names in a note
ONE = {  # what is told of several tensors -> the same of a single one
    "they are constants": "it is a constant",
    "they hold": "it holds",
    "they have": "it has",
    "left as they are": "left as it is",
    " them": " it",
    "are its embedding": "is its embedding",
    "are not written": "is not written",
}


class Planner:
    """Makes the jobs of one document, and collects what is to be told.

    Args:
        document: the document.
        layouts: all models.
        vocabulary: what becomes of tokens; None: nothing.
        others: further models, whose rows are wanted for single tokens.
        seed: of what is random.
    """

    def __init__(
        self,
        document: Document,
        layouts: Mapping[Reference, Layout],
        vocabulary: VocabularyPlan | None = None,
        others: Mapping[Reference, Layout] | None = None,
        seed: int = 0,
    ) -> None:
        self.document, self.layouts, self.vocabulary = document, layouts, vocabulary
        self.every = {**layouts, **(others or {})}
        self.finish = finish_of(document)
        self.seed = seed
        self.seeds = seed_names(map(str, self.every))
        self.told: dict[str, list[str]] = {}

    def job(self, output: Output, values: Values) -> Job:
        """How one tensor is made.

        Raises:
            RecipeError: a parameter is missing or out of range there.
            MembersError: the shapes differ.
        """
        own = self.layouts[output.decider].tensors[output.names[output.decider]]
        found = {m: held for m, n in output.names.items() if (held := self._held(m, n)) is not None}
        rows = self._rows(output, found)
        shape = own.shape if rows is None else rows.shape(own)
        if rows is None:
            self._check_shapes(output, own, found)
        if is_constant(output.name):
            self._tell(f"copied from {output.decider}, as they are constants", output.name)
            return Job(output.name, own.shape, own.dtype, copied=own)
        if not is_float(own.dtype) or not all(is_float(held.dtype) for held in found.values()):
            self._tell(f"copied from {output.decider}, as they hold no floating numbers", own.name)
            return Job(output.name, own.shape, own.dtype, copied=own)
        method, given = values.merge_at(
            output.name, {m: output.names[m] for m in found}, output.place
        )
        models = [m for m in found if values.merges(m)]
        dtype = self.document.out_dtype or self.document.dtype
        written = dtype or promoted(held.written for held in found.values())
        lacking = [str(m) for m in output.names if m not in found]
        if not models or not _fits(method, len(models)):
            if lacking:
                self._tell(f"copied from {output.decider}, as {_lack(lacking)} them", own.name)
            else:
                self._tell(f"copied from {output.decider}", own.name)
            alone = self._rows(output, {output.decider: own})
            decider = str(output.decider)
            return Job(output.name, shape, written, copied=own, rows=alone, decider=decider)
        if lacking:
            self._tell(f"merged without {_lack(lacking, ', which')} them", output.name)
        base = None if values.merges(output.decider) else found.get(output.decider)
        sources = tuple(Source(str(m), found[m], given[m], self.seeds[str(m)]) for m in models)
        return Job(
            output.name,
            shape,
            written,
            method,
            sources,
            base,
            cast=self.document.dtype,
            finish=self.finish,
            rows=rows,
            decider=str(output.decider),
            seed=self.seed,
        )

    def check_tokens(self, jobs: Sequence[Job]) -> None:
        """Refuse rows that move where no tensor has a row for each token.

        Raises:
            MembersError: so it is.
        """
        plan = self.vocabulary
        if plan is not None and not plan.identity and all(job.rows is None for job in jobs):
            raise MembersError(
                "The tokenizers differ, and no tensor with a row for each token can be told by its"
                " name or shape; leave the tokenizer out of the document."
            )

    def copied(self, output: Output) -> Job:
        """A tensor that is in no module, as the donor has it."""
        own, donor = self.layouts[output.decider].tensors[output.name], output.decider
        self._tell(f"copied from {donor}, as no module names them", output.name)
        rows = self._rows(output, {donor: own}) if is_float(own.dtype) else None
        shape = own.shape if rows is None else rows.shape(own)
        dtype = (self.document.out_dtype or self.document.dtype) if is_float(own.dtype) else None
        return Job(
            output.name, shape, dtype or own.written, copied=own, rows=rows, decider=str(donor)
        )

    def tell_left_out(self, outputs: Sequence[Output], merged: Sequence[Merged]) -> None:
        """Note the tensors of models that no output is made from.

        Raises:
            MembersError: none of the outputs is made from a model.
        """
        used: dict[Reference, set[str]] = {}
        for output in outputs:
            for model, name in output.names.items():
                used.setdefault(model, set()).add(name)
        for one in merged:
            for model, region in () if one.module.slices else one.regions.items():
                names = list(region.inner.values())
                left = [name for name in names if name not in used.get(model, ())]
                for name in left:
                    self._tell(f"of {model} are not written, as the others' names decide", name)
                if len(left) == len(names):
                    decider = decider_of(self.document, one.parts[0])
                    first = next(iter(one.regions[decider].inner.values()))
                    raise MembersError(
                        f"{model} has no tensor of the names that {decider} has, such as"
                        f" '{first}'; are they networks of one kind?"
                    )

    def notes(self) -> list[str]:
        """One sentence for each kind of thing that was decided."""
        sentences = []
        for text, names in self.told.items():
            shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            verb = " was" if len(names) == 1 else " were"
            if len(names) == 1:
                for plural, singular in ONE.items():
                    text = text.replace(plural, singular)
            verb = "" if text.startswith("of ") else verb
            sentences.append(f"{counted(len(names), 'tensor')}{verb} {text}: {shown}.")
        return sentences

    def _held(self, model: Reference, name: str) -> Held | None:
        """The tensor of a model; of a tied head that it does not store, its embedding."""
        layout = self.every[model]
        held = layout.tensors.get(name)
        if held is None and layout.tied and is_head(name):
            shared = embedding_of(layout.tensors)
            if shared is not None and name.endswith(".weight"):
                self._tell(f"of {model} are its embedding, to which its config ties them", name)
                return layout.tensors[shared]
        return held

    def _rows(self, output: Output, found: Mapping[Reference, Held]) -> TokenRows | None:
        """The rows of a tensor over the vocabulary; None: it is another, or no row moves."""
        if self.vocabulary is None:
            return None
        name = output.names[output.decider]
        return token_rows(
            self.vocabulary,
            found,
            self.layouts,
            lambda model: self._held(model, output.names.get(model, name)),
            lambda text: self._tell(text, output.name),
        )

    def _check_shapes(self, output: Output, own: Held, found: Mapping[Reference, Held]) -> None:
        shapes = {model: held.shape for model, held in found.items()}
        if len(set(shapes.values())) == 1:
            return
        listed = ", ".join(f"{_dims(shape)} in {model}" for model, shape in shapes.items())
        rows = {shape[:1] for shape in shapes.values()}
        rest = {shape[1:] for shape in shapes.values()}
        config = self.layouts[output.decider].config
        if len(rest) == 1 and len(rows) > 1 and is_vocabulary(own.name, own.shape, config):
            raise MembersError(
                f"The vocabularies differ: '{own.name}' is {listed}; rows of different tokens are"
                " not mixed, so say which tokens the result has, by tokenizer_source: union, base,"
                " or a model."
            )
        raise MembersError(
            f"'{own.name}' has different shapes: {listed}; the models are not of one architecture."
        )

    def _tell(self, text: str, name: str) -> None:
        names = self.told.setdefault(text, [])
        if name not in names[-1:]:
            names.append(name)


def _fits(method: Method, count: int) -> bool:
    return method.least <= count <= (method.most or count)


def _lack(names: Sequence[str], between: str = "") -> str:
    """Models as the subject of what they lack."""
    return f"{' and '.join(names)}{between} {'lacks' if len(names) == 1 else 'lack'}"


def _dims(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
