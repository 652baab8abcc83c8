"""Tiny random networks of transformers in folders, as `save_pretrained` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from text_files import sentences, write_tokenizer

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT = {**SMALL, "vocab_size": 24, "intermediate_size": 24, "max_position_embeddings": 32}
VIT = {**SMALL, "intermediate_size": 24, "image_size": 8, "patch_size": 4, "num_channels": 1}
GPT = {"vocab_size": 24, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
ENDS = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
LLAMA = {**BERT, "num_key_value_heads": 1, "tie_word_embeddings": True, **ENDS}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {  # class, config, its values
    "classifier": ("BertForSequenceClassification", "BertConfig", BERT),
    "encoder": ("BertModel", "BertConfig", BERT),
    "decoder": ("GPT2LMHeadModel", "GPT2Config", {**GPT, **ENDS}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "vit": ("ViTForImageClassification", "ViTConfig", {**VIT, "num_labels": 10}),
}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 8, "width": 8},
    "image_mean": [0.5],
    "image_std": [0.5],
}


def write_network(
    folder: Path, kind: str = "classifier", seed: int = 0, shards: str = "1GB", **changes: Any
) -> Path:
    """A folder of one network with its tokenizer or its image processor.

    Args:
        folder: where.
        kind: one of KINDS.
        seed: of the weights.
        shards: bytes of a file at most.
        **changes: of the config.
    """
    transformers = pytest.importorskip("transformers")
    name, config, values = KINDS[kind]
    torch.manual_seed(seed)
    made = getattr(transformers, name)(getattr(transformers, config)(**{**values, **changes}))
    made.save_pretrained(folder, max_shard_size=shards)
    if kind == "vit":
        (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    else:
        write_tokenizer(folder)
    return folder


def write_texts(folder: Path, label: str = "label", count: int = 64) -> Path:
    """Tables of labelled texts: train.csv, and half as many in test.csv."""
    folder.mkdir(exist_ok=True)
    for split, number, seed in (("train", count, 0), ("test", count // 2, 1)):
        rows = [f"{text},{('neg', 'pos')[praise]}" for text, praise in sentences(number, seed)]
        (folder / f"{split}.csv").write_text(f"text,{label}\n" + "\n".join(rows) + "\n")
    return folder


def loaded(folder: Path) -> torch.nn.Module:
    """The network of a folder, as transformers reads it."""
    transformers = pytest.importorskip("transformers")
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    network: torch.nn.Module = getattr(transformers, name).from_pretrained(folder)
    return network.eval()


def inputs_of(kind: str, count: int = 6) -> dict[str, torch.Tensor]:
    """Inputs of a kind of network, drawn at random."""
    random = torch.Generator().manual_seed(3)
    if kind == "vit":
        return {"pixel_values": torch.randn(count, 1, 8, 8, generator=random)}
    ids = torch.randint(4, 24, (count, 7), generator=random)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def answer(network: Any, kind: str) -> torch.Tensor:
    """What a network says of these inputs: logits, or features."""
    with torch.no_grad():
        said = network.eval()(**inputs_of(kind))
    found: torch.Tensor = said[0]
    return found
