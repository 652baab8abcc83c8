"""Configs that say unlike things of what weights mean are told in a merge."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
from fine_tunes import family

import onefold as of
from onefold.checkpoints import document_of
from onefold.checkpoints.engine.config_doubts import ConfigWarning


def changed(folder: str, **values: Any) -> None:
    path = Path(folder) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_another_base_of_positions_is_told(tmp_path: Path) -> None:
    base, code, math = family(tmp_path, tiny.llama)
    changed(code, rms_norm_eps=1e-3)
    document = document_of([code, math], "task_arithmetic", base, {"weight": 0.5})
    with pytest.warns(ConfigWarning, match="The configs differ in rms_norm_eps") as told:
        made = of.merge_checkpoints(document, tmp_path / "out", dry_run=True)
    assert any(f"0.001 in {code}" in str(one.message) for one in told)
    assert any("that of" in note and "is written" in note for note in made.notes)


def test_equal_configs_and_what_is_told_elsewhere_give_no_warning(tmp_path: Path) -> None:
    base, code, math = family(tmp_path, tiny.llama)
    changed(code, architectures=["Another"], transformers_version="1", max_position_embeddings=9)
    document = document_of([code, math], "task_arithmetic", base, {"weight": 0.5})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of.merge_checkpoints(document, tmp_path / "out", dry_run=True)
