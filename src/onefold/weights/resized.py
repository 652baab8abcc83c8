"""Files of networks whose widths differ from those that their class was built with.

`onefold.widths.resize` marks such a network with plain data. `save` writes the mark into the file's
metadata, by which `onefold.load_resized` makes the network again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

KEY = "onefold.resized"  # of a checkpoint's metadata
MARK = "_onefold_resized"  # attribute of a resized network: a dict of plain data


def mark_of(module: nn.Module) -> dict[str, Any]:
    """What `resize` has noted of a network; empty if it has its own widths."""
    found = vars(module).get(MARK)
    return found if isinstance(found, dict) else {}


def metadata_of(module: nn.Module) -> dict[str, str]:
    """The entry of a file's metadata that says how a network was resized; empty if it was not."""
    mark = mark_of(module)
    if not mark:
        return {}
    return {KEY: json.dumps(mark, sort_keys=True)}


def advice(metadata: Mapping[str, str]) -> str:
    """The end of an error about a file that does not fit a network; "" if it is not resized."""
    if KEY not in metadata:
        return ""
    return "it holds a network that was resized: onefold.load_resized(factory, file) reads it."
