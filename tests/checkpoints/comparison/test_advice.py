"""What is said of checkpoints that stem from a base, and of those that do not or are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints.comparison.folders import network, put, tokenizer, tuned

from onefold.checkpoints import compare_checkpoints
from onefold.errors import SettingError, WeightsError

BASE = network(0)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return put(tmp_path / "base", BASE, {"hidden_size": 8})


def test_an_unrelated_network_does_not_stem_from_the_base(tmp_path: Path, base: Path) -> None:
    paths = [put(tmp_path / "a", tuned(BASE, 1)), put(tmp_path / "b", network(5))]
    found = compare_checkpoints(paths, base)
    length = found.total.relative[1]
    assert length is not None
    assert 1.2 < length < 1.6
    told = (
        f"b does not stem from this base: its task vector is as long as the weights ({length:.2f}"
    )
    assert any(sentence.startswith(told) for sentence in found.advice)
    assert not any(sentence.startswith("a does not") for sentence in found.advice)


def test_the_likely_base_is_found(tmp_path: Path, base: Path) -> None:
    paths = [put(tmp_path / f"m{k}", tuned(BASE, k)) for k in (1, 2)]
    found = compare_checkpoints([paths[0], base, paths[1]])
    assert (found.origin, found.origin_is) == ("base", "likely")
    assert found.members == ("m1", "m2")
    assert found == compare_checkpoints([base, *paths])
    given = compare_checkpoints(paths, base)
    assert given.total == found.total


def test_siblings_without_their_base_have_none(tmp_path: Path) -> None:
    paths = [put(tmp_path / f"m{k}", tuned(BASE, k)) for k in (1, 2, 3)]
    found = compare_checkpoints(paths)
    assert found.origin_is == "unknown"
    assert "no base is known" in found.heading
    assert compare_checkpoints(paths[:2]).origin == "m1"


def test_opposite_members_undo_one_another(tmp_path: Path, base: Path) -> None:
    noise = {name: tuned(BASE, 1)[name] - old for name, old in BASE.items()}
    paths = [
        put(tmp_path / name, {key: old + sign * noise[key] for key, old in BASE.items()})
        for name, sign in (("plus", 1), ("minus", -1))
    ]
    found = compare_checkpoints(paths, base)
    assert found.total.cosines[0][1] == pytest.approx(-1, abs=1e-6)
    assert found.total.conflicts[0][1] == 1
    assert any("plus and minus undo one another" in sentence for sentence in found.advice)


def test_equal_members_are_told(tmp_path: Path, base: Path) -> None:
    paths = [put(tmp_path / name, tuned(BASE, 1)) for name in ("one", "two")]
    found = compare_checkpoints([*paths, put(tmp_path / "copy", BASE)], base)
    assert "one and two hold the same weights: leave one out." in found.advice
    assert "copy is base in every tensor: leave it out." in found.advice


def test_values_that_are_not_finite_are_named_and_left_out(tmp_path: Path, base: Path) -> None:
    state = tuned(BASE, 1)
    clean = compare_checkpoints([put(tmp_path / "a", state)], base)
    state["layers.0.q.weight"][0, :2] = torch.tensor([torch.nan, torch.inf])
    found = compare_checkpoints([put(tmp_path / "a", state)], base)
    (bad,) = found.non_finite
    assert (bad.checkpoint, bad.tensor, bad.nans, bad.infinite) == ("a", "layers.0.q.weight", 1, 1)
    assert bad.file.endswith("model.safetensors")
    assert found.advice[0].startswith("a holds 1 NaN and 1 infinite values, in 'layers.0.q.weight'")
    assert found.total.relative[0] == pytest.approx(clean.total.relative[0], rel=0.05)


def test_values_of_tensors_that_the_base_lacks_are_looked_at(tmp_path: Path, base: Path) -> None:
    state = {**tuned(BASE, 1), "head.weight": torch.full((2, 8), torch.nan)}
    del state["norm.weight"]
    found = compare_checkpoints([put(tmp_path / "a", state)], base)
    assert found.non_finite[0].nans == 16
    assert found.differences.missing == {"a": ("norm.weight",)}
    assert found.differences.extra == {"a": ("head.weight",)}
    assert "a lacks 'norm.weight', which base has." in found.advice
    assert "a also holds 'head.weight', which base lacks." in found.advice


def test_another_dtype(tmp_path: Path, base: Path) -> None:
    half = {name: tensor.bfloat16() for name, tensor in tuned(BASE, 1).items()}
    found = compare_checkpoints([put(tmp_path / "a", half)], base)
    assert found.differences.dtypes == {"base": {"F32": 6}, "a": {"BF16": 6}}
    assert any("The dtypes differ (F32 in base; BF16 in a)" in one for one in found.advice)


def test_a_quantised_checkpoint_and_an_empty_tensor(tmp_path: Path, base: Path) -> None:
    state = {**tuned(BASE, 1), "layers.0.q.weight": torch.ones(8, 8, dtype=torch.int8)}
    put(base, {**BASE, "none": torch.ones(0, 4)})
    found = compare_checkpoints([put(tmp_path / "a", {**state, "none": torch.ones(0, 4)})], base)
    assert found.differences.quantised == {"a": "layers.0.q.weight"}
    assert any(sentence.startswith("a looks quantised") for sentence in found.advice)
    assert found.total.equal == (1,)


def test_another_vocabulary(tmp_path: Path, base: Path) -> None:
    state = tuned(BASE, 1)
    state["embed.weight"] = torch.ones(14, 8)
    other = put(tmp_path / "a", state, {"hidden_size": 9, "torch_dtype": "float16"})
    tokenizer(base, list("abcdefghijkl"))
    tokenizer(other, list("abcdefghijlk"), ("<x>", "<y>"))
    found = compare_checkpoints([other], base)
    assert found.differences.shapes == {"embed.weight": {"base": (12, 8), "a": (14, 8)}}
    (differs,) = found.differences.tokenizers
    assert differs.tokens == {"base": 12, "a": 14}
    assert differs.moved == {"a": 2}
    assert found.differences.config == {"hidden_size": {"base": 8, "a": 9}}
    text = "\n".join(found.advice)
    assert "The shape of 'embed.weight' is 12 × 8 in base; 14 × 8 in a" in text
    assert "tokens: 12 in base; 14 in a; up to 2 of base" in text
    assert "config.json differs in hidden_size (8 in base; 9 in a)" in text


def test_a_long_task_vector_and_few_changes(tmp_path: Path, base: Path) -> None:
    few = {**BASE, "embed.weight": BASE["embed.weight"] * 1.01}
    paths = [put(tmp_path / "far", tuned(BASE, 1, 0.3)), put(tmp_path / "few", few)]
    found = compare_checkpoints(paths, base)
    length = found.total.relative[0]
    assert length is not None
    text = "\n".join(found.advice)
    assert f"The task vector of far is long ({100 * length:.0f} % of the weights)" in text
    assert "few changed 1 of 6 tensors alone." in text


def test_refusals(tmp_path: Path, base: Path) -> None:
    with pytest.raises(SettingError, match="two checkpoints or more"):
        compare_checkpoints([base])
    with pytest.raises(SettingError, match="two checkpoints or more"):
        compare_checkpoints([base], base)
    with pytest.raises(SettingError, match="a list of paths"):
        compare_checkpoints(str(base))  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="at least 1"):
        compare_checkpoints([base, base], threads=0)
    with pytest.raises(WeightsError, match="neither a folder or file"):
        compare_checkpoints([base, tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="holds no weights"):
        compare_checkpoints([base, tmp_path / "empty"])
    (base / "config.json").write_text("[")
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        compare_checkpoints([base, put(tmp_path / "a", BASE)])


def test_one_folder_twice_has_two_names(base: Path) -> None:
    assert tuple(compare_checkpoints([base, base]).paths) == ("base", "base (2)")


def test_the_short_forms(tmp_path: Path, base: Path) -> None:
    found = compare_checkpoints([put(tmp_path / "a", tuned(BASE, 1))], base)
    assert str(found).startswith("Changes from the base base.\nmember")
    assert all(len(line) <= 80 for line in str(found).splitlines()[:3])
    assert "2 checkpoints compared" in found._repr_html_()
    assert found.to_dict()["differences"]["config"] == {}
