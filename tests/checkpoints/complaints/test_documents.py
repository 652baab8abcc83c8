"""Complaints 1 and 18 of users of mergekit, and smaller ones, on documents.

Source: the issues of github.com/arcee-ai/mergekit; the numbers stand with each test.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import tiny_checkpoints as tiny
import torch
from fine_tunes import family, linear, ties, written

import onefold as of
from onefold.checkpoints.engine.inputs import Inputs
from onefold.errors import RecipeError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """What a server in place of huggingface.co was asked for; it has nothing."""
    paths: list[str] = []

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    yield paths
    server.shutdown()
    server.server_close()


@pytest.fixture
def nothing_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads a tensor fails."""

    def fail(self: Inputs, held: object) -> None:
        raise AssertionError(f"{held} was read")

    monkeypatch.setattr(Inputs, "tensor", fail)


# 527
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"merge_method": "dare-ties"},
            "there is no method 'dare-ties'; did you mean 'dare_ties'?",
        ),
        ({"dtype": "bfloat"}, "there is no such dtype; did you mean 'bfloat16'?"),
        ({"parameters": {"densty": 0.5}}, "did you mean 'density'?"),
    ],
)
def test_a_wrong_document_is_refused_before_anything_is_fetched(
    tmp_path: Path,
    asked: list[str],
    refused: Callable[..., str],
    change: dict[str, object],
    sentence: str,
) -> None:
    """Complaint 1: a typing error shows only after the models were downloaded."""
    document = ties(["org/base", "org/a", "org/b"], **change)
    told = refused(
        "merge", written(tmp_path / "c.yml", document), "--download", "-o", tmp_path / "o"
    )
    assert sentence in told
    assert asked == []


def test_the_server_would_have_been_asked(
    tmp_path: Path, asked: list[str], refused: Callable[..., str]
) -> None:
    document = written(tmp_path / "c.yml", ties(["org/base", "org/a", "org/b"]))
    refused("merge", document, "--download", "-o", tmp_path / "o")
    assert asked


def in_cache(tmp_path: Path, name: str, layers: int, kind: str = "llama", more: int = 0) -> None:
    """What stands beside the weights of a model, in the cache."""
    model, commit = tmp_path / "cache" / f"models--{name.replace('/', '--')}", "0" * 40
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    (model / "snapshots" / commit).mkdir(parents=True)
    config = {"model_type": kind, "num_hidden_layers": layers, "num_nextn_predict_layers": more}
    (model / "snapshots" / commit / "config.json").write_text(json.dumps(config))


# 527
def test_configs_are_compared_before_weights_are_fetched(
    tmp_path: Path, asked: list[str], refused: Callable[..., str]
) -> None:
    """Complaint 1: models with other numbers of layers are refused after hours of fetching."""
    in_cache(tmp_path, "org/base", 32)
    in_cache(tmp_path, "org/a", 30)
    document = written(tmp_path / "c.yml", ties(["org/base", "org/a"]))
    told = refused("merge", document, "--download", "-o", tmp_path / "o")
    assert "line 2, key 'base_model': the config of org/base has 32 layers, and that of" in told
    assert "org/a 30; choose layers by 'slices'" in told
    sources = [{"model": "org/a", "layer_range": [0, 31]}]
    content = {"merge_method": "passthrough", "slices": [{"sources": sources}]}
    document = written(tmp_path / "d.yml", content)
    told = refused("merge", document, "--download", "-o", tmp_path / "o")
    assert "[0, 31] ends behind the last layer of org/a, whose config has 30" in told
    assert asked == []


# 527
def test_configs_of_different_kinds_are_left_to_headers(
    tmp_path: Path, asked: list[str], refused: Callable[..., str]
) -> None:
    """Complaint 1, the other way: what a config does not tell is no reason to refuse."""
    in_cache(tmp_path, "org/base", 32)
    in_cache(tmp_path, "org/a", 30, "other")
    document = written(tmp_path / "c.yml", ties(["org/base", "org/a"]))
    assert "cannot be fetched" in refused("merge", document, "--download", "-o", tmp_path / "o")
    assert asked
    in_cache(tmp_path, "org/predicts", 30, more=1)
    sources = [{"model": "org/predicts", "layer_range": [0, 31]}]
    content = {"merge_method": "passthrough", "slices": [{"sources": sources}]}
    document = written(tmp_path / "d.yml", content)
    assert "cannot be fetched" in refused("merge", document, "--download", "-o", tmp_path / "o")


# 527
def test_different_numbers_of_layers_are_told_from_headers(
    tmp_path: Path, nothing_read: None, refused: Callable[..., str]
) -> None:
    """Complaint 1: models with other numbers of layers fail in the middle of the merge."""
    paths = [str(tiny.write(tmp_path / str(n), tiny.llama(n), n)) for n in (3, 2)]
    document = written(tmp_path / "c.yml", linear(paths))
    told = refused("merge", document, "-o", tmp_path / "o")
    assert f"{paths[1]} has 2 layers, and {paths[0]} has 3; choose layers by 'slices'" in told
    assert "line" in told
    assert not (tmp_path / "o").exists()


