"""The plan of a merge, made and checked in full from headers before a tensor is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onefold.checkpoints.document import Document, Reference, Values, check_filters, finish_of
from onefold.checkpoints.engine.components import component_outputs, component_parts, stems_of
from onefold.checkpoints.engine.jobs import Job, Source
from onefold.checkpoints.engine.outputs import (
    Output,
    decider_of,
    outputs_of,
    parts_in,
    written_layers,
)
from onefold.checkpoints.engine.shards import Shard, shards_of, stem_of
from onefold.checkpoints.engine.token_rows import TokenRows, token_rows
from onefold.checkpoints.layouts import (
    Held,
    Layout,
    embedding_of,
    is_float,
    is_head,
    is_vocabulary,
    promoted,
)
from onefold.checkpoints.methods.base import Method
from onefold.checkpoints.vocabulary import VocabularyPlan
from onefold.errors import MembersError

SHOWN = 3  # names in a note


@dataclass(frozen=True)
class Plan:
    """What is written, and from what.

    Attributes:
        document: the document.
        layouts: all models.
        donor: the model whose config and other files are copied.
        jobs: the tensors to write, in the order of the files.
        shards: the files to write.
        layers: the number of layers of the result where slices make it; None: the donor's.
        vocabulary: what becomes of tokens; None: nothing.
        notes: one sentence for each thing that was decided and may surprise.
    """

    document: Document
    layouts: Mapping[Reference, Layout]
    donor: Reference
    jobs: tuple[Job, ...]
    shards: tuple[Shard, ...]
    layers: int | None
    vocabulary: VocabularyPlan | None
    notes: tuple[str, ...]

    @property
    def bytes_read(self) -> int:
        """The bytes of all inputs, each as often as it is merged."""
        return sum(job.bytes_read for job in self.jobs)

    @property
    def bytes_written(self) -> int:
        """The bytes of all files of weights."""
        return sum(shard.size for shard in self.shards)

    @property
    def merged(self) -> int:
        """The number of tensors that are merged; the others are copied."""
        return sum(job.method is not None for job in self.jobs)


def plan_merge(
    document: Document,
    layouts: Mapping[Reference, Layout],
    shard_bytes: int,
    vocabulary: VocabularyPlan | None = None,
    others: Mapping[Reference, Layout] | None = None,
) -> Plan:
    """The plan of one document.

    Args:
        document: the document.
        layouts: all models that it merges.
        shard_bytes: the bytes of one file at most.
        vocabulary: what becomes of tokens; None: nothing.
        others: further models, whose rows are wanted for single tokens.

    Raises:
        RecipeError: a filter, a range of layers or a value does not fit the models.
        MembersError: the models do not fit together.
    """
    named = component_parts(document, layouts)
    module, parts = (named[0][0], ()) if named else parts_in(document, layouts)
    pairs = named or tuple((module, part) for part in parts)
    planner = Planner(document, layouts, vocabulary, others)
    jobs = []
    values = {id(part): Values(document, one, part) for one, part in pairs}
    outputs = list(
        component_outputs(document, named, layouts)
        if named
        else outputs_of(document, parts, layouts)
    )
    for output in outputs:
        jobs.append(planner.job(output, values.get(id(output.part))))
    planner.tell_left_out(outputs)
    planner.check_tokens(jobs)
    names = {model: list(layout.tensors) for model, layout in layouts.items()}
    ignored = check_filters(document, [job.name for job in jobs], names)
    donor = decider_of(document, pairs[0][1])
    stem = _stem(layouts[donor])
    read = dict.fromkeys(note for layout in layouts.values() for note in layout.notes)
    return Plan(
        document,
        layouts,
        donor,
        tuple(jobs),
        shards_of(jobs, shard_bytes, stem, _metadata(document), stems_of(layouts[donor])),
        written_layers(parts) if module.slices else None,
        vocabulary,
        (*document.notes, *document.ignored, *read, *ignored, *planner.notes()),
    )


class Planner:
    """Makes the jobs of one document, and collects what is to be told.

    Args:
        document: the document.
        layouts: all models.
        vocabulary: what becomes of tokens; None: nothing.
        others: further models, whose rows are wanted for single tokens.
    """

    def __init__(
        self,
        document: Document,
        layouts: Mapping[Reference, Layout],
        vocabulary: VocabularyPlan | None = None,
        others: Mapping[Reference, Layout] | None = None,
    ) -> None:
        self.document, self.layouts, self.vocabulary = document, layouts, vocabulary
        self.every = {**layouts, **(others or {})}
        self.finish = finish_of(document)
        self.told: dict[str, list[str]] = {}

    def job(self, output: Output, values: Values | None) -> Job:
        """How one tensor is made.

        Args:
            output: the tensor.
            values: the parameters of its slice; None: it is copied, as no module merges it.

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
        if not is_float(own.dtype) or not all(is_float(held.dtype) for held in found.values()):
            self._tell(f"copied from {output.decider}, as they hold no floating numbers", own.name)
            return Job(output.name, own.shape, own.dtype, copied=own)
        dtype = self.document.out_dtype or self.document.dtype
        if values is None:
            self._tell(f"copied from {output.decider}, as no module names them", own.name)
            return Job(output.name, own.shape, dtype or own.written, copied=own)
        method, given = values.merge_at(
            output.name, {m: output.names[m] for m in found}, output.place
        )
        models = [m for m in found if values.merges(m)]
        written = dtype or promoted(held.written for held in found.values())
        lacking = [str(m) for m in output.names if m not in found]
        if not models or not _fits(method, len(models)):
            if lacking:
                self._tell(f"copied from {output.decider}, as {_and(lacking)} lack them", own.name)
            else:
                self._tell(f"copied from {output.decider}", own.name)
            alone = self._rows(output, {output.decider: own})
            decider = str(output.decider)
            return Job(output.name, shape, written, copied=own, rows=alone, decider=decider)
        if lacking:
            self._tell(f"merged without {_and(lacking)}, which lack them", output.name)
        base = None if values.merges(output.decider) else found.get(output.decider)
        sources = tuple(Source(str(m), found[m], given[m]) for m in models)
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

    def tell_left_out(self, outputs: Sequence[Output]) -> None:
        """Note the tensors of models that no output is made from."""
        if self.document.modules[0].slices:
            return
        written = {output.name for output in outputs}
        for model, layout in self.layouts.items():
            for name in layout.tensors:
                if name not in written:
                    self._tell(f"of {model} are not written, as the others' names decide", name)
        for model, layout in self.layouts.items():
            if not written & set(layout.tensors):
                decider = outputs[0].decider
                raise MembersError(
                    f"{model} has no tensor of the names that {decider} has, such as"
                    f" '{outputs[0].name}'; are they networks of one kind?"
                )

    def notes(self) -> list[str]:
        """One sentence for each kind of thing that was decided."""
        sentences = []
        for text, names in self.told.items():
            shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            what = "tensor" if len(names) == 1 else "tensors"
            verb = "" if text.startswith("of ") else " were"
            sentences.append(f"{len(names)} {what}{verb} {text}: {shown}.")
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


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


def _dims(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"


def _stem(layout: Layout) -> str:
    """The name of the files that are written, without shard number and ending."""
    file = layout.files[0]
    if not layout.path.is_dir() or file.suffix != ".safetensors":
        return "model"
    return stem_of(file.name)


def _metadata(document: Document) -> dict[str, str]:
    kinds = Counter(str(model) for model in document.models())
    return {"format": "pt", "merge_method": document.method, "merged_from": ", ".join(kinds)}
