"""Lengths, cosines and conflicts are those of the equations in float64."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints.comparison.folders import network, put, tuned
from safetensors.torch import save_file

from onefold.checkpoints import compare_checkpoints
from onefold.checkpoints.comparison import measures, passes
from onefold.checkpoints.comparison.groups import layer_of


def flat(state: dict, names: list[str] | None = None) -> np.ndarray:
    return np.concatenate([state[n].double().numpy().ravel() for n in names or sorted(state)])


def test_figures_by_hand(tmp_path: Path) -> None:
    base = network(0)
    states = [tuned(base, 1), tuned(base, 2)]
    paths = [put(tmp_path / f"m{k}", state) for k, state in enumerate(states)]
    found = compare_checkpoints(paths, put(tmp_path / "base", base))
    assert (found.origin, found.origin_is, found.members) == ("base", "given", ("m0", "m1"))
    matrices = [name for name, tensor in base.items() if tensor.dim() > 1]
    for k, state in enumerate(states):
        length = np.linalg.norm(flat(state, matrices) - flat(base, matrices))
        expected = length / np.linalg.norm(flat(base, matrices))
        assert found.total.relative[k] == pytest.approx(expected, rel=1e-12)
    one, other = (flat(state) - flat(base) for state in states)
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert found.total.cosines[0][1] == pytest.approx(cosine, abs=1e-12)
    assert found.total.cosines[0][0] == pytest.approx(1)
    assert found.total.norm == pytest.approx(np.linalg.norm(flat(base)), rel=1e-12)


def test_layers_and_tensors_have_figures_of_their_own(tmp_path: Path) -> None:
    base = network(0)
    state = tuned(base, 1)
    found = compare_checkpoints([put(tmp_path / "m", state)], put(tmp_path / "base", base))
    assert {one.name for one in found.layers} == {"outside of layers", "layers.0", "layers.1"}
    names = [name for name in sorted(base) if name.startswith("layers.1.")]
    length = np.linalg.norm(flat(state, names) - flat(base, names))
    expected = length / np.linalg.norm(flat(base, names))
    (layer,) = (one for one in found.layers if one.name == "layers.1")
    assert layer.relative[0] == pytest.approx(expected, rel=1e-12)
    assert {one.name for one in found.tensors} == set(base)


def test_conflicts_are_counted_among_the_largest_changes(tmp_path: Path) -> None:
    base = {"w": torch.zeros(1, 10)}
    # The largest fifth of ten are two places: 0 and 1 in both members; the signs differ at 1.
    one = {"w": torch.tensor([[9.0, 8, -1, 1, 1, 1, 1, 1, 1, 1]])}
    other = {"w": torch.tensor([[9.0, -8, 1, 1, 1, 1, 1, 1, 1, 1]])}
    paths = [put(tmp_path / "one", one), put(tmp_path / "other", other)]
    found = compare_checkpoints(paths, put(tmp_path / "base", base))
    assert found.total.conflicts == ((None, 0.5), (0.5, None))
    assert found.total.relative == (None, None)  # the origin's weights are 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_floating_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    base = {name: tensor.to(dtype) for name, tensor in network(0).items()}
    state = {name: tensor.to(dtype) for name, tensor in tuned(network(0), 1, 0.1).items()}
    found = compare_checkpoints([put(tmp_path / "m", state)], put(tmp_path / "base", base))
    for one in found.tensors:
        change = (state[one.name].double() - base[one.name].double()).norm()
        assert one.relative[0] == pytest.approx(float(change / base[one.name].double().norm()))


def test_equal_tensors_and_other_dtypes_of_the_same_values(tmp_path: Path) -> None:
    base = {**network(0), "positions": torch.arange(5)}
    same = {name: tensor.clone() for name, tensor in base.items()}
    same["layers.0.q.weight"] += 1
    same["norm.weight"] = same["norm.weight"].double()
    same["positions"][0] = 7
    found = compare_checkpoints([put(tmp_path / "m", same)], put(tmp_path / "base", base))
    assert found.total.tensors == 7
    assert found.total.equal == (5,)
    equal = {one.name for one in found.tensors if one.equal[0]}
    assert equal == set(base) - {"layers.0.q.weight", "positions"}


def test_threads_and_chunks_give_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = network(0)
    paths = [put(tmp_path / f"m{k}", tuned(base, k)) for k in (1, 2, 3)]
    monkeypatch.setattr(passes, "CHUNK", 7)
    put(tmp_path / "base", base)
    found = [compare_checkpoints(paths, tmp_path / "base", threads=n) for n in (1, 2, 5)]
    assert found[0] == found[1] == found[2]
    monkeypatch.undo()
    whole = compare_checkpoints(paths, tmp_path / "base")
    assert whole.total.cosines[0][1] == pytest.approx(found[0].total.cosines[0][1], abs=1e-12)


def test_the_size_of_large_changes_is_told_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "SAMPLE", 10)
    change = np.concatenate([np.arange(1, 51), -np.arange(51, 101)]).astype(float)
    up, down = measures._largest(change)
    assert up.sum() == 0
    assert 10 <= down.sum() <= 30


def test_shards_and_torch_files_are_read(tmp_path: Path) -> None:
    base, state = network(0), tuned(network(0), 1)
    put(tmp_path / "base", base)
    whole = compare_checkpoints([put(tmp_path / "m", state)], tmp_path / "base")
    shards = tmp_path / "shards"
    shards.mkdir()
    names = list(state)
    listed = {}
    for k, part in enumerate((names[:3], names[3:]), 1):
        file = f"model-{k:05d}-of-00002.safetensors"
        save_file({name: state[name] for name in part}, shards / file)
        listed |= dict.fromkeys(part, file)
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    old = tmp_path / "old"
    old.mkdir()
    turned = {name: t.T.contiguous().T if t.dim() > 1 else t for name, t in state.items()}
    torch.save(turned, old / "pytorch_model.bin")
    for folder in (shards, old, old / "pytorch_model.bin"):
        found = compare_checkpoints([folder], tmp_path / "base")
        assert found.total == whole.total


def test_components_of_a_pipeline_have_their_own_names(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        put(tmp_path / name / "unet", network(seed))
        index = {"_class_name": "Pipeline", "unet": ["diffusers", "UNet"], "scheduler": ["d", "S"]}
        (tmp_path / name / "model_index.json").write_text(json.dumps(index))
    found = compare_checkpoints([tmp_path / "a", tmp_path / "b"])
    assert {one.name.split("/")[0] for one in found.tensors} == {"unet"}


def test_layers_end_at_the_first_integer() -> None:
    assert layer_of("model.layers.3.mlp.experts.7.w1") == "model.layers.3"
    assert layer_of("conv1.weight") == "outside of layers"
