"""Networks of the package transformers from a config on this disk: tasks, options, errors, the
commands.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from onefold import load, merge, save
from onefold.errors import SettingError
from onefold.sources import build_model, resolve_model
from onefold.sources.names import in_name

SMALL = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


def config(folder: Path, **changes: Any) -> Path:
    content = {name: value for name, value in {**SMALL, **changes}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.mark.slow
def test_a_task_or_the_class_that_the_config_names(transformers: Any, tmp_path: Path) -> None:
    folder = config(tmp_path, architectures=["BertForMaskedLM"])
    assert type(build_model(f"hf:{folder}")) is transformers.BertForMaskedLM
    model = build_model(
        f"hf:{folder}/config.json?task=sequence-classification&num_labels=5&hidden_size=8"
    )
    assert type(model) is transformers.BertForSequenceClassification
    assert model.classifier.weight.shape == (5, 8)
    assert type(build_model(f"hf:{folder}?task=features")) is transformers.BertModel


GPT = {"model_type": "gpt2", "vocab_size": 40, "n_embd": 16, "n_layer": 1, "n_head": 2}
ENDS = {"n_positions": 32, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LLAMA = {**SMALL, "model_type": "llama", "num_key_value_heads": 2, "pad_token_id": 0}
VIT = {**SMALL, "model_type": "vit", "image_size": 16, "patch_size": 8}
SEGFORMER = {
    "model_type": "segformer",
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "sr_ratios": [2, 1],
    "hidden_sizes": [8, 12],
    "num_attention_heads": [1, 2],
    "patch_sizes": [3, 3],
    "strides": [2, 2],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 16,
}
HEADS: dict[str, tuple[dict[str, Any], str]] = {
    "BertForSequenceClassification": (SMALL, "tokens"),
    "BertForTokenClassification": (SMALL, "tokens"),
    "BertForQuestionAnswering": (SMALL, "tokens"),
    "BertForMaskedLM": (SMALL, "tokens"),
    "BertForMultipleChoice": (SMALL, "choices"),
    "GPT2LMHeadModel": ({**GPT, **ENDS}, "tokens"),
    "LlamaForSequenceClassification": (LLAMA, "tokens"),
    "ViTForImageClassification": (VIT, "images"),
    "SegformerForSemanticSegmentation": (SEGFORMER, "images"),
}


def inputs_of(kind: str, length: int) -> dict[str, torch.Tensor]:
    if kind == "images":
        return {"pixel_values": torch.randn(6, 3, 16, 16)}
    shape = (6, 2, length) if kind == "choices" else (6, length)
    return {
        "input_ids": torch.randint(4, 40, shape),
        "attention_mask": torch.ones(shape, dtype=torch.long),
    }


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_built_and_merged(transformers: Any, tmp_path: Path, head: str) -> None:
    settings, kind = HEADS[head]
    content = {**settings, "architectures": [head]}
    (tmp_path / "config.json").write_text(json.dumps(content))
    models = [build_model(f"hf:{tmp_path}").eval() for _ in range(2)]
    assert type(models[0]) is getattr(transformers, head)
    data = [inputs_of(kind, length) for length in (9, 5, 12)]
    for align in ("none", "permutation"):
        merged = merge(models, data, align=align, fold="average", repair="none").model
        with torch.no_grad():
            found = merged(**data[1])
        assert all(value.isfinite().all() for value in found.values() if torch.is_tensor(value))


def test_a_task_in_either_spelling(transformers: Any, tmp_path: Path) -> None:
    name = f"hf:{config(tmp_path)}?task=token"
    assert type(build_model(f"{name}_classification")) is transformers.BertForTokenClassification
    (tmp_path / "config.json").write_text(json.dumps(SEGFORMER))
    built = build_model(f"hf:{tmp_path}?task=semantic-segmentation")
    assert type(built) is transformers.SegformerForSemanticSegmentation


def test_caches_of_keys_and_values_are_off(transformers: Any, tmp_path: Path) -> None:
    sizes = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 12}
    name = f"hf:{config(tmp_path, **sizes)}?task=causal-lm"
    assert build_model(name).config.use_cache is False
    assert build_model(name + "&use_cache=true").config.use_cache is True


@pytest.mark.parametrize(
    ("changes", "tail", "message"),
    [
        ({}, "", r"names no architecture; say what to build, as in \?task=causal-lm: features"),
        ({}, "?task=masked-lmm", r"has no task 'masked-lmm'; did you mean 'masked-lm'\?"),
        (
            {},
            "?task=masked-lm&hiden_size=8",
            r"has no value 'hiden_size'; did you mean 'hidden_size'\?",
        ),
        (
            {"model_type": "berd"},
            "",
            (
                r"model_type 'berd', which the package transformers does not know; did you mean"
                r" 'bert'\?"
            ),
        ),
        (
            {"model_type": None},
            "",
            r"model_type None, which the package transformers does not know",
        ),
        (
            {"architectures": ["BertForNothing"]},
            "",
            (
                r"no network 'BertForNothing', which the config of .* names; say what to build with"
                r" \?task="
            ),
        ),
        (
            {},
            "?task=image-classification",
            (
                r"no network of the kind 'bert' for the task 'image-classification'; choose another"
                r" task"
            ),
        ),
        (
            {},
            "?task=masked-lm&num_attention_heads=3",
            r"failed with ValueError: The hidden size \(16\) is not a multiple",
        ),
    ],
)
@pytest.mark.usefixtures("transformers")
def test_what_does_not_fit_is_said_in_one_sentence(
    tmp_path: Path, changes: dict[str, Any], tail: str, message: str
) -> None:
    with pytest.raises(SettingError, match=message) as error:
        build_model(f"hf:{config(tmp_path, **changes)}{tail}")
    assert len(str(error.value)) < 500


def test_files_that_are_no_config(tmp_path: Path) -> None:
    with pytest.raises(
        SettingError,
        match="bert-base is no folder or file; nothing is downloaded, so save it here first",
    ):
        resolve_model("hf:bert-base")
    with pytest.raises(SettingError, match=r"the folder .* has no config.json"):
        resolve_model(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SettingError, match=r"cannot be read .*; it must be a JSON file"):
        resolve_model(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(SettingError, match="is a list; it must be a JSON object"):
        resolve_model(f"hf:{tmp_path}")


def test_a_missing_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        SettingError,
        match=r'needs the package transformers; install it with: pip install "onefold\[hf\]"',
    ):
        resolve_model(f"hf:{config(tmp_path)}")


def test_nothing_of_the_config_is_run_or_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config that names code of its own is refused: its kind is not known to the package."""
    monkeypatch.setitem(
        sys.modules, "transformers", types.SimpleNamespace(CONFIG_MAPPING={"bert": None})
    )
    own = {"model_type": "mine", "auto_map": {"AutoModel": "somebody/repository--code.Model"}}
    with pytest.raises(
        SettingError,
        match=(
            r"'mine', which the package transformers does not know; use another version of it, or"
            r" file.py:factory"
        ),
    ):
        resolve_model(f"hf:{config(tmp_path, **own)}")


