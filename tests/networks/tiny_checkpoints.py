"""Tiny folders of checkpoints, as transformers writes them, with random weights."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tvshim import import_torchvision

from onefold.checkpoints.document import Document, parse_documents
from onefold.documents.yaml_text import text_from


@functools.cache
def transformers() -> Any:
    """The package, behind torchvision."""
    import_torchvision()
    import transformers

    return transformers


def llama(layers: int = 3, **more: Any) -> Any:
    """A decoder with tied embeddings."""
    tf = transformers()
    config = tf.LlamaConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=more.pop("vocab_size", 300),
        tie_word_embeddings=more.pop("tie_word_embeddings", True),
        **more,
    )
    return tf.LlamaForCausalLM(config)


def bert() -> Any:
    """An encoder with a head for three classes."""
    tf = transformers()
    config = tf.BertConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=300,
        max_position_embeddings=32,
        num_labels=3,
    )
    return tf.BertForSequenceClassification(config)


def vit() -> Any:
    """A vision transformer with a head for four classes."""
    tf = transformers()
    config = tf.ViTConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        num_labels=4,
    )
    return tf.ViTForImageClassification(config)


FAMILIES: dict[str, Callable[[], Any]] = {"llama": llama, "bert": bert, "vit": vit}


def write(folder: Path, network: Any, seed: int, dtype: torch.dtype = torch.float32) -> Path:
    """Write a network with weights of a seed into a folder."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    network.to(dtype).save_pretrained(folder)
    return folder


def stored(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors files."""
    from safetensors.torch import load_file

    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found.update(load_file(file))
    return found


def document(content: Mapping[str, Any]) -> Document:
    """A document of plain data."""
    return parse_documents(text_from(dict(content)), "The document")[-1]


def with_tokenizer(folder: Path, tokens: Mapping[str, int]) -> None:
    """A tokenizer.json of these tokens."""
    content = {"model": {"type": "WordLevel", "vocab": dict(tokens)}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(content))
