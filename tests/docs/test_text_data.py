"""What the guide on text data says runs, and it names every option and format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from doc_pages import text_of
from guide_pages import commands
from text_files import sentences, write_config, write_tokenizer

from onefold.sources import build_model, hfdata, text_columns
from onefold.sources.table_formats import FORMATS

PAGE = "guides/text_data.md"


def save_models(folder: Path) -> None:
    """The folders a, b and gpt of the page, as save_pretrained writes them."""
    sizes = {"model_type": "gpt2", "vocab_size": 24, "n_embd": 16, "n_layer": 1, "n_head": 2}
    ends = {"n_positions": 32, "bos_token_id": 2, "eos_token_id": 3}
    for seed, name in enumerate("ab"):
        write_config(write_tokenizer(folder / name), num_labels=2)
        torch.manual_seed(seed)
        build_model(f"hf:{folder / name}").save_pretrained(folder / name)
    write_config(write_tokenizer(folder / "gpt"), "GPT2LMHeadModel", **sizes, **ends)
    build_model(f"hf:{folder / 'gpt'}").save_pretrained(folder / "gpt")


@pytest.mark.slow
def test_the_commands_of_the_page(
    root: Path, onefold: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_models(tmp_path)
    for place in ("reviews", "books"):
        (tmp_path / place).mkdir()
    for seed, split in enumerate(("train", "test")):
        rows = [f"{text},{label}" for text, label in sentences(60, seed)]
        (tmp_path / "reviews" / f"{split}.csv").write_text("sentence,stars\n" + "\n".join(rows))
        (tmp_path / "books" / f"{split}.txt").write_text("\n".join(t for t, _ in sentences(60)))
    found = commands(root, PAGE)
    assert len(found) == 3
    for command in found:
        done = onefold(*command[1:])
        assert done.status == 0, done.err
    assert "perplexity" in done.out


def test_options_and_formats_stand_there(root: Path) -> None:
    page = " ".join(text_of(root, PAGE).split())
    for ending in set(FORMATS) - {".tab", ".ndjson"}:
        assert f"`{ending}`" in page
    for option in {*text_columns.OPTIONS, *hfdata.OPTIONS} - {"mean", "std", "size", "channels"}:
        assert f"`{option}" in page or f"{option}=" in page, option
