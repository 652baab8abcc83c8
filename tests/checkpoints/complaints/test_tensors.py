"""Complaints 8, 9 and 10 of users of mergekit: heads, dtypes, and tensors that get lost.

Source: the issues of github.com/arcee-ai/mergekit; the numbers stand with each test.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from fine_tunes import family, linear, moved, put, ties, written
from safetensors import safe_open
from torch import Tensor

import onefold as of

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def merged(tmp_path: Path, content: dict[str, Any]) -> tuple[Any, dict[str, Tensor]]:
    made = of.merge_checkpoints(written(tmp_path / "c.yml", content), tmp_path / "o")
    return made, tiny.stored(made.path)


def config_of(path: str | Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(path) / "config.json").read_text())
    return content


# 385, 424, 350, 615
@pytest.mark.parametrize("method", ["ties", "linear"])
def test_a_tied_head_is_neither_written_nor_demanded(tmp_path: Path, method: str) -> None:
    """Complaint 8: a head of a billion parameters too many, or 'lm_head.weight required'."""
    paths = family(tmp_path, tiny.llama)
    assert HEAD not in tiny.stored(Path(paths[0]))
    made, found = merged(tmp_path, ties(paths) if method == "ties" else linear(paths))
    assert HEAD not in found
    assert config_of(made.path)["tie_word_embeddings"] is True
    network = tiny.transformers().AutoModelForCausalLM.from_pretrained(made.path)
    assert network.lm_head.weight is network.model.embed_tokens.weight
    assert torch.equal(network.lm_head.weight, found[EMBEDDING])


# 385, 615
def test_a_copy_of_the_embedding_that_a_fine_tune_stores_as_its_head_is_not_written(
    tmp_path: Path,
) -> None:
    """Complaint 8: one model stores its tied head, and the result is larger than any input."""
    paths = family(tmp_path, tiny.llama)
    state = tiny.stored(Path(paths[1]))
    put(Path(paths[1]), {**state, HEAD: state[EMBEDDING].clone()})
    made, found = merged(tmp_path, ties(paths))
    assert set(found) == set(tiny.stored(Path(paths[0])))
    assert any("lm_head.weight" in note and "not written" in note for note in made.notes)


# 424, 350
def test_a_head_that_one_model_ties_is_merged_from_its_embedding(tmp_path: Path) -> None:
    """Complaint 8: a head that one model has and another ties is 'required, but not present'."""
    base, tuned = family(tmp_path, partial(tiny.llama, tie_word_embeddings=False), 1)
    state = tiny.stored(Path(tuned))
    del state[HEAD]
    put(Path(tuned), state, {**config_of(tuned), "tie_word_embeddings": True})
    made, found = merged(tmp_path, linear([base, tuned]))
    own = tiny.stored(Path(base))
    torch.testing.assert_close(found[HEAD], (own[HEAD] + state[EMBEDDING]) / 2)
    assert config_of(made.path)["tie_word_embeddings"] is False
    assert any("is its embedding, to which its config ties it" in note for note in made.notes)


# 604, 316
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "bfloat16"),
        ({"dtype": "float16"}, "float16"),
        ({"dtype": "float32", "out_dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "bfloat16", "out_dtype": "float32"}, "float32"),
        ({"out_dtype": "float16"}, "float16"),
    ],
)
def test_the_dtype_of_the_result_is_that_of_files_and_config(
    tmp_path: Path, asked: dict[str, str], expected: str
) -> None:
    """Complaint 9: dtype seems to be ignored, and the files are twice as large."""
    paths = family(tmp_path, tiny.llama, dtype=torch.bfloat16)
    made, found = merged(tmp_path, linear(paths, **asked))
    assert {str(tensor.dtype) for tensor in found.values()} == {f"torch.{expected}"}
    config = config_of(made.path)
    assert expected in (config.get("dtype"), config.get("torch_dtype"))
    network = tiny.transformers().AutoModelForCausalLM.from_pretrained(made.path, dtype="auto")
    assert str(network.dtype) == f"torch.{expected}"
    size = sum(tensor.numel() * tensor.element_size() for tensor in found.values())
    assert size <= made.estimate.written < size + 20_000


# 604
def test_dtype_rounds_inputs_and_out_dtype_the_result(tmp_path: Path) -> None:
    """Complaint 9: unclear whether dtype is that of the computation or that of the result."""
    paths = family(tmp_path, tiny.llama, 1)
    states = [tiny.stored(Path(path)) for path in paths]
    _, found = merged(tmp_path, linear(paths, dtype="bfloat16", out_dtype="float32"))
    for name, tensor in found.items():
        first, second = (state[name].bfloat16().float() for state in states)
        torch.testing.assert_close(tensor, (first + second) / 2)  # not rounded a second time
        assert not torch.equal(tensor, tensor.bfloat16().float())


def anything(seed: int) -> dict[str, Tensor]:
    """What no list of names of an architecture holds: heads, buffers, further layers, integers."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (32, 8),
        "model.layers.0.mlp.up_proj.weight": (8, 8),
        "model.layers.1.mlp.up_proj.weight": (8, 8),
        "model.mtp.layers.0.eh_proj.weight": (8, 16),
        "model.layers.0.self_attn.rotary_emb.inv_freq": (4,),
        "score.weight": (3, 8),
        "v_head.summary.bias": (1,),
        "adapter_of_my_own.w_12.deep.7.x": (2, 2, 2),
        "scalar": (),
        "empty": (0, 4),
    }
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {**state, "positions": torch.arange(5)}


