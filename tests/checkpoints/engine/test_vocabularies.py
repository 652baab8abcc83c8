"""Models whose tokenizers differ: rows are put together by token, and the result loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors.torch import save_file

import onefold
from onefold.checkpoints.document import locate
from onefold.checkpoints.engine.preparing import fingerprint
from onefold.checkpoints.layouts import read_layout
from onefold.checkpoints.plan.planning import plan_merge
from onefold.checkpoints.plan.tokens import VocabularyWarning, planned_tokens
from onefold.checkpoints.vocabulary.row_map import mapped
from onefold.errors import MembersError, RecipeError, SettingError, WeightsError

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
PLAIN = {f"t{i}": i for i in range(296)}


def model(
    folder: Path, seed: int, rows: int, added: dict[str, int], tied: bool = True, **config: Any
) -> str:
    """A model with 296 plain tokens and some that were added behind them."""
    network = tiny.llama(vocab_size=rows, tie_word_embeddings=tied, **config)
    tiny.write(folder, network, seed)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    entries = [
        {"id": number, "content": token, **flags, "special": True}
        for token, number in added.items()
    ]
    content = {
        "version": "1.0",
        "model": {"type": "WordLevel", "vocab": PLAIN, "unk_token": "t0"},
        "pre_tokenizer": {"type": "Whitespace"},
        "added_tokens": entries,
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "t0"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return str(folder)


def merged(folder: Path, paths: list[str], **more: Any) -> Any:
    content = {
        "merge_method": "linear",
        "models": [{"model": path} for path in paths],
        "parameters": {"weight": 1.0},
        **more,
    }
    return onefold.merge_checkpoints(tiny.document(content), folder / "out")


def loaded(folder: Path) -> tuple[Any, Any]:
    """The network and the tokenizer that transformers reads, after a few tokens were written."""
    tf = tiny.transformers()
    network = tf.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    made = network.generate(
        **tokenizer("t5 <x> t7", return_tensors="pt", return_token_type_ids=False),
        max_new_tokens=4,
        do_sample=False,
        pad_token_id=0,
    )
    assert made.shape == (1, 7)
    stored = tiny.stored(folder)
    for name, tensor in network.state_dict().items():
        expected = stored.get(name, stored[EMBEDDING])  # of a head that is tied to it
        assert torch.equal(tensor, expected), name
    return network, tokenizer


@pytest.mark.parametrize("tied", [True, False])
def test_the_union_has_every_token_and_says_what_was_filled(tmp_path: Path, tied: bool) -> None:
    first = model(tmp_path / "a", 0, 300, {"<x>": 296, "<y>": 297}, tied)
    second = model(tmp_path / "b", 1, 304, {"<y>": 296, "<z>": 297}, tied)
    made = merged(tmp_path, [first, second], tokenizer_source="union")
    for name in (EMBEDDING,) if tied else (EMBEDDING, HEAD):
        one, two = tiny.stored(Path(first))[name], tiny.stored(Path(second))[name]
        found = tiny.stored(made.path)[name]
        assert found.shape == (300, 16)
        torch.testing.assert_close(found[:296], (one[:296] + two[:296]) / 2)
        torch.testing.assert_close(found[296], one[296])  # <x>, which the second one lacks
        torch.testing.assert_close(found[297], (one[297] + two[296]) / 2)  # <y>
        torch.testing.assert_close(found[298], two[297])  # <z>, which took a row of padding
        torch.testing.assert_close(found[299], (one[299] + two[299]) / 2)  # padding of both
    told = " ".join(made.notes)
    assert f"{first}: rows of the vocabulary are filled, 1 from the only model that" in told
    assert f"{second}: rows of the vocabulary are filled, 1 from the only model that" in told
    assert f"The tokenizer of {first} gets 1 added token ('<z>')." in told
    assert made.tokenizer == made.donor == first
    expected = {"own": 298, "only owner": 1, "own padding": 1}
    assert made.rows == {first: expected, second: expected}
    network, tokenizer = loaded(made.path)
    assert network.config.vocab_size == 300
    assert tokenizer.convert_tokens_to_ids(["<x>", "<y>", "<z>"]) == [296, 297, 298]


def test_what_was_done_stands_in_the_record_and_the_card(tmp_path: Path) -> None:
    paths = [model(tmp_path / name, 0, 300, {f"<{name}>": 296}) for name in "ab"]
    tokens = {"<new>": {}}
    with pytest.warns(VocabularyWarning, match="No model has 1 of the tokens"):
        made = merged(tmp_path, paths, tokenizer={"source": "union", "tokens": tokens})
    record = json.loads((made.path / "onefold_merge.json").read_text())
    assert record["vocabulary_rows"] == {key: dict(counts) for key, counts in made.rows.items()}
    assert record["tokenizer"] == paths[0]
    assert record["warnings"] == list(made.warned)
    assert set(made.notes) <= set(record["decided"])
    card = (made.path / "README.md").read_text()
    for sentence in made.notes:
        assert sentence in card
        assert sentence in str(made)
    assert "`tokenizer.json`" not in card.split("Copied unchanged")[-1]
    assert "config.json" not in record["copied_files"]


def test_the_tokens_of_one_model(tmp_path: Path) -> None:
    first = model(tmp_path / "a", 0, 300, {"<x>": 296}, tied=False)
    second = model(tmp_path / "b", 1, 304, {"<z>": 296, "<x>": 297}, tied=False)
    made = merged(tmp_path, [first, second], tokenizer_source=second)
    states = [tiny.stored(Path(path)) for path in (first, second)]
    for name in (EMBEDDING, HEAD):
        found, (one, two) = tiny.stored(made.path)[name], (state[name] for state in states)
        assert found.shape == (304, 16)
        torch.testing.assert_close(found[296], two[296])
        torch.testing.assert_close(found[297], (one[296] + two[297]) / 2)
        torch.testing.assert_close(found[303], two[303])
    assert json.loads((made.path / "config.json").read_text())["vocab_size"] == 304
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (made.path / name).read_bytes() == (Path(second) / name).read_bytes()
    assert (made.donor, made.tokenizer) == (first, second)
    assert f"config of {first}, tokenizer of {second}" in str(made)
    loaded(made.path)


def test_numbers_of_tokens_in_configs_follow_their_tokens(tmp_path: Path) -> None:
    first = model(tmp_path / "a", 0, 300, {"<x>": 296, "<e>": 297}, eos_token_id=297)
    second = model(tmp_path / "b", 1, 300, {"<e>": 296, "<x>": 297}, eos_token_id=296)
    generation = {"eos_token_id": [297, 3], "pad_token_id": 0}
    (Path(first) / "generation_config.json").write_text(json.dumps(generation))
    made = merged(tmp_path, [first, second], tokenizer_source=second)
    assert json.loads((made.path / "config.json").read_text())["eos_token_id"] == 296
    told = json.loads((made.path / "generation_config.json").read_text())
    assert told == {"eos_token_id": [296, 3], "pad_token_id": 0}
    loaded(made.path)


@pytest.mark.parametrize(
    ("asked", "size"), [({"source": "union"}, 320), ({"pad_to_multiple_of": 64}, 320), (None, 320)]
)
def test_rows_of_padding_are_kept(tmp_path: Path, asked: Any, size: int) -> None:
    first = model(tmp_path / "a", 0, 320, {"<x>": 296})
    second = model(tmp_path / "b", 1, 297, {"<x>": 296})
    more = {} if asked is None else {"tokenizer": asked}
    made = merged(tmp_path, [first, second], **more)
    one, two = tiny.stored(Path(first))[EMBEDDING], tiny.stored(Path(second))[EMBEDDING]
    found = tiny.stored(made.path)[EMBEDDING]
    assert found.shape == (size, 16)
    torch.testing.assert_close(found[:297], (one[:297] + two) / 2)
    torch.testing.assert_close(found[297:], one[297:])
    loaded(made.path)


def test_padding_to_a_multiple_is_the_mean_row(tmp_path: Path) -> None:
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
    first, second = (tiny.stored(Path(path))[EMBEDDING] for path in paths)
    assert found.shape == (320, 16)
    torch.testing.assert_close(found[296], (first[296] + second[296]) / 2)
    means = [tiny.stored(Path(base))[EMBEDDING].mean(0), first.mean(0), second.mean(0)]
    expected = means[0] + 0.5 * (means[1] - means[0]) + 0.5 * (means[2] - means[0])
    torch.testing.assert_close(found[297:], expected.expand(23, 16), rtol=1e-5, atol=1e-6)


SINGLE = {
    "model": ({"source": "SECOND"}, lambda one, two: (one[297] + two[296]) / 2),
    "forced": ({"source": "SECOND", "force": True}, lambda one, two: two[296]),
    "another": (
        {"source": {"kind": "model_token", "model": "SECOND", "token": "t7"}, "force": True},
        lambda one, two: two[7],
    ),
    "number": (
        {"source": {"kind": "model_token", "model": "FIRST", "token_id": 3}, "force": True},
        lambda one, two: one[3],
    ),
    "zero": ({"source": {"kind": "zero"}, "force": True}, lambda one, two: torch.zeros(16)),
}


@pytest.mark.parametrize("kind", list(SINGLE))
def test_the_row_of_one_token(tmp_path: Path, kind: str) -> None:
    first = model(tmp_path / "a", 0, 300, {"<x>": 296, "<y>": 297})
    second = model(tmp_path / "b", 1, 300, {"<y>": 296})
    told, expected = SINGLE[kind]
    text = json.dumps(told).replace("SECOND", second).replace("FIRST", first)
    made = merged(
        tmp_path,
        [first, second],
        tokenizer={"source": "union", "tokens": {"<y>": json.loads(text)}},
    )
    one, two = tiny.stored(Path(first))[EMBEDDING], tiny.stored(Path(second))[EMBEDDING]
    found = tiny.stored(made.path)[EMBEDDING]
    torch.testing.assert_close(found[297], expected(one, two))
    torch.testing.assert_close(found[:296], (one[:296] + two[:296]) / 2)
    loaded(made.path)


def test_a_new_token_with_the_row_of_a_model_that_is_not_merged(tmp_path: Path) -> None:
    paths = [model(tmp_path / name, seed, 300, {"<x>": 296}) for seed, name in enumerate("ab")]
    third = model(tmp_path / "c", 2, 310, {"<new>": 296})
    tokens = {"<new>": {"source": third}, "<as>": {"source": paths[1]}}
    with pytest.raises(SettingError, match="has no such token"):
        merged(tmp_path, paths, tokenizer={"source": "union", "tokens": tokens})
    tokens["<as>"] = {"source": {"kind": "model_token", "model": paths[1], "token": "t9"}}
    made = merged(tmp_path, paths, tokenizer={"source": "union", "tokens": tokens})
    found = tiny.stored(made.path)[EMBEDDING]
    torch.testing.assert_close(found[297], tiny.stored(Path(third))[EMBEDDING][296])
    torch.testing.assert_close(found[298], tiny.stored(Path(paths[1]))[EMBEDDING][9])
    assert loaded(made.path)[1].convert_tokens_to_ids(["<new>", "<as>"]) == [297, 298]
    (Path(third) / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="holds no weights"):
        merged(tmp_path / "a", paths, tokenizer={"source": "union", "tokens": tokens})


@pytest.mark.filterwarnings("ignore:No model has 1 of the tokens")
@pytest.mark.parametrize("method", ["linear", "ties", "dare_linear", "slerp", "passthrough"])
def test_ranges_of_rows_and_threads_change_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Rows are put in order range by range where the method allows it, else all at once."""
    base = model(tmp_path / "a", 0, 320, {"<x>": 296, "<w>": 297}, tied=False)
    other = model(tmp_path / "b", 1, 304, {"<z>": 296, "<x>": 297}, tied=False)
    content: dict[str, Any] = {
        "merge_method": method,
        "base_model": base,
        "models": [{"model": other}],
        "parameters": {"weight": 0.5, "density": 0.5, "t": 0.3},
        "tokenizer": {"source": "union", "pad_to_multiple_of": 64},
    }
    used = {"linear": ["weight"], "slerp": ["t"], "passthrough": []}
    names = used.get(method, ["weight", "density"])
    content["parameters"] = {name: content["parameters"][name] for name in names}
    if method == "passthrough":
        del content["base_model"]
        content["tokenizer"]["source"] = base
    document = tiny.document(content)
    first = onefold.merge_checkpoints(document, tmp_path / "one", threads=1)
    lacking = any("No model has 1 of the tokens" in text for text in first.warned)
    assert lacking is (method == "passthrough")
    for name, value in {"RANGE": 64, "SPLIT": 64, "BLOCK": 32}.items():
        monkeypatch.setattr(f"onefold.checkpoints.engine.running.{name}", value)
    second = onefold.merge_checkpoints(document, tmp_path / "four", threads=4, max_memory=1)
    one, four = tiny.stored(first.path), tiny.stored(second.path)
    assert one[EMBEDDING].shape[0] == 320
    assert set(one) == set(four)
    assert all(torch.equal(one[name], four[name]) for name in one)


