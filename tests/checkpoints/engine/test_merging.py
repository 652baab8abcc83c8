"""Whole merges of tiny folders, compared with methods on state dicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import onefold
from onefold.checkpoints.methods import TensorInputs, methods
from onefold.errors import MembersError, OutputError, RecipeError, SettingError, WeightsError


def models(tmp_path: Path, family: str, count: int = 3, dtype: Any = torch.float32) -> list[str]:
    network = tiny.FAMILIES[family]()
    return [str(tiny.write(tmp_path / f"m{i}", network, i, dtype)) for i in range(count)]


def linear(paths: list[str], weights: tuple[float, ...] = (0.3, 0.7), **more: Any) -> Any:
    listed = [
        {"model": path, "parameters": {"weight": weight}}
        for path, weight in zip(paths, weights, strict=False)
    ]
    return tiny.document({"merge_method": "linear", "models": listed, **more})


def arithmetic(paths: list[str], **more: Any) -> Any:
    listed = [{"model": p, "parameters": {"weight": 0.5 + i}} for i, p in enumerate(paths[1:])]
    content = {"merge_method": "task_arithmetic", "base_model": paths[0], "models": listed}
    return tiny.document({**content, **more})


@pytest.mark.parametrize("family", list(tiny.FAMILIES))
def test_a_merge_is_what_the_method_says_and_loads_with_the_same_values(
    tmp_path: Path, family: str
) -> None:
    paths = models(tmp_path, family)
    made = onefold.merge_checkpoints(arithmetic(paths), tmp_path / "out")
    states = [tiny.stored(Path(path)) for path in paths]
    merged = tiny.stored(made.path)
    assert set(merged) == set(states[0])
    for name, tensor in merged.items():
        base, first, second = (state[name] for state in states)
        expected = base + 0.5 * (first - base) + 1.5 * (second - base)
        torch.testing.assert_close(tensor, expected)
    network = type(tiny.FAMILIES[family]()).from_pretrained(made.path)
    network.save_pretrained(tmp_path / "loaded")  # some names are others in memory
    loaded = tiny.stored(tmp_path / "loaded")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in merged.items())
    assert made.merged == len(merged)
    assert made.donor == paths[0]


def test_bfloat16_goes_in_and_out_and_float32_where_it_is_asked_for(tmp_path: Path) -> None:
    paths = models(tmp_path, "llama", 2, torch.bfloat16)
    plain = onefold.merge_checkpoints(linear(paths), tmp_path / "plain")
    wide = onefold.merge_checkpoints(linear(paths, out_dtype="float32"), tmp_path / "wide")
    narrow, exact = tiny.stored(plain.path), tiny.stored(wide.path)
    states = [tiny.stored(Path(path)) for path in paths]
    for name, tensor in exact.items():
        assert tensor.dtype == torch.float32
        assert narrow[name].dtype == torch.bfloat16
        expected = 0.3 * states[0][name].float() + 0.7 * states[1][name].float()
        torch.testing.assert_close(tensor, expected)
        assert torch.equal(tensor.bfloat16(), narrow[name])
    config = json.loads((wide.path / "config.json").read_text())
    assert "float32" in (config.get("dtype"), config.get("torch_dtype"))


def test_inputs_are_rounded_to_the_dtype_of_the_document(tmp_path: Path) -> None:
    paths = models(tmp_path, "llama", 2)
    made = onefold.merge_checkpoints(
        linear(paths, dtype="bfloat16", out_dtype="float32"), tmp_path / "out"
    )
    states = [tiny.stored(Path(path)) for path in paths]
    for name, tensor in tiny.stored(made.path).items():
        rounded = [state[name].bfloat16().float() for state in states]
        torch.testing.assert_close(tensor, 0.3 * rounded[0] + 0.7 * rounded[1])


def test_threads_memory_and_shards_change_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = models(tmp_path, "bert", 3, torch.bfloat16)
    first = onefold.merge_checkpoints(arithmetic(paths), tmp_path / "one", threads=1)
    monkeypatch.setattr("onefold.checkpoints.engine.running.SPLIT", 64)
    monkeypatch.setattr("onefold.checkpoints.engine.running.RANGE", 64)
    monkeypatch.setattr("onefold.checkpoints.engine.running.BLOCK", 32)
    second = onefold.merge_checkpoints(
        arithmetic(paths), tmp_path / "four", threads=4, max_memory=1, max_shard_size="2KB"
    )
    assert len(second.files) > 3
    one, four = tiny.stored(first.path), tiny.stored(second.path)
    assert set(one) == set(four)
    assert all(torch.equal(one[name], four[name]) for name in one)
    index = json.loads((second.path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(one)
    network = type(tiny.bert()).from_pretrained(second.path, torch_dtype=torch.bfloat16)
    assert all(torch.equal(network.state_dict()[name], one[name]) for name in one)


def test_a_gradient_is_read_by_layer(tmp_path: Path) -> None:
    paths = models(tmp_path, "llama", 2)
    listed = [
        {"model": paths[0], "parameters": {"weight": [1.0, 0.0]}},
        {"model": paths[1], "parameters": {"weight": [0.0, 1.0]}},
    ]
    document = tiny.document({"merge_method": "linear", "models": listed})
    made = onefold.merge_checkpoints(document, tmp_path / "out")
    merged, states = tiny.stored(made.path), [tiny.stored(Path(path)) for path in paths]
    for layer, weight in ((0, 0.0), (1, 0.5), (2, 1.0)):
        name = f"model.layers.{layer}.mlp.up_proj.weight"
        torch.testing.assert_close(
            merged[name], (1 - weight) * states[0][name] + weight * states[1][name]
        )
    name = "model.embed_tokens.weight"
    torch.testing.assert_close(merged[name], states[0][name])


def test_slices_stack_layers_and_the_config_counts_them(tmp_path: Path) -> None:
    paths = models(tmp_path, "llama", 2)
    slices = [
        {"sources": [{"model": paths[0], "layer_range": [0, 2]}]},
        {"sources": [{"model": paths[1], "layer_range": [0, 3]}]},
    ]
    if "passthrough" in methods:
        content = {"merge_method": "passthrough", "slices": slices}
    else:
        content = {"merge_method": "linear", "slices": slices, "parameters": {"weight": 1.0}}
    made = onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    merged, states = tiny.stored(made.path), [tiny.stored(Path(path)) for path in paths]
    ending = "self_attn.q_proj.weight"
    for layer, (model, old) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]):
        expected = states[model][f"model.layers.{old}.{ending}"]
        assert torch.equal(merged[f"model.layers.{layer}.{ending}"], expected)
    embedding, norm = "model.embed_tokens.weight", "model.norm.weight"
    assert torch.equal(merged[embedding], states[0][embedding])
    assert torch.equal(merged[norm], states[1][norm])
    network = tiny.transformers().LlamaForCausalLM.from_pretrained(made.path)
    assert network.config.num_hidden_layers == 5


def test_tensors_that_some_lack_are_copied_and_extra_ones_are_left_out(tmp_path: Path) -> None:
    paths = models(tmp_path, "bert", 2)
    state = load_file(Path(paths[1]) / "model.safetensors")
    del state["classifier.bias"]
    state["extra.weight"] = torch.zeros(3)
    save_file(state, Path(paths[1]) / "model.safetensors", metadata={"format": "pt"})
    made = onefold.merge_checkpoints(arithmetic(paths), tmp_path / "out")
    merged, base = tiny.stored(made.path), tiny.stored(Path(paths[0]))
    assert "extra.weight" not in merged
    assert torch.equal(merged["classifier.bias"], base["classifier.bias"])
    told = " ".join(made.notes)
    assert "classifier.bias" in told
    assert "extra.weight" in told
    assert made.copied == 1


def test_integers_are_copied(tmp_path: Path) -> None:
    paths = []
    for i in range(2):
        folder = tmp_path / f"m{i}"
        folder.mkdir()
        state = {"a.weight": torch.full((2, 3), float(i)), "steps": torch.tensor(7 + i)}
        save_file({**state, "odd": torch.tensor([True])}, folder / "model.safetensors")
        paths.append(str(folder))
    made = onefold.merge_checkpoints(linear(paths, (1.0, 1.0)), tmp_path / "out")
    merged = tiny.stored(made.path)
    assert merged["steps"].item() == 7
    assert torch.equal(merged["a.weight"], torch.full((2, 3), 0.5))
    assert "no floating numbers" in " ".join(made.notes)


def test_a_tied_head_that_one_model_stores_is_merged_with_the_embedding(tmp_path: Path) -> None:
    paths = models(tmp_path, "llama", 2)
    state = load_file(Path(paths[0]) / "model.safetensors")
    state["lm_head.weight"] = torch.ones_like(state["model.embed_tokens.weight"])
    save_file(state, Path(paths[0]) / "model.safetensors", metadata={"format": "pt"})
    made = onefold.merge_checkpoints(linear(paths), tmp_path / "out")
    other = tiny.stored(Path(paths[1]))["model.embed_tokens.weight"]
    torch.testing.assert_close(tiny.stored(made.path)["lm_head.weight"], 0.3 + 0.7 * other)
    again = onefold.merge_checkpoints(linear(paths[::-1]), tmp_path / "tied")
    assert "lm_head.weight" not in tiny.stored(again.path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    paths = models(tmp_path, "llama", 2)
    name, file = "model.layers.1.mlp.up_proj.weight", Path(paths[1]) / "model.safetensors"
    state = load_file(file)
    state[name][0, :3] = value
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=rf"{file} holds 3 of 384 elements in '{name}'"):
        onefold.merge_checkpoints(linear(paths), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m0", "m1"]


def test_results_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    paths = models(tmp_path, "llama", 2)
    document = arithmetic(paths, parameters={"lambda": 1e9}, out_dtype="float16")
    with pytest.raises(WeightsError, match="in float16, although all inputs are finite"):
        onefold.merge_checkpoints(document, tmp_path / "out")


def test_a_folder_that_exists_is_replaced_only_with_force(tmp_path: Path) -> None:
    paths = models(tmp_path, "llama", 2)
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    (out / "model-00001-of-00009.safetensors").write_text("old")
    with pytest.raises(OutputError, match="exists already"):
        onefold.merge_checkpoints(linear(paths), out)
    onefold.merge_checkpoints(linear(paths), out, force=True)
    names = {path.name for path in out.iterdir()}
    assert (out / "mine.txt").read_text() == "kept"
    assert "model-00001-of-00009.safetensors" not in names
    assert {"model.safetensors", "config.json", "README.md", "mergekit_config.yml"} <= names
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_dry_run_writes_nothing_and_says_what_it_takes(tmp_path: Path) -> None:
    paths = models(tmp_path, "llama", 2)
    made = onefold.merge_checkpoints(linear(paths), tmp_path / "out", dry_run=True)
    assert not made.written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m0", "m1"]
    written = onefold.merge_checkpoints(linear(paths), tmp_path / "out")
    assert made.estimate.written == (written.path / "model.safetensors").stat().st_size
    assert "Would merge" in str(made)


def test_what_lies_beside_the_weights(tmp_path: Path) -> None:
    paths = models(tmp_path, "llama", 2)
    for path in paths:
        tiny.with_tokenizer(Path(path), {"a": 0, "b": 1})
    (Path(paths[0]) / "modeling_own.py").write_text("x = 1\n")
    made = onefold.merge_checkpoints(linear(paths), tmp_path / "out")
    assert (made.path / "tokenizer.json").is_file()
    assert (made.path / "modeling_own.py").read_text() == "x = 1\n"
    assert (made.path / "generation_config.json").is_file()
    card = (made.path / "README.md").read_text()
    assert "base_model:\n- m0\n- m1\n" in card
    assert "- merge\n" in card
    with safe_open(made.path / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert metadata["merge_method"] == "linear"
    again = onefold.merge_checkpoints(made.path / "mergekit_config.yml", tmp_path / "again")
    one, two = tiny.stored(made.path), tiny.stored(again.path)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_documents_that_refer_to_one_another(tmp_path: Path) -> None:
    paths = models(tmp_path, "llama", 3)
    file = tmp_path / "two.yml"
    file.write_text(
        f"name: half\nmerge_method: linear\nparameters: {{weight: 1}}\n"
        f"models: [{{model: {paths[0]}}}, {{model: {paths[1]}}}]\n---\n"
        "merge_method: linear\nparameters: {weight: 1}\n"
        f"models: [{{model: half}}, {{model: {paths[2]}}}]\n"
    )
    made = onefold.merge_checkpoints(file, tmp_path / "out")
    states, name = [tiny.stored(Path(path)) for path in paths], "model.norm.weight"
    expected = (states[0][name] + states[1][name]) / 4 + states[2][name] / 2
    torch.testing.assert_close(tiny.stored(made.path)[name], expected)
    assert made.before[0].path == tmp_path / "out-half"


def test_torch_files_are_read(tmp_path: Path) -> None:
    paths = models(tmp_path, "bert", 2)
    state = tiny.stored(Path(paths[1]))
    (Path(paths[1]) / "model.safetensors").unlink()
    torch.save(state, Path(paths[1]) / "pytorch_model.bin")
    made = onefold.merge_checkpoints(linear(paths), tmp_path / "out")
    first = tiny.stored(Path(paths[0]))
    for name, tensor in tiny.stored(made.path).items():
        torch.testing.assert_close(tensor, 0.3 * first[name] + 0.7 * state[name])


def refused(tmp_path: Path, document: Any) -> str:
    with pytest.raises((MembersError, WeightsError, RecipeError)) as caught:
        onefold.merge_checkpoints(document, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    return str(caught.value)


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    one = str(tiny.write(tmp_path / "one", tiny.llama(), 0))
    more = str(tiny.write(tmp_path / "more", tiny.llama(vocab_size=304), 1))
    deep = str(tiny.write(tmp_path / "deep", tiny.llama(layers=4, hidden_act="relu"), 2))
    encoder = str(tiny.write(tmp_path / "encoder", tiny.bert(), 3))
    told = refused(tmp_path, linear([one, more]))
    assert "vocabularies differ" in told
    assert "300 x 16" in told
    assert "304 x 16" in told
    assert "no tensor of the names" in refused(tmp_path, linear([one, encoder]))
    slices = [{"sources": [{"model": one, "layer_range": [0, 9]}]}]
    content = {"merge_method": "linear", "slices": slices, "parameters": {"weight": 1}}
    assert "last layer" in refused(tmp_path, tiny.document(content))
    weight = [{"filter": "mlpp", "value": 1.0}, {"value": 0.5}]
    models = [{"model": one}, {"model": one + "/model.safetensors"}]
    content = {"merge_method": "linear", "models": models, "parameters": {"weight": weight}}
    assert "mlp" in refused(tmp_path, tiny.document(content))
    assert "4 layers" in refused(tmp_path, linear([one, deep]))


def test_settings_are_checked(tmp_path: Path) -> None:
    for wrong in ({"threads": 0}, {"max_memory": "much"}, {"max_shard_size": 0}):
        with pytest.raises(SettingError):
            onefold.merge_checkpoints(tmp_path / "a.yml", tmp_path / "out", **wrong)  # type: ignore[arg-type]


def test_methods_on_tensors_agree_for_every_registered_method(tmp_path: Path) -> None:
    paths = models(tmp_path, "llama", 3)
    states = [tiny.stored(Path(path)) for path in paths]
    for entry in methods:
        kind = entry.value
        given = {one.name: 0.4 for one in kind.per_model if one.required}
        from onefold.checkpoints.methods import settings_of

        shared = {one.name: 0.4 for one in settings_of(kind) if one.required}
        count = min(2, kind.most or 2)
        if kind.takes_base_as_model or not kind.allows_base or not kind.needs_base:
            used, base = paths[:count], None
        else:
            used, base = paths[1 : 1 + count], paths[0]
        content: dict[str, Any] = {
            "merge_method": entry.name,
            "models": [{"model": p} for p in used],
        }
        content |= {"parameters": {**given, **shared}} if given or shared else {}
        content |= {"base_model": base} if base else {}
        out = tmp_path / f"out_{entry.name}"
        made = onefold.merge_checkpoints(tiny.document(content), out)
        merged = tiny.stored(made.path)
        name = "model.layers.1.mlp.up_proj.weight"
        fields = {one.field: 0.4 for one in settings_of(kind) if one.required}
        inputs = TensorInputs(
            name=name,
            tensors=[states[paths.index(path)][name] for path in used],
            models=used,
            base=None if base is None else states[0][name],
            parameters=[given for _ in used],
        )
        method = kind(**fields)
        assert torch.equal(merged[name], method.apply(method.prepare(inputs))), entry.name


def test_a_filter_comes_behind_the_method(tmp_path: Path) -> None:
    paths = models(tmp_path, "llama", 3)
    made = onefold.merge_checkpoints(arithmetic(paths, finish="svc"), tmp_path / "out")
    states = [tiny.stored(Path(path)) for path in paths]
    from onefold.checkpoints import filters, merge_states
    from onefold.checkpoints.methods import method_of

    expected = merge_states(
        dict(zip(paths[1:], states[1:], strict=True)),
        method_of("task_arithmetic"),
        states[0],
        {"weight": [0.5, 1.5]},
        post=filters.get("svc")(),
    )
    for name, tensor in tiny.stored(made.path).items():
        torch.testing.assert_close(tensor, expected[name])
    assert not (made.path / "mergekit_config.yml").exists()  # mergekit knows no such key