# 562
@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties", "della", "model_stock", "slerp"])
def test_every_tensor_of_the_base_is_in_the_result(tmp_path: Path, method: str) -> None:
    """Complaint 10: a quarter of the weights was written, without an error."""
    state = anything(0)
    paths = [put(tmp_path / "base", state, {"model_type": "mine"})]
    paths += [put(tmp_path / f"t{i}", moved(state, i), {"model_type": "mine"}) for i in (1, 2)]
    listed = [{"model": path} for path in (paths[1:2] if method == "slerp" else paths[1:])]
    content: dict[str, Any] = {"merge_method": method, "base_model": paths[0], "models": listed}
    if method == "slerp":
        content["parameters"] = {"t": 0.5}
    elif method != "model_stock":
        content["parameters"] = {"weight": 0.5}
    if method == "linear":
        del content["base_model"]
        content["models"] = [{"model": path} for path in paths]
    made, found = merged(tmp_path, content)
    assert set(found) == set(state)
    assert made.merged + made.copied == len(state)
    for name, tensor in found.items():
        assert tensor.shape == state[name].shape
        assert tensor.dtype == state[name].dtype
    changed = [name for name in found if not torch.equal(found[name], state[name])]
    assert "adapter_of_my_own.w_12.deep.7.x" in changed
    assert "score.weight" in changed
    assert torch.equal(found["positions"], state["positions"])
    assert any("positions" in note for note in made.notes)


# 562
def test_every_shard_is_listed_and_holds_what_the_index_says(tmp_path: Path) -> None:
    """Complaint 10: the index and the files do not say the same."""
    paths = family(tmp_path, tiny.llama)
    document = written(tmp_path / "c.yml", ties(paths))
    made = of.merge_checkpoints(document, tmp_path / "o", max_shard_size="4KB")
    index = json.loads((made.path / "model.safetensors.index.json").read_text())
    held: dict[str, str] = {}
    for file in sorted(made.path.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            held |= dict.fromkeys(opened.keys(), file.name)
    assert len(made.files) > 3
    assert held == index["weight_map"]
    assert set(held) == set(tiny.stored(Path(paths[0])))


# 398
def test_norms_that_some_models_lack_are_not_demanded(tmp_path: Path) -> None:
    """Optional tensors, such as norms of queries, are demanded of all models."""
    names = ("model.layers.0.self_attn.q_norm.weight", "model.layers.1.self_attn.q_norm.weight")
    state = anything(0)
    norms = {name: torch.ones(8) for name in names}
    full = put(tmp_path / "full", {**state, **norms}, {"model_type": "mine"})
    plain = put(tmp_path / "plain", moved(state, 1), {"model_type": "mine"})
    made, found = merged(tmp_path, ties([full, plain]))
    assert all(torch.equal(found[name], norms[name]) for name in names)
    assert any(f"as {plain} lacks them" in note for note in made.notes)
    (tmp_path / "again").mkdir()
    made, found = merged(tmp_path / "again", ties([plain, full]))
    assert set(found) == set(state)
    assert any(names[0] in note and "not written" in note for note in made.notes)
