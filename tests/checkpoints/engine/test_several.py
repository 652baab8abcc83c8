"""Several documents that refer to one another are planned and checked before any is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from fine_tunes import family, linear, moved, put, ties, written

import onefold
from onefold.checkpoints.document import read_documents
from onefold.checkpoints.engine.expected import expected_result
from onefold.checkpoints.engine.merging import Settings
from onefold.checkpoints.engine.preparing import Context, prepare
from onefold.checkpoints.layouts import read_layout
from onefold.errors import MembersError, OnefoldError, OutputError, RecipeError

PLAIN = {f"t{i}": i for i in range(300)}


def several(tmp_path: Path, *contents: Any) -> Path:
    return written(tmp_path / "c.yml", *contents)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def with_tokens(folder: str, *more: str) -> None:
    tokens = {**PLAIN, **{one: 300 + i for i, one in enumerate(more)}}
    tiny.with_tokenizer(Path(folder), tokens)


def grown(folder: Path, source: str, rows: int, seed: int) -> str:
    """A fine-tune with more rows of its vocabulary, a token for each."""
    state = moved(tiny.stored(Path(source)), seed)
    name = "model.embed_tokens.weight"
    more = torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed))
    state[name] = torch.cat([state[name], more])
    config = json.loads((Path(source) / "config.json").read_text()) | {"vocab_size": 300 + rows}
    path = put(folder, state, config)
    with_tokens(path, *(f"new{i}" for i in range(rows)))
    return path


@pytest.mark.parametrize("kind", ["plain", "dtype", "slices", "union", "shards", "bert"])
def test_what_is_expected_of_a_result_is_what_it_is(tmp_path: Path, kind: str) -> None:
    base, first, second = family(tmp_path, tiny.bert if kind == "bert" else tiny.llama)
    content = ties([base, first, second], name="first")
    if kind == "dtype":
        content["dtype"] = "bfloat16"
    if kind == "slices":
        whole = {"sources": [{"model": base, "layer_range": [0, 3]}]}
        part = {"sources": [{"model": first, "layer_range": [1, 2]}]}
        content = {"merge_method": "passthrough", "name": "first", "slices": [whole, part]}
    if kind == "union":
        with_tokens(base)
        with_tokens(first)
        second = grown(tmp_path / "grown", base, 5, 9)
        content = linear([base, first, second], name="first", tokenizer_source="union")
    path = several(tmp_path, content, linear(["first", base]))
    size = 4000 if kind == "shards" else 10**9
    (tmp_path / "beside").mkdir()
    document = read_documents(path)[0]
    planned = prepare(document, tmp_path / "out-first", Context(Settings(1, 10**6, size)))
    place = tmp_path / "out-first"
    expected = expected_result(planned.plan, place, tmp_path / "beside", planned.template).layout
    onefold.merge_checkpoints(document, place, max_shard_size=size)
    found = read_layout(place)
    assert list(expected.tensors.values()) == list(found.tensors.values())
    assert expected.config == found.config
    assert expected.metadata == found.metadata
    assert expected.files == found.files
    assert expected.notes == tuple(one for one in found.notes if " shards that " not in one)
    for file in (tmp_path / "beside").iterdir():
        if file.name != "config.json":
            assert file.read_bytes() == (place / file.name).read_bytes(), file.name


@pytest.mark.parametrize("kind", ["plain", "union", "base"])
def test_a_dry_run_tells_of_every_document_what_the_merge_then_tells(
    tmp_path: Path, kind: str
) -> None:
    base, first, second = family(tmp_path, tiny.llama)
    tokens: dict[str, Any] = {}
    if kind == "union":
        with_tokens(base)
        with_tokens(first)
        second = grown(tmp_path / "grown", base, 3, 4)
        tokens = {"tokenizer_source": "union"}
    last = ties([base, "half", second]) if kind == "base" else linear(["half", second])
    path = several(tmp_path, linear([base, first], name="half"), {**last, **tokens})
    before = files_in(tmp_path)
    told = onefold.merge_checkpoints(path, tmp_path / "out", dry_run=True)
    assert files_in(tmp_path) == before
    made = onefold.merge_checkpoints(path, tmp_path / "out")
    for plan, done in ((told, made), (told.before[0], made.before[0])):
        assert (plan.merged, plan.copied, plan.files) == (done.merged, done.copied, done.files)
        assert (plan.rows, plan.tokenizer) == (done.rows, done.tokenizer)
        assert plan.estimate == done.estimate
        assert not plan.written
        assert done.written
    assert [note for note in told.notes if "not there yet" in note] == [
        "half is not there yet and is taken as its own plan tells it; its values are looked at when"
        " it is there."
    ]
    assert not any("not there yet" in note for note in made.notes)
    if kind == "base":
        assert "half" not in told.task_vectors
        assert 0 < made.task_vectors["half"] < 0.2
    assert told.room is not None
    assert told.room.needed > told.estimate.written + told.before[0].estimate.written
    assert told.room.text in str(told)


def test_pipelines_are_expected_as_well(tmp_path: Path) -> None:
    from checkpoints.layouts.test_pipelines import diffusion

    paths = [str(diffusion(tmp_path / name, seed)) for seed, name in enumerate("abc")]
    path = several(tmp_path, linear(paths[:2], name="half"), linear(["half", paths[2]]))
    told = onefold.merge_checkpoints(path, tmp_path / "out", dry_run=True)
    made = onefold.merge_checkpoints(path, tmp_path / "out")
    assert (told.merged, told.files) == (made.merged, made.files)


FAULTS: dict[str, tuple[type[OnefoldError], str]] = {
    "shape": (MembersError, "different shapes"),
    "model": (RecipeError, "there is no './nowhere'"),
    "layers": (RecipeError, "layer_range"),
    "filter": (RecipeError, "filter"),
    "tokens": (MembersError, "vocabular|token"),
    "single": (OutputError, "is the name of a file"),
    "output": (OutputError, "exists already"),
}


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_later_document_shows_before_anything_is_written(
    tmp_path: Path, fault: str, dry: bool
) -> None:
    base, first, second = family(tmp_path, tiny.llama)
    out = tmp_path / ("out.safetensors" if fault == "single" else "out")
    last = linear(["half", second])
    if fault == "shape":
        state = tiny.stored(Path(second))
        state["model.layers.0.mlp.up_proj.weight"] = torch.zeros(32, 16)
        last = linear(["half", put(tmp_path / "other", state)])
    if fault == "model":
        last = linear(["half", "./nowhere"])
    if fault == "layers":
        one = {"sources": [{"model": "half", "layer_range": [2, 9]}]}
        last = {"merge_method": "passthrough", "slices": [one]}
    if fault == "filter":
        last["models"][0]["parameters"]["weight"] = [{"filter": "nope", "value": 1}, {"value": 1}]
    if fault == "tokens":
        with_tokens(base)
        with_tokens(first)
        last = linear(["half", grown(tmp_path / "grown", base, 2, 3)])
    if fault == "output":
        (tmp_path / "out-half2").mkdir()
        (tmp_path / "out-half2" / "mine.txt").touch()
        last = linear(["half", "half2"])
    contents = [linear([base, first], name="half"), last]
    if fault == "output":
        contents.insert(1, linear(["half", second], name="half2"))
    path = several(tmp_path, *contents)
    before = files_in(tmp_path)
    kind, sentence = FAULTS[fault]
    with pytest.raises(kind, match=sentence):
        onefold.merge_checkpoints(path, out, dry_run=dry)
    assert files_in(tmp_path) == before


def test_documents_given_in_any_order_are_carried_out_in_theirs(tmp_path: Path) -> None:
    base, first, second = family(tmp_path, tiny.llama)
    path = several(tmp_path, linear([base, first], name="half"), linear(["half", second]))
    documents = read_documents(path)
    made = onefold.merge_checkpoints(list(reversed(documents)), tmp_path / "out")
    assert made.document.name is None
    assert [one.document.name for one in made.before] == ["half"]
    with pytest.raises(RecipeError, match="another document has the name"):
        onefold.merge_checkpoints([documents[0]] * 2, tmp_path / "again")


def test_a_result_that_an_earlier_run_left_is_planned_from_itself(tmp_path: Path) -> None:
    base, first, second = family(tmp_path, tiny.llama)
    path = several(tmp_path, linear([base, first], name="half"), ties([base, "half", second]))
    document = read_documents(path)[0]
    onefold.merge_checkpoints([document], tmp_path / "out-half")
    told = onefold.merge_checkpoints(path, tmp_path / "out", dry_run=True)
    assert not any("not there yet" in note for note in told.notes)
    assert 0 < told.task_vectors["half"] < 0.2
