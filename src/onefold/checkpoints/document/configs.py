"""Numbers of layers as configs tell them, compared before weights are fetched.

Weights take hours to fetch and configs a second. What is refused here would be refused by headers
as well; where a config says nothing, headers decide alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onefold.checkpoints.document.content import WHOLE, Document, Reference
from onefold.checkpoints.document.slices import parts_of, with_base
from onefold.printable import counted

LAYERS, MORE = "num_hidden_layers", "num_nextn_predict_layers"  # MORE are stored behind the layers


def check_configs(document: Document, folders: Mapping[Reference, Path]) -> None:
    """Compare the numbers of layers in the configs of models with one another and with ranges.

    Args:
        document: the document.
        folders: the folder of each model that has one.

    Raises:
        RecipeError: they do not go together; the message names the line.
    """
    configs = {model: _config(folder) for model, folder in folders.items()}
    for module in document.modules:
        if module.name != WHOLE:
            continue
        for part in parts_of(module):
            first: tuple[Reference, object, int] | None = None
            for one in with_base(document, part).inputs:
                kind, count, more = _layers(configs.get(one.model, {}))
                if count is None:
                    continue
                if one.layers is not None and one.layers[1] > count + more:
                    raise document.error(
                        (*one.at, "layer_range"),
                        f"{list(one.layers)} ends behind the last layer of {one.model}, whose"
                        f" config has {count}",
                    )
                if one.layers is None and first is not None and first[1:] != (kind, count):
                    if first[1] != kind:
                        continue
                    raise document.error(
                        (*one.at, "model") if one.at != ("base_model",) else one.at,
                        f"the config of {one.model} has {counted(count, 'layer')}, and that of"
                        f" {first[0]} {first[2]}; choose layers by 'slices' with 'layer_range'",
                    )
                first = first or (one.model, kind, count)


def _layers(config: Mapping[str, Any]) -> tuple[object, int | None, int]:
    """The kind of network, its number of layers, and how many more may be stored."""
    inner = config.get("text_config")
    for told in (config, inner if isinstance(inner, dict) else {}):
        count, more = told.get(LAYERS), told.get(MORE)
        if isinstance(count, int) and not isinstance(count, bool):
            return config.get("model_type"), count, more if isinstance(more, int) else 0
    return None, None, 0


def _config(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # the reader of weights tells what is wrong with it
    return content if isinstance(content, dict) else {}
