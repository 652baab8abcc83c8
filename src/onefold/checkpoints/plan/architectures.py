"""Models of other architectures, told by their configs and by the names of their tensors.

Their shapes or names do not fit either, which says less than what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from onefold.checkpoints.document import Reference
from onefold.checkpoints.layouts import Layout, is_float
from onefold.checkpoints.plan.jobs import Job
from onefold.checkpoints.plan.planning import Plan
from onefold.errors import MembersError, RecipeError
from onefold.printable import counted

KEYS = ("model_type", "architectures", "_class_name")  # the first that differs is told
LEAST = 0.5  # of the tensors of a model, or of the result, that it should be merged in


@contextmanager
def architectures_first(layouts: Mapping[Reference, Layout]) -> Iterator[None]:
    """A block whose refusals say first that the architectures differ, where they do.

    Args:
        layouts: the models.

    Raises:
        MembersError, RecipeError: as in the block.
    """
    try:
        yield
    except (MembersError, RecipeError) as error:
        told = differing_architectures(layouts)
        layers = len({layout.layers for layout in layouts.values()}) > 1
        if told is None or (isinstance(error, RecipeError) and not layers):
            raise
        raise type(error)(f"{told}: {error}") from error


def differing_architectures(layouts: Mapping[Reference, Layout]) -> str | None:
    """What configs name as different architectures, as the beginning of a sentence; else None."""
    for key in KEYS:
        named = {model: _shown(layout.config.get(key)) for model, layout in layouts.items()}
        named = {model: text for model, text in named.items() if text}
        first: dict[str, Reference] = {}
        for model, text in named.items():
            first.setdefault(text, model)
        if len(first) > 1:
            listed = ", ".join(f"{text} in {model}" for text, model in first.items())
            return f"The models are of different architectures ({key} {listed})"
    return None


def hardly_merged(plan: Plan) -> list[str]:
    """A sentence on each model that shares less than half of its tensors with the result.

    Args:
        plan: the plan; one of slices or modules is not looked at, as its models have parts of it.
    """
    if plan.document.form != "models":
        return []
    jobs = [job for job in plan.jobs if is_float(job.dtype)]
    told = []
    for model, layout in plan.layouts.items():
        count = sum(str(model) in _merged(job) or job.name in layout.tensors for job in jobs)
        own = sum(is_float(held.dtype) for held in layout.tensors.values())
        if count < LEAST * min(own, len(jobs)):
            whole = counted(len(jobs), "tensor")
            told.append(
                f"{model} has only {count} of the {whole} of {plan.donor}, and the others are"
                " merged without it or copied; are they of one architecture?"
            )
    return told


def _merged(job: Job) -> set[str]:
    """The models that a tensor is merged from."""
    return {job.decider, *(source.model for source in job.sources)}


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " and ".join(map(str, value))[:100]
    return value[:100] if isinstance(value, str) else ""
