"""Whether transformers loads a folder, with nothing missing and nothing left over."""

from __future__ import annotations

import functools
import importlib
import json
import sys
from pathlib import Path
from typing import Any

NETWORKS = Path(__file__).resolve().parents[3] / "tests" / "networks"


@functools.cache
def transformers() -> Any:
    """The package behind torchvision, without its bars and remarks."""
    sys.path.insert(0, str(NETWORKS))
    importlib.import_module("tvshim").import_torchvision()
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def unloadable(folder: Path) -> str:
    """Why transformers does not load a folder as it should; empty if it does."""
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    kind = getattr(transformers(), architecture)
    try:
        _, told = kind.from_pretrained(folder, output_loading_info=True)
    except Exception as error:  # whatever transformers raises is the answer
        return f"{type(error).__name__}: {str(error)[:200]}"
    wrong = {
        key: sorted(map(str, names))
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
        if (names := told.get(key))
    }
    return json.dumps(wrong) if wrong else ""
