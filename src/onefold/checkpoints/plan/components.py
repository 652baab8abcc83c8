"""Pipelines: which module of a document merges which component, and how the result is laid out.

A document that lists `models` merges all components alike. One with `modules` gives each component
that it names models and parameters of its own; components that it does not name are copied.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from onefold.checkpoints.document import Document, Reference
from onefold.checkpoints.layouts import Layout
from onefold.checkpoints.layouts.pipelines import FOREIGN, INDEX, component_of
from onefold.checkpoints.layouts.reading import CONFIG
from onefold.checkpoints.plan.companions import companions_of, config_of
from onefold.checkpoints.plan.regions import Region
from onefold.checkpoints.plan.shards import stem_of
from onefold.errors import MembersError
from onefold.weights.folders import ENDINGS

WEIGHTS = (*ENDINGS, *FOREIGN)  # ends of files that are not copied
INDICES = (".safetensors.index.", ".bin.index.")  # also of a variant, as .index.fp16.json
CARDS = ("README.md", ".gitattributes")


def component_regions(
    document: Document, layouts: Mapping[Reference, Layout]
) -> dict[Reference, dict[str, Region]] | None:
    """The tensors of each component that a module names; None: modules name something else.

    Args:
        document: the document.
        layouts: all models.

    Raises:
        MembersError: a component has slices, or some modules name no component.
    """
    components = next(iter(layouts.values())).components
    if components and document.form == "slices":
        raise MembersError(
            "Layers of a pipeline of several networks cannot be put together by slices; merge the"
            " folders of one component by themselves."
        )
    named = [module.name for module in document.modules if module.name in components]
    if not named:
        return None
    if others := [module.name for module in document.modules if module.name not in components]:
        raise MembersError(
            f"The pipelines have no component {others[0]!r}; they have {', '.join(components)}."
        )
    for module in document.modules:
        if module.slices:
            raise MembersError(
                f"The layers of the component {module.name!r} cannot be put together by slices in a"
                " pipeline; merge the folders of that component by themselves."
            )
    return {
        model: {name: _region(layout, name) for name in named} for model, layout in layouts.items()
    }


def _region(layout: Layout, component: str) -> Region:
    names = (name for name in layout.tensors if component_of(name, layout) == component)
    return Region(layout, f"{component}/", {name.partition("/")[2]: name for name in names})


def stems_of(layout: Layout) -> dict[str, str]:
    """The component of each file of weights -> the file in the result, without its ending."""
    stems = {}
    for name, one in layout.components.items():
        file = one.files[0]
        stem = stem_of(file.name) if file.suffix == ".safetensors" else _renamed(file)
        stems[name] = f"{name}/{stem}"
    return stems


def copy_pipeline(layout: Layout, target: Path) -> list[str]:
    """Copy all of a pipeline that is no weights; links are followed.

    Args:
        layout: the donor.
        target: the folder of the result.

    Returns:
        The names of the files, relative to the folder.

    Raises:
        OSError: one cannot be read or written.
    """
    names = []
    for file in _beside(layout):
        place = target / file.relative_to(layout.folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
        names.append(place.relative_to(target).as_posix())
    return sorted(names)


def component_configs(layout: Layout, dtype: str | None) -> dict[str, str]:
    """The configs of components that change: file -> text.

    Args:
        layout: the donor.
        dtype: what the weights are written in; None: as the donor's are.
    """
    found = {}
    for name, one in layout.components.items():
        path = one.folder / CONFIG
        if "model_type" not in one.config:  # of a class that takes no other keys
            continue
        changed = config_of(one, dtype)
        if changed != json.loads(path.read_text(encoding="utf-8")):
            text = json.dumps(changed, indent=2, ensure_ascii=False)
            found[f"{name}/{CONFIG}"] = text + "\n"
    return found


def _beside(layout: Layout) -> Iterator[Path]:
    """The files of a pipeline that are copied."""
    folder = layout.folder
    if (folder / INDEX).is_file():
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        inner = [folder / name for name, kind in index.items() if isinstance(kind, list)]
        places = [*(file for file in folder.iterdir() if file.is_file()), *inner]
    else:
        places = [*companions_of(layout), *(one.folder for one in layout.components.values())]
    for place in dict.fromkeys(places):
        files = [place] if place.is_file() else sorted(place.rglob("*")) if place.is_dir() else []
        for file in files:
            if file.is_file() and not _is_weights(file.name) and file.name not in CARDS:
                yield file


def _is_weights(name: str) -> bool:
    """Whether a file holds weights, or is an index of such files."""
    return name.endswith(WEIGHTS) or any(end in name for end in INDICES)


def _renamed(file: Path) -> str:
    """The name in safetensors of a torch file, as libraries look for it."""
    stem = stem_of(file.name).removesuffix(file.suffix)
    return "model" if stem == "pytorch_model" else stem