def test_its_path_moves_with_a_recipe() -> None:
    assert (
        in_name("hf:nets/small?task=causal-lm", lambda path: f"/there/{path}")
        == "hf:/there/nets/small?task=causal-lm"
    )


DATA = """
import torch


def sentences(split, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [
        (torch.randint(50, (16, 7), generator=random), torch.randint(2, (16,), generator=random))
        for _ in range(4)
    ]
"""


@pytest.mark.slow
@pytest.mark.usefixtures("transformers")
def test_inspect_merge_and_eval(onefold: Callable, tmp_path: Path) -> None:
    name = f"hf:{config(tmp_path)}?task=sequence-classification"
    (tmp_path / "data.py").write_text(DATA)
    data = ["--data", f"{tmp_path}/data.py:sentences"]
    members = []
    for seed in range(2):
        torch.manual_seed(seed)
        members.append(tmp_path / f"m{seed}.safetensors")
        save(build_model(name), members[-1])
    shown = onefold("inspect", name, "--shape", "7", "--tokens", "50", "--verify")
    assert shown.status == 0, shown.err
    assert "6 groups cover" in shown.out
    assert "passed" in shown.out
    assert onefold("eval", *members, "--model", name, *data).status == 0
    out = tmp_path / "folded.safetensors"
    result = onefold(
        "merge",
        *members,
        "--model",
        name,
        *data,
        "--align",
        "permutation",
        "--eval-split",
        "test",
        "-o",
        out,
    )
    assert result.status == 0, result.err
    assert load(out).keys() == load(members[0]).keys()
