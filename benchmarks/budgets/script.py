"""What the scripts of this folder share that measure one thing and write one file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def write_measured(measure: Callable[[], dict[str, Any]], about: str) -> None:
    """Measure on one thread, print the record, and write it where --out says.

    measure: gives the record. about: the script's own description, for --help.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="the file to write")
    given = parser.parse_args()
    torch.set_num_threads(1)
    text = json.dumps(measure(), indent=1) + "\n"
    print(text)
    if given.out is not None:
        given.out.write_text(text)
