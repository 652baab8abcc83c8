"""What lies beside the weights: configs and tokenizer files that differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onefold.checkpoints.comparison.entries import Opened, read_table
from onefold.checkpoints.comparison.results import TokenizerFile
from onefold.checkpoints.vocabulary.files import (
    ADDED,
    FAST,
    MERGES,
    MODELS,
    SETTINGS,
    SPECIAL,
    TEMPLATE,
    TEMPLATE_JSON,
    VOCAB_JSON,
    VOCAB_TEXT,
)
from onefold.errors import WeightsError

# Keys of config.json, at any depth, that decide which network the weights belong to.
MATTER = frozenset(
    {
        "architectures",
        "model_type",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "tie_word_embeddings",
        "max_position_embeddings",
        "rope_theta",
        "rope_scaling",
        "sliding_window",
        "hidden_act",
        "activation_function",
        "rms_norm_eps",
        "layer_norm_eps",
        "layer_norm_epsilon",
        "n_embd",
        "n_layer",
        "n_head",
        "n_positions",
        "d_model",
        "d_ff",
        "num_layers",
        "num_heads",
        "encoder_layers",
        "decoder_layers",
        "type_vocab_size",
        "image_size",
        "patch_size",
        "num_channels",
        "num_classes",
        "num_labels",
        "num_experts",
        "num_local_experts",
        "num_experts_per_tok",
        "quant_method",
        "in_channels",
        "out_channels",
        "block_out_channels",
        "cross_attention_dim",
        "_class_name",
    }
)
VOCABULARIES = (FAST, *MODELS, VOCAB_JSON, VOCAB_TEXT, MERGES, ADDED)
TOKENIZER_FILES = (*VOCABULARIES, SPECIAL, SETTINGS, TEMPLATE, TEMPLATE_JSON)
BLOCK = 1 << 20  # bytes that are hashed at a time


def config_differences(opened: Mapping[str, Opened]) -> dict[str, dict[str, Any]]:
    """The keys of config.json that matter and differ -> checkpoint -> value.

    A checkpoint without a config is left out.
    """
    return differing_values(
        {
            name: read_table(one.folder / "config.json")
            for name, one in opened.items()
            if (one.folder / "config.json").is_file()
        }
    )


def differing_values(contents: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The keys that matter and differ in contents of config.json -> checkpoint -> value."""
    if not contents:
        return {}
    configs = {name: dict(_flat(content, "")) for name, content in contents.items()}
    keys = dict.fromkeys(key for config in configs.values() for key in config)
    found = {}
    for key in keys:
        values = {name: config.get(key) for name, config in configs.items()}
        first, *others = values.values()
        if any(other != first for other in others):
            found[key] = values
    return found


def _flat(table: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        if key in MATTER:
            found.append((prefix + key, value))
        elif isinstance(value, dict) and prefix.count(".") < 8:
            found += _flat(value, f"{prefix}{key}.")
    return found


def tokenizer_differences(opened: Mapping[str, Opened], origin: str) -> tuple[TokenizerFile, ...]:
    """The tokenizer files that are not the same in all checkpoints that have any."""
    having = {
        name: one.folder
        for name, one in opened.items()
        if any((one.folder / file).is_file() for file in TOKENIZER_FILES)
    }
    found = []
    for file in TOKENIZER_FILES:
        hashes = {name: _hash(folder / file) for name, folder in having.items()}
        if len(set(hashes.values())) < 2:
            continue
        tokens: dict[str, int] = {}
        moved: dict[str, int] = {}
        if file == "tokenizer.json":
            vocabularies = {
                name: _vocabulary(folder / file) for name, folder in having.items() if hashes[name]
            }
            tokens = {name: len(one) for name, one in vocabularies.items()}
            base = vocabularies.get(origin, {})
            moved = {
                name: sum(one.get(token) != number for token, number in base.items())
                for name, one in vocabularies.items()
                if name != origin and base
            }
        found.append(TokenizerFile(file, hashes, tokens, moved))
    return tuple(found)


def _hash(path: Path) -> str | None:
    if not path.is_file():
        return None
    total = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                total.update(block)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}).") from error
    return total.hexdigest()


def _vocabulary(path: Path) -> dict[str, int]:
    """The tokens of a tokenizer.json and their numbers; {} if it does not tell them."""
    content = read_table(path)
    model, added = content.get("model"), content.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    found: dict[str, int] = {}
    if isinstance(vocabulary, dict):
        found = {token: n for token, n in vocabulary.items() if isinstance(n, int)}
    elif isinstance(vocabulary, list):
        found = {
            str(pair[0]): n for n, pair in enumerate(vocabulary) if isinstance(pair, list) and pair
        }
    for one in added if isinstance(added, list) else ():
        if isinstance(one, dict) and isinstance(one.get("id"), int):
            found[str(one.get("content"))] = one["id"]
    return found