# 527
def test_shapes_and_missing_values_are_told_from_headers(
    tmp_path: Path, nothing_read: None, refused: Callable[..., str]
) -> None:
    """Complaint 1: other shapes fail in the middle of the merge."""
    paths = [str(tiny.write(tmp_path / "a", tiny.llama(), 0))]
    paths.append(str(tiny.write(tmp_path / "b", tiny.llama(max_position_embeddings=8), 1)))
    wide = tiny.transformers().LlamaConfig(
        hidden_size=16,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=2,
        vocab_size=300,
    )
    paths.append(str(tiny.write(tmp_path / "c", tiny.transformers().LlamaForCausalLM(wide), 2)))
    told = refused("merge", *paths, "--method", "linear", "-o", tmp_path / "o")
    assert "has different shapes" in told
    assert "16 x 40 in" in told


# 611, 248
MISPLACED = {
    "beside its model": (
        "models:\n  - model: {a}\n    weight: 0.5\n"
        "  - model: {b}\n    parameters: {{weight: 0.5}}\n",
        ("line 4", "'models.0.weight'", "parameters"),
    ),
    "at the top": (
        "models:\n  - model: {a}\n  - model: {b}\nweight: 0.5\n",
        ("line 5", "'weight'", "parameters"),
    ),
    "forgotten for one model": (
        "models:\n  - model: {a}\n    parameters: {{weight: 0.5}}\n  - model: {b}\n",
        ("line 5", "linear needs a value for 'weight' of", "give it under 'parameters'"),
    ),
    "forgotten for the base, which is one more model": (
        "models:\n  - model: {a}\n    parameters: {{weight: 0.5}}\nbase_model: {b}\n",
        ("line 5", "'base_model'", "linear needs a value for 'weight' of"),
    ),
    "for some tensors alone": (
        "models:\n  - model: {a}\n    parameters:\n      weight:\n        - filter: mlp\n"
        "          value: 1\n  - model: {b}\n    parameters: {{weight: 0.5}}\n",
        ("line 3", "at 'model.embed_tokens.weight', 'weight' of", "without a filter"),
    ),
}


@pytest.mark.parametrize("name", MISPLACED)
def test_a_weight_at_the_wrong_place_is_told_with_its_line(
    tmp_path: Path, nothing_read: None, refused: Callable[..., str], name: str
) -> None:
    """Complaint 18: 'Missing required parameter weight', although the document has one."""
    a, b = family(tmp_path, tiny.llama, 1)
    text, parts = MISPLACED[name]
    (tmp_path / "c.yml").write_text("merge_method: linear\n" + text.format(a=a, b=b))
    told = refused("merge", tmp_path / "c.yml", "-o", tmp_path / "o")
    for part in parts:
        assert part in told, told


# 360
def test_the_end_of_a_layer_range_is_behind_the_last_layer(tmp_path: Path) -> None:
    """A layer is lost, as the second number of layer_range is not itself a layer."""
    (path,) = family(tmp_path, tiny.llama, 0)

    def passed(low: int, high: int) -> dict[str, object]:
        sources = [{"model": path, "layer_range": [low, high]}]
        return {"merge_method": "passthrough", "slices": [{"sources": sources}]}

    made = of.merge_checkpoints(written(tmp_path / "c.yml", passed(0, 3)), tmp_path / "all")
    assert set(tiny.stored(made.path)) == set(tiny.stored(Path(path)))
    with pytest.raises(
        RecipeError, match=r"ends behind the last layer of .*, which has 3; the second"
    ):
        of.merge_checkpoints(written(tmp_path / "d.yml", passed(0, 4)), tmp_path / "four")
    with pytest.raises(RecipeError, match="not end first"):
        of.merge_checkpoints(written(tmp_path / "e.yml", passed(2, 1)), tmp_path / "less")


# 214
@pytest.mark.parametrize("method", ["linear", "ties", "della"])
def test_a_weight_that_is_divided_by_itself_is_told(tmp_path: Path, method: str) -> None:
    """The result is the input, whatever the weight, as normalize is set by default."""
    base, tuned = family(tmp_path, tiny.llama, 1)
    content = {"merge_method": method, "models": [{"model": tuned, "parameters": {"weight": 0.3}}]}
    if method != "linear":
        content["base_model"] = base
    made = of.merge_checkpoints(written(tmp_path / "c.yml", content), tmp_path / "one")
    merged, own = tiny.stored(made.path), tiny.stored(Path(tuned))
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, own[name])
    assert any("the weight of the only model" in note for note in made.notes), made.notes
    content["parameters"] = {"normalize": False}
    made = of.merge_checkpoints(written(tmp_path / "d.yml", content), tmp_path / "two")
    assert not any("the weight of the only model" in note for note in made.notes)
    start = tiny.stored(Path(base))
    for name, tensor in tiny.stored(made.path).items():
        expected = 0.3 * own[name]
        if method != "linear":
            expected = start[name] + 0.3 * (own[name] - start[name])
        torch.testing.assert_close(tensor, expected)
