"""The files beside the weights: config, code and the like. They are copied from one model.

Files of tokenizers are not among them: `onefold.checkpoints.vocabulary` writes these.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onefold.checkpoints.layouts import Layout
from onefold.checkpoints.layouts.reading import CONFIG
from onefold.checkpoints.plan.layer_counts import Layers, parts_of, set_layers

NAMES = (
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)
PATTERNS = ("*.py",)
NONE: Layers = {}
MODULES = "modules.json"  # of sentence-transformers: the folders of further modules


def companions_of(layout: Layout) -> Iterator[Path]:
    """The files and folders beside the weights of a folder that belong to the model."""
    if not layout.path.is_dir():
        return
    folder = layout.folder
    found = {folder / name for name in NAMES if (folder / name).is_file()}
    for pattern in PATTERNS:
        found.update(folder.glob(pattern))
    found.update(folder / name for name in _modules(folder))
    yield from sorted(found)


def copy_companions(layout: Layout, target: Path) -> list[str]:
    """Copy them into a folder; links are followed.

    Returns:
        The names of what was copied.

    Raises:
        OSError: one cannot be read or written.
    """
    names = []
    for path in companions_of(layout):
        place = target / path.name
        if path.is_dir():
            shutil.copytree(path, place, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, place)
        names.append(path.name)
    return names


def config_of(layout: Layout, dtype: str | None, layers: Layers = NONE) -> dict[str, Any]:
    """The content of the config of the result; {}: the donor has none.

    Args:
        layout: the donor.
        dtype: what the weights were written in; None: as the donor's are.
        layers: module -> the number of the donor's layers, and that of the result.

    Raises:
        WeightsError: the donor's config does not say where a number of layers stands.
    """
    if not layout.config:
        return {}
    config: dict[str, Any] = json.loads(json.dumps(layout.config))
    if dtype is not None:
        for part in parts_of(config):
            for key in ("dtype", "torch_dtype"):
                if key in part:
                    part[key] = dtype
        if "dtype" not in config and "torch_dtype" not in config:
            config["torch_dtype"] = dtype
    for module, (old, new) in layers.items():
        if old != new:
            set_layers(config, module, old, new, layout.path / CONFIG)
    return config


def check_layers(layout: Layout, layers: Layers) -> None:
    """Refuse another number of layers where the config does not say it.

    Raises:
        WeightsError: so it is.
    """
    config_of(layout, None, layers)


def _modules(folder: Path) -> list[str]:
    """The folders that sentence-transformers' list of modules names."""
    try:
        content = json.loads((folder / MODULES).read_text(encoding="utf-8"))
        paths = [str(one["path"]) for one in content if isinstance(one, Mapping) and one["path"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [
        p for p in paths if Path(p).name == p and (folder / p).is_dir() and p not in ("..", ".")
    ]
