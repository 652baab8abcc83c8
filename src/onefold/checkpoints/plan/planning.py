"""The plan of a merge, made and checked in full from headers before a tensor is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from onefold.checkpoints.document import Document, Reference, Values, check_filters
from onefold.checkpoints.document.content import WHOLE
from onefold.checkpoints.layouts import Layout
from onefold.checkpoints.plan.components import stems_of
from onefold.checkpoints.plan.jobs import Job
from onefold.checkpoints.plan.layer_counts import Layers
from onefold.checkpoints.plan.outputs import Merged, donor_of, merged_modules, outputs_of
from onefold.checkpoints.plan.planner import Planner
from onefold.checkpoints.plan.prefixes import sentences
from onefold.checkpoints.plan.shards import Shard, shards_of, stem_of
from onefold.checkpoints.vocabulary import VocabularyPlan


@dataclass(frozen=True)
class Plan:
    """What is written, and from what.

    Attributes:
        document: the document.
        layouts: all models.
        donor: the model whose config and other files are copied.
        jobs: the tensors to write, in the order of the files.
        shards: the files to write.
        layers: module -> the number of the donor's layers, and that of the result, where slices
            make it.
        vocabulary: what becomes of tokens; None: nothing.
        notes: one sentence for each thing that was decided and may surprise.
    """

    document: Document
    layouts: Mapping[Reference, Layout]
    donor: Reference
    jobs: tuple[Job, ...]
    shards: tuple[Shard, ...]
    layers: Layers
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
    def random(self) -> bool:
        """Whether the result depends on the seed."""
        return any(job.method is not None and job.method.random for job in self.jobs)

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
    seed: int = 0,
) -> Plan:
    """The plan of one document.

    Args:
        document: the document.
        layouts: all models that it merges.
        shard_bytes: the bytes of one file at most.
        vocabulary: what becomes of tokens; None: nothing.
        others: further models, whose rows are wanted for single tokens.
        seed: of what is random.

    Raises:
        RecipeError: a filter, a range of layers or a value does not fit the models.
        MembersError: the models do not fit together.
    """
    merged = merged_modules(document, layouts)
    planner = Planner(document, layouts, vocabulary, others, seed)
    jobs = []
    values = {id(part): Values(document, one.module, part) for one in merged for part in one.parts}
    outputs = list(outputs_of(document, merged, layouts))
    for output in outputs:
        if output.part is None:
            jobs.append(planner.copied(output))
        else:
            jobs.append(planner.job(output, values[id(output.part)]))
    planner.tell_left_out(outputs, merged)
    planner.check_tokens(jobs)
    names = {model: list(layout.tensors) for model, layout in layouts.items()}
    ignored = check_filters(document, [job.name for job in jobs], names)
    donor = donor_of(document, merged)
    stem = _stem(layouts[donor])
    read = dict.fromkeys(note for layout in layouts.values() for note in layout.notes)
    renamed = sentences(merged[0].regions) if merged[0].module.name == WHOLE else []
    return Plan(
        document,
        layouts,
        donor,
        tuple(jobs),
        shards_of(jobs, shard_bytes, stem, _metadata(document), stems_of(layouts[donor])),
        _layers(merged, donor),
        vocabulary,
        (*document.notes, *document.ignored, *read, *renamed, *ignored, *planner.notes()),
    )


def _layers(merged: tuple[Merged, ...], donor: Reference) -> dict[str, tuple[int, int]]:
    """The number of layers before and after, of each module that slices make."""
    found = {}
    for one in merged:
        region = one.regions.get(donor)
        if one.layers is not None and region is not None:
            found[one.module.name] = (region.layers, one.layers)
    return found


def _stem(layout: Layout) -> str:
    """The name of the files that are written, without shard number and ending."""
    file = layout.files[0]
    if not layout.path.is_dir() or file.suffix != ".safetensors":
        return "model"
    return stem_of(file.name)


def _metadata(document: Document) -> dict[str, str]:
    kinds = Counter(str(model) for model in document.models())
    return {"format": "pt", "merge_method": document.method, "merged_from": ", ".join(kinds)}
