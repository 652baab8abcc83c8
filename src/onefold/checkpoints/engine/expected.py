"""The result of a document that is not written yet, as the documents that refer to it will see it.

Names, shapes and dtypes are those of the plan, the config is that of the donor with what the merge
changes in it. A tokenizer is written into a folder for the time of the plan, as it will be written
beside the weights. Values are not known.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from onefold.checkpoints.engine.beside import config_of_result, write_tokens
from onefold.checkpoints.layouts import Held, Layout
from onefold.checkpoints.layouts.ancestry import ancestors_of, told_of
from onefold.checkpoints.layouts.reading import CONFIG
from onefold.checkpoints.plan.components import component_configs
from onefold.checkpoints.plan.planning import Plan
from onefold.checkpoints.plan.shards import Shard


@dataclass(frozen=True)
class Expected:
    """A result that is not there yet.

    Attributes:
        place: the folder that it will have.
        layout: what its headers will say.
    """

    place: Path
    layout: Layout


def expected_result(plan: Plan, place: Path, beside: Path, template: str | None) -> Expected:
    """What a plan will leave in a folder.

    Args:
        plan: the plan.
        place: the folder of the result.
        beside: an existing empty folder, into which tokenizer and config are written.
        template: the chat template; None: the donor's.

    Raises:
        WeightsError: a file of a tokenizer cannot be extended.
        OSError: a file cannot be read or written.
    """
    donor = plan.layouts[plan.donor]
    metadata: dict[str, str] = json.loads(plan.shards[0].header[8:])["__metadata__"]
    metadata.pop("format", None)
    ancestors = ancestors_of(metadata)
    notes = (told_of(place, ancestors),) if ancestors else ()
    files = {shard.file: place / shard.file for shard in plan.shards}
    tensors: dict[str, Held] = {}
    components: dict[str, Layout] = {}
    for shard in plan.shards:
        held = _held(plan, shard, files[shard.file])
        tensors |= held
        if shard.component:
            empty = replace(donor.components[shard.component], files=(), tensors={}, notes=())
            known = components.get(shard.component, empty)
            own = {shard.inner(name): _inner(one) for name, one in held.items()}
            components[shard.component] = replace(
                known, files=(*known.files, files[shard.file]), tensors={**known.tensors, **own}
            )
    config = config_of_result(plan, [])
    if donor.components:  # whose tokenizers are copied as they are
        texts = component_configs(donor, plan.document.out_dtype or plan.document.dtype)
        for name, one in components.items():
            if (text := texts.get(f"{name}/{CONFIG}")) is not None:
                components[name] = replace(one, config=json.loads(text))
        path = donor.folder
    else:
        write_tokens(plan, beside, template)
        if config:
            (beside / CONFIG).write_text(json.dumps(config), encoding="utf-8")
        path = beside
    layout = Layout(path, tuple(files.values()), tensors, config, metadata, notes, components)
    return Expected(place, layout)


def _held(plan: Plan, shard: Shard, file: Path) -> dict[str, Held]:
    """The tensors of one file, in the order in which they lie in it."""
    found = {}
    for number, begin in shard.places:
        job = plan.jobs[number]
        key = shard.inner(job.name) if shard.component else None
        found[job.name] = Held(job.name, job.dtype, job.shape, file, begin, key=key)
    return found


def _inner(held: Held) -> Held:
    """A tensor of a pipeline as its component names it."""
    return replace(held, name=held.key or held.name, key=None)
