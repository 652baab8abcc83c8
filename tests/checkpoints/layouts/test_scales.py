"""8-bit floats with scales are merged as the numbers that they stand for, exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

import onefold
from onefold.checkpoints.engine.dequantising import dequantised
from onefold.checkpoints.layouts import read_layout
from onefold.errors import WeightsError

NARROW = torch.float8_e4m3fn
DEEPSEEK = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [4, 8]}
COMPRESSED = {"quant_method": "compressed-tensors", "format": "float-quantized"}


def plainly(stored: Tensor, scale: Tensor, block: tuple[int, ...]) -> Tensor:
    """Stored numbers times scales, element by element."""
    found = stored.float()
    for place in torch.cartesian_prod(*(torch.arange(n) for n in stored.shape)).view(
        -1, stored.dim()
    ):
        at = tuple(place.tolist())
        of = tuple(i // b for i, b in zip(at, block, strict=True))
        found[at] = stored[at].float() * scale[of].float()
    return found


def state(seed: int, kind: str) -> dict[str, Tensor]:
    """Tensors in 8 bits with scales of one kind, beside plain ones."""
    g = torch.Generator().manual_seed(seed)
    weight = (torch.randn(10, 20, generator=g) * 40).to(NARROW)
    found = {"layers.0.q.weight": weight, "norm.weight": torch.randn(20, generator=g).bfloat16()}
    name = "layers.0.q.weight_scale"
    if kind == "block":
        found[name + "_inv"] = torch.rand(3, 3, generator=g) + 0.1
    elif kind == "row":
        found[name] = (torch.rand(10, 1, generator=g) + 0.1).bfloat16()
    elif kind == "flat rows":
        found[name] = torch.rand(10, generator=g) + 0.1
    else:
        found[name] = torch.rand((), generator=g) + 0.1
    return found


def folder(place: Path, seed: int, kind: str, told: Any, **more: Tensor) -> Path:
    place.mkdir()
    save_file({**state(seed, kind), **more}, place / "model.safetensors", metadata={"format": "pt"})
    config = {"torch_dtype": "bfloat16", "quantization_config": told, "num_hidden_layers": 1}
    (place / "config.json").write_text(json.dumps(config))
    return place


@pytest.mark.parametrize(
    ("kind", "told", "block"),
    [
        ("block", DEEPSEEK, (4, 8)),
        ("row", COMPRESSED, (1, 20)),
        ("flat rows", COMPRESSED, (1, 20)),
        ("tensor", {"quant_method": "fp8", "activation_scheme": "static"}, (10, 20)),
    ],
)
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_a_merge_is_of_stored_numbers_times_scales(
    tmp_path: Path, kind: str, told: Any, block: tuple[int, int], dtype: str | None
) -> None:
    static = {"layers.0.q.input_scale": torch.tensor(0.5)}
    paths = [folder(tmp_path / f"m{i}", i, kind, told, **static) for i in range(2)]
    models = [
        {"model": str(p), "parameters": {"weight": 0.25 + i / 2}} for i, p in enumerate(paths)
    ]
    content = {"merge_method": "linear", "models": models, **({"dtype": dtype} if dtype else {})}
    made = onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    merged = tiny.stored(made.path)
    assert set(merged) == {"layers.0.q.weight", "norm.weight"}
    values = []
    for i in range(2):
        given_ = state(i, kind)
        scale = next(t for n, t in given_.items() if "scale" in n).float()
        counts = [math.ceil(n / b) for n, b in zip((10, 20), block, strict=True)]
        values.append(plainly(given_["layers.0.q.weight"], scale.reshape(counts), block))
    expected = 0.25 * values[0] + 0.75 * values[1]
    wanted = torch.float32 if dtype else torch.bfloat16
    assert merged["layers.0.q.weight"].dtype == wanted
    tolerance = 1e-6 if dtype else 1e-2
    torch.testing.assert_close(
        merged["layers.0.q.weight"].float(), expected, rtol=tolerance, atol=tolerance
    )
    config = json.loads((made.path / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["torch_dtype"] == (dtype or "bfloat16")
    told_ = " ".join(made.notes)
    assert "float8_e4m3fn with scales" in told_
    assert "1 scale of activations left out" in told_
    assert "8-bit: layers.0.q.input_scale." in told_


def test_one_model_with_weight_1_gives_the_exact_numbers(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", 3, "block", DEEPSEEK)
    content = {"merge_method": "passthrough", "models": [{"model": str(path)}], "dtype": "float32"}
    made = onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    given_ = state(3, "block")
    expected = plainly(given_["layers.0.q.weight"], given_["layers.0.q.weight_scale_inv"], (4, 8))
    assert torch.equal(tiny.stored(made.path)["layers.0.q.weight"], expected)


def test_fine_tunes_in_other_dtypes_are_merged_with_a_base_in_8_bits(tmp_path: Path) -> None:
    base = folder(tmp_path / "base", 0, "block", DEEPSEEK)
    given_ = state(0, "block")
    scale = given_["layers.0.q.weight_scale_inv"]
    plain = plainly(given_["layers.0.q.weight"], scale, (4, 8))
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    other = {"layers.0.q.weight": plain + 1, "norm.weight": given_["norm.weight"].float()}
    save_file(other, tuned / "model.safetensors")
    content = {
        "merge_method": "task_arithmetic",
        "base_model": str(base),
        "models": [{"model": str(tuned), "parameters": {"weight": 2.0}}],
        "dtype": "float32",
    }
    made = onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    torch.testing.assert_close(tiny.stored(made.path)["layers.0.q.weight"], plain + 2)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_shape_is_scaled_by_the_blocks_that_share_a_scale(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    block = [data.draw(st.integers(1, size)) for size in shape]
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    stored = torch.randn(shape, generator=g).to(torch.float8_e5m2)
    counts = [math.ceil(n / b) for n, b in zip(shape, block, strict=True)]
    scale = torch.rand(counts, generator=g) + 0.1
    assert torch.equal(dequantised(stored, scale, block), plainly(stored, scale, tuple(block)))


@pytest.mark.parametrize(
    ("more", "told", "why"),
    [
        ({"layers.1.q.weight": torch.zeros(2, 2).to(NARROW)}, DEEPSEEK, "quantised"),
        ({"layers.0.k.weight_packed": torch.zeros(2).int()}, COMPRESSED, "quantised"),
        ({"layers.0.q.weight_zero_point": torch.zeros(1)}, COMPRESSED, "quantised"),
        ({"layers.0.q.weight_scale": torch.zeros(7, 3)}, COMPRESSED, "quantised"),
        ({}, {"quant_method": "awq"}, "quantised by awq"),
    ],
)
def test_unknown_scales_are_refused(
    tmp_path: Path, more: dict[str, Tensor], told: Any, why: str
) -> None:
    path = folder(tmp_path / "m", 0, "tensor", told, **more)
    with pytest.raises(WeightsError, match=f"{why}.*quantise the result"):
        read_layout(path)


def test_scales_of_other_tensors_than_8_bit_floats_are_refused(tmp_path: Path) -> None:
    save_file(
        {"a.weight": torch.zeros(2, 2).to(torch.int8), "a.weight_scale": torch.ones(2, 1)},
        tmp_path / "model.safetensors",
    )
    with pytest.raises(WeightsError, match="quantised"):
        read_layout(tmp_path)


def test_copied_tensors_are_scaled_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.checkpoints.engine.running.SPLIT", 16)
    monkeypatch.setattr("onefold.checkpoints.engine.running.BLOCK", 16)
    first = folder(tmp_path / "a", 0, "block", DEEPSEEK)
    second = folder(tmp_path / "b", 1, "block", DEEPSEEK)
    left = load_file(second / "model.safetensors")
    left = {name: left[name] for name in ("norm.weight",)}
    save_file(left, second / "model.safetensors")
    (second / "config.json").unlink()
    content = {
        "merge_method": "task_arithmetic",
        "base_model": str(first),
        "models": [{"model": str(second), "parameters": {"weight": 1.0}}],
    }
    made = onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    given_ = state(0, "block")
    expected = plainly(given_["layers.0.q.weight"], given_["layers.0.q.weight_scale_inv"], (4, 8))
    assert torch.equal(tiny.stored(made.path)["layers.0.q.weight"], expected.bfloat16())