def test_a_large_embedding_is_not_gathered_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate and the merge take the memory of ranges, not that of the embedding."""
    rows, width, seen = 4096, 1024, []

    def watched(*given: Any, start: int, stop: int, **more: Any) -> Any:
        seen.append(stop - start)
        return mapped(*given, start=start, stop=stop, **more)

    monkeypatch.setattr("onefold.checkpoints.engine.mapped_inputs.mapped", watched)
    paths = []
    for seed, name in enumerate("ab"):
        folder = tmp_path / name
        folder.mkdir()
        table = torch.full((rows, width), float(seed))
        save_file({EMBEDDING: table}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"vocab_size": rows}))
        tiny.with_tokenizer(folder, {**PLAIN, f"own{seed}": 296})
        paths.append(str(folder))
    with pytest.warns(VocabularyWarning, match="piece"):
        made = merged(tmp_path, paths, tokenizer_source="union")
    assert made.estimate.memory < rows * width * 4
    assert max(seen) * width <= 1 << 18
    assert sum(seen) == 2 * rows
    found = tiny.stored(made.path)[EMBEDDING]
    assert (found[296] == 0).all()
    assert (found[297] == 1).all()
    assert (found[:296] == 0.5).all()


def test_a_head_that_one_model_lacks_gets_no_rows_from_it(tmp_path: Path) -> None:
    first = model(tmp_path / "a", 0, 300, {"<x>": 296}, tied=False)
    second = model(tmp_path / "b", 1, 300, {"<z>": 296}, tied=False)
    state = tiny.stored(Path(second))
    del state[HEAD]
    save_file(state, Path(second) / "model.safetensors", {"format": "pt"})
    made = merged(tmp_path, [first, second], tokenizer_source="union")
    one = tiny.stored(Path(first))[HEAD]
    found = tiny.stored(made.path)[HEAD]
    torch.testing.assert_close(found[:297], one[:297])
    assert (found[297] == 0).all()
    assert "rows that these alone have are zeros: lm_head.weight" in " ".join(made.notes)


def test_a_tensor_with_any_name_follows_by_its_shape(tmp_path: Path) -> None:
    """A bias of logits, whose second axis is the vocabulary, and no matrix within a layer."""
    paths = []
    for seed, name in enumerate("ab"):
        folder = tmp_path / name
        folder.mkdir()
        state = {
            "model.shared.weight": torch.randn(300, 4),
            "final_logits_bias": torch.randn(1, 300),
            "encoder.layers.0.fc.weight": torch.randn(300, 4),
            "encoder.embed_positions.weight": torch.randn(300, 4),
        }
        save_file(state, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"vocab_size": 300}))
        extra = {"x": 296, "y": 297} if seed else {"y": 296, "x": 297}
        tiny.with_tokenizer(folder, {**PLAIN, **extra})
        paths.append(str(folder))
    made = merged(tmp_path, paths, tokenizer_source="union")
    one, two = (tiny.stored(Path(path)) for path in paths)
    found = tiny.stored(made.path)
    order = [*range(296), 297, 296, 298, 299]
    for name in ("encoder.layers.0.fc.weight", "encoder.embed_positions.weight"):
        torch.testing.assert_close(found[name], (one[name] + two[name]) / 2)
    name = "final_logits_bias"
    torch.testing.assert_close(found[name], (one[name] + two[name][:, order]) / 2)
    name = "model.shared.weight"
    torch.testing.assert_close(found[name], (one[name] + two[name][order]) / 2)


def test_equal_tokenizers_change_nothing(tmp_path: Path) -> None:
    paths = [model(tmp_path / f"m{i}", i, 300, {"<x>": 296}) for i in range(2)]
    made = merged(tmp_path, paths, tokenizer_source="union")
    assert not made.rows
    assert not made.warned
    first, second = (tiny.stored(Path(path))[EMBEDDING] for path in paths)
    torch.testing.assert_close(tiny.stored(made.path)[EMBEDDING], (first + second) / 2)
    for name in ("tokenizer.json", "config.json"):
        assert (made.path / name).read_bytes() == (Path(paths[0]) / name).read_bytes()


def test_a_tokenizer_is_found_with_whichever_model_has_one(tmp_path: Path) -> None:
    first = str(tiny.write(tmp_path / "a", tiny.llama(vocab_size=300), 0))
    second = model(tmp_path / "b", 1, 300, {"<x>": 296})
    made = merged(tmp_path, [first, second])
    assert f"{first} has no tokenizer files, and is taken to have the tokens" in " ".join(
        made.notes
    )
    assert (made.path / "tokenizer.json").is_file()
    assert made.tokenizer == second


def test_without_a_decision_rows_go_by_number_only_as_in_mergekit(tmp_path: Path) -> None:
    first = model(tmp_path / "a", 0, 300, {"<x>": 296, "<y>": 297})
    second = model(tmp_path / "b", 1, 300, {"<y>": 296, "<x>": 297})
    told = r"differ in 2 tokens .* nothing says which to keep; write 'tokenizer_source: union'"
    with pytest.raises(MembersError, match=told):
        merged(tmp_path, [first, second])
    text = f"merge_method: linear\nparameters: {{weight: 1}}\nmodels: [{{model: {first}}}, "
    (tmp_path / "config.yml").write_text(text + f"{{model: {second}}}]\n")
    with pytest.warns(VocabularyWarning, match="their rows are merged by number"):
        made = onefold.merge_checkpoints(
            tmp_path / "config.yml", tmp_path / "out", as_mergekit=True
        )
    one, two = (tiny.stored(Path(path))[EMBEDDING] for path in (first, second))
    torch.testing.assert_close(tiny.stored(made.path)[EMBEDDING], (one + two) / 2)


def test_another_plan_of_the_vocabulary_begins_anew(tmp_path: Path) -> None:
    """The fingerprint of the journal tells two plans apart that have the same document."""
    paths = [model(tmp_path / name, 0, 300, {"<x>": 296}) for name in "ab"]

    def found() -> str:
        content = {
            "merge_method": "linear",
            "models": [{"model": path, "parameters": {"weight": 1.0}} for path in paths],
            "tokenizer_source": "union",
        }
        document = tiny.document(content)
        located = {model: one.path for model, one in locate(document).items()}
        layouts = {model: read_layout(path) for model, path in located.items()}
        plan, _ = planned_tokens(document, layouts, located, lambda model: layouts[model])
        return fingerprint(plan_merge(document, layouts, 10**9, plan))

    before = found()
    assert found() == before
    path = Path(paths[1]) / "tokenizer.json"
    path.write_text(path.read_text().replace("<x>", "<w>"))
    assert found() != before


def test_what_cannot_be_done_is_refused(tmp_path: Path) -> None:
    first = model(tmp_path / "a", 0, 300, {})
    other = model(tmp_path / "b", 1, 304, {})
    path = Path(other) / "tokenizer.json"
    path.unlink()
    with pytest.raises(WeightsError, match="has no tokenizer files"):
        merged(tmp_path, [first, other], tokenizer_source="union")
    path.write_text("{")
    with pytest.raises(WeightsError, match="broken JSON at line 1"):
        merged(tmp_path, [first, other], tokenizer_source="union")
    tiny.with_tokenizer(Path(other), {f"t{i}": i for i in range(310)})
    with pytest.raises(MembersError, match="6 tokens beyond the 304 rows"):
        merged(tmp_path, [first, other], tokenizer_source="union")
    (Path(first) / "tokenizer.json").unlink()
    path.unlink()
    with pytest.raises((WeightsError, MembersError)):
        merged(tmp_path, [first, other])
    for one in (first, other):
        (Path(one) / "tokenizer_config.json").unlink()
    with pytest.raises(MembersError, match=r"300 x 16 in .*304 x 16 in .*tokenizer_source"):
        merged(tmp_path, [first, other])
    kind = {"kind": "model_token", "model": first}
    with pytest.raises(RecipeError, match="token_id"):
        merged(tmp_path, [first, other], tokenizer={"tokens": {"q": {"source": kind}}})
    assert not (tmp_path / "out").exists()


def test_networks_without_an_embedding_of_tokens(tmp_path: Path) -> None:
    paths = []
    for seed, name in enumerate("ab"):
        paths.append(str(tiny.write(tmp_path / name, tiny.vit(), seed)))
        tiny.with_tokenizer(Path(paths[-1]), {"a": seed, "b": 1 - seed})
    made = merged(tmp_path, paths)  # no row is of a token, so that tokens do not matter
    assert not made.warned
    assert (made.path / "tokenizer.json").read_bytes() == (
        tmp_path / "a" / "tokenizer.json"
    ).read_bytes()
    with pytest.raises(MembersError, match="has no embedding of tokens"):
        merged(tmp_path / "a", paths, tokenizer_source="union")
