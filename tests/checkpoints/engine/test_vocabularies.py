"""Models whose tokenizers differ: rows are put together by token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch

import onefold
from onefold.errors import MembersError

EMBEDDING = "model.embed_tokens.weight"
PLAIN = {f"t{i}": i for i in range(296)}


def model(folder: Path, seed: int, rows: int, added: dict[str, int], tied: bool = True) -> str:
    """A model with 296 plain tokens and some that were added behind them."""
    tiny.write(folder, tiny.llama(vocab_size=rows, tie_word_embeddings=tied), seed)
    entries = [{"id": number, "content": token, "special": True} for token, number in added.items()]
    content = {"model": {"type": "WordLevel", "vocab": PLAIN}, "added_tokens": entries}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return str(folder)


def merged(tmp_path: Path, paths: list[str], **tokenizer: Any) -> Any:
    content = {
        "merge_method": "linear",
        "models": [{"model": path} for path in paths],
        "parameters": {"weight": 1.0},
        **tokenizer,
    }
    return onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")


def test_the_union_has_every_token_and_says_what_was_filled(tmp_path: Path) -> None:
    first = model(tmp_path / "a", 0, 300, {"<x>": 296, "<y>": 297})
    second = model(tmp_path / "b", 1, 304, {"<y>": 296, "<z>": 297})
    made = merged(tmp_path, [first, second], tokenizer_source="union")
    one, two = tiny.stored(Path(first))[EMBEDDING], tiny.stored(Path(second))[EMBEDDING]
    found = tiny.stored(made.path)[EMBEDDING]
    assert found.shape == (300, 16)
    torch.testing.assert_close(found[:296], (one[:296] + two[:296]) / 2)
    torch.testing.assert_close(found[296], one[296])  # <x>, which the second one lacks
    torch.testing.assert_close(found[297], (one[297] + two[296]) / 2)  # <y>
    torch.testing.assert_close(found[298], two[297])  # <z>, which took a row of padding
    torch.testing.assert_close(found[299], (one[299] + two[299]) / 2)  # padding of both
    tokenizer = json.loads((made.path / "tokenizer.json").read_text())
    numbers = {entry["content"]: entry["id"] for entry in tokenizer["added_tokens"]}
    assert numbers == {"<x>": 296, "<y>": 297, "<z>": 298}
    told = " ".join(made.notes)
    assert f"{second} lacks 1 rows, filled: 1 from {first}." in told
    assert f"{first} lacks 1 rows, filled: 1 from {second}." in told
    network = tiny.transformers().LlamaForCausalLM.from_pretrained(made.path)
    assert torch.equal(network.state_dict()[EMBEDDING], found)


def test_the_tokens_of_one_model(tmp_path: Path) -> None:
    first = model(tmp_path / "a", 0, 300, {"<x>": 296}, tied=False)
    second = model(tmp_path / "b", 1, 304, {"<z>": 296, "<x>": 297}, tied=False)
    made = merged(tmp_path, [first, second], tokenizer_source=second)
    states = [tiny.stored(Path(path)) for path in (first, second)]
    for name in (EMBEDDING, "lm_head.weight"):
        found, (one, two) = tiny.stored(made.path)[name], (state[name] for state in states)
        assert found.shape == (304, 16)
        torch.testing.assert_close(found[296], two[296])
        torch.testing.assert_close(found[297], (one[296] + two[297]) / 2)
        torch.testing.assert_close(found[303], two[303])
    assert json.loads((made.path / "config.json").read_text())["vocab_size"] == 304
    tokenizer = json.loads((made.path / "tokenizer.json").read_text())
    assert [entry["content"] for entry in tokenizer["added_tokens"]] == ["<z>", "<x>"]


def test_padding_to_a_multiple_and_a_base(tmp_path: Path) -> None:
    base = model(tmp_path / "base", 0, 296, {})
    paths = [model(tmp_path / f"m{i}", i, 297, {"<x>": 296}) for i in (1, 2)]
    content = {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "models": [{"model": path} for path in paths],
        "parameters": {"weight": 0.5},
        "tokenizer": {"source": "union", "pad_to_multiple_of": 64},
    }
    made = onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    found = tiny.stored(made.path)[EMBEDDING]
    rows = [tiny.stored(Path(path))[EMBEDDING][296] for path in paths]
    assert found.shape == (320, 16)
    torch.testing.assert_close(found[296], (rows[0] + rows[1]) / 2)
    assert torch.equal(found[297:], torch.zeros(23, 16))


def test_equal_tokenizers_change_nothing(tmp_path: Path) -> None:
    paths = [model(tmp_path / f"m{i}", i, 300, {"<x>": 296}) for i in range(2)]
    made = merged(tmp_path, paths, tokenizer_source="union")
    assert "same tokens" in " ".join(made.notes)
    first, second = (tiny.stored(Path(path))[EMBEDDING] for path in paths)
    torch.testing.assert_close(tiny.stored(made.path)[EMBEDDING], (first + second) / 2)


def test_without_a_decision_rows_go_by_number_and_that_is_told(tmp_path: Path) -> None:
    first = model(tmp_path / "a", 0, 300, {"<x>": 296, "<y>": 297})
    second = model(tmp_path / "b", 1, 300, {"<y>": 296, "<x>": 297})
    made = merged(tmp_path, [first, second])
    assert "differ in 4 tokens or their numbers" in " ".join(made.notes)


def test_what_is_not_done_is_refused(tmp_path: Path) -> None:
    first = model(tmp_path / "a", 0, 300, {})
    other = model(tmp_path / "b", 1, 304, {})
    with pytest.raises(MembersError, match=r"300 x 16 in .*304 x 16 in .*tokenizer_source"):
        merged(tmp_path, [first, other])
    tokens = {"tokens": {"<q>": {"source": {"kind": "zero"}}}}
    with pytest.raises(MembersError, match="single tokens"):
        merged(tmp_path, [first, other], tokenizer=tokens)
    tiny.with_tokenizer(Path(other), {**PLAIN, "own": 296})
    with pytest.raises(MembersError, match="1 tokens, such as 'own'"):
        merged(tmp_path, [first, other], tokenizer_source="union")
    (Path(other) / "tokenizer.json").unlink()
    with pytest.raises(MembersError, match="cannot be told"):
        merged(tmp_path, [first, other], tokenizer_source="union")
    assert not (tmp_path / "out").exists()
