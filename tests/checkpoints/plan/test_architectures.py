"""Models of other architectures are told as such, before their shapes and names are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from fine_tunes import linear, put, ties
from tiny_checkpoints import document, with_tokenizer

import onefold
from onefold.checkpoints.engine.config_doubts import ConfigWarning
from onefold.errors import MembersError, RecipeError


def state(width: int = 4, prefix: str = "layers", count: int = 6, **more: int) -> dict[str, Any]:
    found = {f"{prefix}.{i}.w.weight": torch.ones(width, 4) for i in range(count)}
    return found | {name: torch.ones(size, 4) for name, size in more.items()}


def merged(tmp_path: Path, *models: tuple[dict[str, Any], dict[str, Any] | None]) -> Any:
    tmp_path.mkdir(exist_ok=True)
    paths = [put(tmp_path / f"m{i}", *model) for i, model in enumerate(models)]
    return onefold.merge_checkpoints(document(linear(paths)), tmp_path / "out", dry_run=True)


FAULTS = r"different shapes|has no tensor of|has 4 layers"
WORDS = ("stem", "query", "key", "value", "norm", "head")
KINDS: dict[str, tuple[Any, Any]] = {
    "shapes": (state(), state(8)),
    "names": (state(), state(prefix="blocks")),
    "layers": (state(), state(count=4)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("model_type", "llama", "bert"),
        ("architectures", ["LlamaForCausalLM"], ["LlamaModel"]),
        ("_class_name", "UNet2DConditionModel", "AutoencoderKL"),
    ],
)
def test_the_architectures_are_told_first(
    tmp_path: Path, kind: str, key: str, one: Any, other: Any
) -> None:
    first, second = KINDS[kind]
    with pytest.raises((MembersError, RecipeError)) as caught:
        merged(tmp_path, (first, {key: one}), (second, {key: other}))
    told = str(caught.value)
    assert told.startswith(f"The models are of different architectures ({key} ")
    assert re.search(FAULTS, told)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", [None, {}, {"model_type": "llama"}])
def test_nothing_is_told_of_them_where_configs_agree_or_lack(
    tmp_path: Path, kind: str, config: Any
) -> None:
    first, second = KINDS[kind]
    with pytest.raises((MembersError, RecipeError), match=FAULTS) as caught:
        merged(tmp_path, (first, {"model_type": "llama"}), (second, config))
    assert "architectures (" not in str(caught.value)


def test_tokens_that_differ_come_behind_the_architectures(tmp_path: Path) -> None:
    paths = []
    for name, kind in (("a", "llama"), ("b", "bert")):
        config = {"model_type": kind, "vocab_size": 8}
        weights = state(**{"embed_tokens.weight": 8})
        paths.append(put(tmp_path / name, weights, config))
        with_tokenizer(tmp_path / name, {f"{name}{i}": i for i in range(8)})
    with pytest.raises(MembersError, match=r"different architectures .* in .*: .*token"):
        onefold.merge_checkpoints(document(linear(paths)), tmp_path / "out")


def test_models_of_equal_tensors_are_merged_whatever_their_configs_name(tmp_path: Path) -> None:
    models = [(state(), {"model_type": kind}) for kind in ("llama", "mistral")]
    made = merged(tmp_path, *models)
    assert made.merged == 6


@pytest.mark.parametrize(("shared", "doubt"), [(1, True), (2, True), (3, False), (6, False)])
def test_a_model_that_lacks_most_tensors_is_in_doubt(
    tmp_path: Path, shared: int, doubt: bool
) -> None:
    first = {f"{name}.weight": torch.ones(4) for name in WORDS}
    other = {(f"other_{k}" if i >= shared else k): v for i, (k, v) in enumerate(first.items())}
    paths = [put(tmp_path / "a", first), put(tmp_path / "b", other)]
    for content in (linear(paths), ties(paths)):
        if doubt:
            with pytest.warns(ConfigWarning, match=f"only {shared} of the 6 tensors of"):
                made = onefold.merge_checkpoints(document(content), tmp_path / "o", dry_run=True)
        else:
            made = onefold.merge_checkpoints(document(content), tmp_path / "o", dry_run=True)
        assert any("are they of one architecture" in one for one in made.warned) is doubt


def test_notes_of_one_tensor_are_singular(tmp_path: Path) -> None:
    made = merged(tmp_path, (state(one=3), None), (state(), None))
    (note,) = [one for one in made.notes if one.startswith("1 tensor")]
    assert note.startswith(("1 tensor was merged without ", "1 tensor was copied"))
    assert " lacks it: one." in note
    made = merged(tmp_path / "again", (state(one=3, two=3), None), (state(), None))
    (note,) = [one for one in made.notes if one.startswith("2 tensors were")]
    assert " lacks them: one, two." in note
