"""Folders of several networks: pipelines of diffusers, modules of sentence-transformers.

`model_index.json` or `modules.json` names the components. Those that hold weights are read as one
checkpoint, whose tensors have the component before their own name, as "unet/conv_in.weight". The
component at the root of the folder, which sentence-transformers may have, has no such prefix.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onefold.checkpoints.layouts.layout import Held, Layout
from onefold.errors import MembersError, WeightsError
from onefold.weights.folders import ENDINGS, NO_WEIGHTS

INDEX, MODULES, ROUTER = "model_index.json", "modules.json", "router_config.json"
FOREIGN = (".msgpack", ".h5", ".onnx", ".gguf")  # weights that are not read
LARGEST = 10_000_000  # bytes of a list of components


def components_of(folder: Path) -> tuple[str, ...]:
    """The components of a folder that hold weights, by their folders; "" is the folder itself.

    Args:
        folder: any folder; without a list of components it has none.

    Raises:
        WeightsError: a list cannot be read, or names a place elsewhere.
    """
    names: list[str] = []
    if (folder / INDEX).is_file():
        listed = _json(folder / INDEX)
        if not isinstance(listed, dict):
            raise WeightsError(f"{folder / INDEX} names no components; get it again.")
        names = [name for name, kind in listed.items() if isinstance(kind, list)]
    elif (folder / MODULES).is_file():
        listed = _json(folder / MODULES)
        parts = listed if isinstance(listed, list) else []
        names = [str(one.get("path") or "") for one in parts if isinstance(one, dict)]
        if (folder / ROUTER).is_file():
            routes = _json(folder / ROUTER)
            kinds = routes.get("types") if isinstance(routes, dict) else None
            names += list(kinds) if isinstance(kinds, dict) else []
    found = []
    for name in dict.fromkeys(name.rstrip("/") for name in names):
        if name in ("", "."):
            found += [""] if _holds_weights(folder) else []
        elif name == ".." or Path(name).name != name:
            if not (folder / name).exists():
                continue
            raise WeightsError(
                f"{folder} lists the component {name[:80]!r}, which is not a folder in it; give a"
                " pipeline whose components are."
            )
        elif _holds_weights(folder / name):
            found.append(name)
    return tuple(found)


def is_pipeline(folder: Path) -> bool:
    """Whether a folder is read component by component.

    Raises:
        WeightsError: the list of its components cannot be read.
    """
    return (folder / INDEX).is_file() or any(components_of(folder))


def read_pipeline(folder: Path, read: Callable[[Path], Layout]) -> Layout:
    """The layout of all components with weights as one.

    Args:
        folder: a pipeline.
        read: reads the layout of one component.

    Raises:
        WeightsError: it has no component with weights, or one of them cannot be read.
    """
    names = components_of(folder)
    if not names:
        raise WeightsError(f"{folder} is a pipeline without weights; get its components again.")
    root = read(folder) if "" in names else Layout(folder, (), {})
    components = {name: read(folder / name) for name in names if name}
    tensors: dict[str, Held] = dict(root.tensors)
    files, notes = list(root.files), list(root.notes)
    for name, layout in components.items():
        for inner, held in layout.tensors.items():
            whole = f"{name}/{inner}"
            tensors[whole] = replace(held, name=whole, key=held.key or held.name)
        files += layout.files
        notes += layout.notes
    return replace(
        root, files=tuple(files), tensors=tensors, notes=tuple(notes), components=components
    )


def check_components(layouts: Mapping[Any, Layout]) -> None:
    """Refuse pipelines of different components.

    Args:
        layouts: all models.

    Raises:
        MembersError: the message names the components.
    """
    parts = {model: _parts(layout) for model, layout in layouts.items()}
    first, known = next(iter(parts.items()))
    for model, own in parts.items():
        if own != known:
            has, lacks = (", ".join(sorted(one)) for one in (own - known, known - own))
            told = [f"has {has}"] if has else []
            told += [f"lacks {lacks}"] if lacks else []
            raise MembersError(
                f"{model} {' and '.join(told)}, unlike {first}; pipelines are merged that hold"
                " weights for the same components, and a single component by its own folder."
            )


def component_of(name: str, layout: Layout) -> str:
    """The component that a tensor belongs to; "" for the folder itself."""
    head, slash, _ = name.partition("/")
    return head if slash and head in layout.components else ""


def _parts(layout: Layout) -> set[str]:
    if not layout.components:
        return set()
    root = {"weights of its own"} if any("/" not in name for name in layout.tensors) else set()
    return root | set(layout.components)


def _holds_weights(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    names = [name for name in names if not name.startswith(NO_WEIGHTS)]
    return any(name.endswith((*ENDINGS, *FOREIGN)) for name in names)


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is too large")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path}, the list of the components of a pipeline, cannot be read"
            f" ({str(error)[:100]}); get it again."
        ) from error
