"""Tiny models of four families, the same bits on every machine and with every library.

Names and shapes are those that transformers writes; `run.py` checks that it loads them without a
missing or an unexpected name. Values are drawn from hashes of names (SHAKE-256), so that neither
torch, NumPy nor transformers has a part in them. A fine-tune is the base plus a change. A quarter
of its elements stay as they are, as do all tensors that `UNCHANGED` names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.checkpoints.differential import vocabularies

LAYERS, WIDTH, INNER, HEADS, KEYS, ROWS, PLACES = 3, 32, 48, 4, 2, 96, 32
BASE, CHANGE = 0.12, 0.011  # standard deviations of the base's elements, and of changes
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Model:
    """One model of a family.

    Attributes:
        change: the standard deviation of its change; 0: it is the base.
        vocabulary: the name of its vocabulary.
        tied: its head is its embedding; None: as the family has it.
        unchanged: parts of the names of tensors that are those of the base.
        wide: it is stored as float32, whatever the others are.
    """

    change: float = CHANGE
    vocabulary: str = "plain"
    tied: bool | None = None
    unchanged: tuple[str, ...] = field(default=("1.input_layernorm", "h.1.ln_1", "1.output.Layer"))
    wide: bool = False


MODELS: dict[str, Model] = {
    "base": Model(0.0),
    "a": Model(),
    "b": Model(unchanged=(*Model().unchanged, "2.input_layernorm", "h.2.ln_1", "2.output.Layer")),
    "c": Model(),
    "fairly": Model(CHANGE / 5),
    "far": Model(BASE, unchanged=()),
    "untied": Model(tied=False),
    "near": Model(CHANGE / 40),
    "close": Model(CHANGE / 40),
    "wide": Model(wide=True),
    "more": Model(vocabulary="more"),
    "other": Model(vocabulary="other"),
}


def draws(text: str, numel: int) -> Any:
    """Numbers of mean 0 and variance 1 that follow from a text, (numel,) float64."""
    bits = np.frombuffer(hashlib.shake_256(text.encode()).digest(16 * numel), "<u4")
    summed = bits.reshape(-1, 4).astype(np.int64).sum(1) - 2 * (2**32 - 1)
    return summed / (2**32 * (1 / 3) ** 0.5)


def kept(text: str, numel: int) -> Any:
    """Three of four elements, by a text, (numel,) bool."""
    return np.frombuffer(hashlib.shake_256(text.encode()).digest(numel), np.uint8) >= 64


def tensor(family: str, model: str, name: str, shape: tuple[int, ...]) -> Tensor:
    """One tensor of a model, float32."""
    known, numel = MODELS[model], int(np.prod(shape))
    values = BASE * draws(f"{family}/base/{name}", numel)
    if known.change and not any(part in name for part in known.unchanged):
        text = f"{family}/{model}/{name}"
        values += known.change * draws(text, numel) * kept(f"{text}/kept", numel)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def llama_shapes(rows: int, biases: bool = False) -> Shapes:
    """The tensors of Llama with grouped queries; with biases those of Qwen2."""
    found: Shapes = {"model.embed_tokens.weight": (rows, WIDTH)}
    narrow = WIDTH // HEADS * KEYS
    for i in range(LAYERS):
        stem = f"model.layers.{i}"
        for name, size in (("q", WIDTH), ("k", narrow), ("v", narrow)):
            found[f"{stem}.self_attn.{name}_proj.weight"] = (size, WIDTH)
            if biases:
                found[f"{stem}.self_attn.{name}_proj.bias"] = (size,)
        found[f"{stem}.self_attn.o_proj.weight"] = (WIDTH, WIDTH)
        found[f"{stem}.mlp.gate_proj.weight"] = (INNER, WIDTH)
        found[f"{stem}.mlp.up_proj.weight"] = (INNER, WIDTH)
        found[f"{stem}.mlp.down_proj.weight"] = (WIDTH, INNER)
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"{stem}.{name}.weight"] = (WIDTH,)
    return {**found, "model.norm.weight": (WIDTH,), "lm_head.weight": (rows, WIDTH)}


def gpt2_shapes(rows: int) -> Shapes:
    """The tensors of GPT-2, whose matrices have one row for each input."""
    found: Shapes = {
        "transformer.wte.weight": (rows, WIDTH),
        "transformer.wpe.weight": (PLACES, WIDTH),
    }
    linear = {"attn.c_attn": (WIDTH, 3 * WIDTH), "attn.c_proj": (WIDTH, WIDTH)}
    linear |= {"mlp.c_fc": (WIDTH, INNER), "mlp.c_proj": (INNER, WIDTH)}
    for i in range(LAYERS):
        for name, shape in linear.items():
            found[f"transformer.h.{i}.{name}.weight"] = shape
            found[f"transformer.h.{i}.{name}.bias"] = shape[1:]
        for name in ("ln_1", "ln_2"):
            found |= _norm(f"transformer.h.{i}.{name}")
    return {**found, **_norm("transformer.ln_f"), "lm_head.weight": (rows, WIDTH)}


def bert_shapes(rows: int) -> Shapes:
    """The tensors of BERT with a head for three classes."""
    stem = "bert.embeddings"
    found: Shapes = {
        f"{stem}.word_embeddings.weight": (rows, WIDTH),
        f"{stem}.position_embeddings.weight": (PLACES, WIDTH),
        f"{stem}.token_type_embeddings.weight": (2, WIDTH),
        **_norm(f"{stem}.LayerNorm"),
    }
    for i in range(LAYERS):
        stem = f"bert.encoder.layer.{i}"
        for name in ("query", "key", "value"):
            found |= _linear(f"{stem}.attention.self.{name}", WIDTH, WIDTH)
        found |= _linear(f"{stem}.attention.output.dense", WIDTH, WIDTH)
        found |= _norm(f"{stem}.attention.output.LayerNorm")
        found |= _linear(f"{stem}.intermediate.dense", INNER, WIDTH)
        found |= _linear(f"{stem}.output.dense", WIDTH, INNER)
        found |= _norm(f"{stem}.output.LayerNorm")
    return {
        **found,
        **_linear("bert.pooler.dense", WIDTH, WIDTH),
        **_linear("classifier", 3, WIDTH),
    }


def _linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str) -> Shapes:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        shapes: number of rows of the embedding -> names and shapes.
        config: what config.json holds beside sizes of the vocabulary.
        tied: the head is the embedding.
    """

    shapes: Callable[[int], Shapes]
    config: Mapping[str, Any]
    tied: bool


_LLAMA = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEYS,
    "max_position_embeddings": PLACES,
}
FAMILIES: dict[str, Family] = {
    "llama": Family(
        llama_shapes,
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **_LLAMA},
        tied=False,
    ),
    "qwen2": Family(
        lambda rows: llama_shapes(rows, True),
        {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", **_LLAMA},
        tied=True,
    ),
    "gpt2": Family(
        gpt2_shapes,
        {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "n_embd": WIDTH,
            "n_head": HEADS,
            "n_layer": LAYERS,
            "n_inner": INNER,
            "n_positions": PLACES,
        },
        tied=True,
    ),
    "bert": Family(
        bert_shapes,
        {
            "architectures": ["BertForSequenceClassification"],
            "model_type": "bert",
            "hidden_size": WIDTH,
            "intermediate_size": INNER,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "max_position_embeddings": PLACES,
            "num_labels": 3,
        },
        tied=False,
    ),
}


def state(family: str, model: str) -> dict[str, Tensor]:
    """All tensors that a model stores, float32."""
    known, rows = FAMILIES[family], vocabularies.rows(MODELS[model].vocabulary)
    tied = known.tied if MODELS[model].tied is None else MODELS[model].tied
    return {
        name: tensor(family, model, name, shape)
        for name, shape in known.shapes(rows).items()
        if not (tied and name == "lm_head.weight")
    }


def write(folder: Path, family: str, model: str, dtype: str) -> Path:
    """Write one model as transformers would.

    Args:
        folder: of the models; a folder of the model's name is made in it.
        family: its family.
        model: its name.
        dtype: of the stored tensors, unless the model has one of its own.
    """
    known, made, named = FAMILIES[family], MODELS[model], folder / model
    dtype = "float32" if made.wide else dtype
    named.mkdir(parents=True)
    tensors = {
        name: values.to(getattr(torch, dtype)) for name, values in state(family, model).items()
    }
    save_file(tensors, named / "model.safetensors", metadata={"format": "pt"})
    tied = known.tied if made.tied is None else made.tied
    sizes = {"vocab_size": vocabularies.rows(made.vocabulary), "tie_word_embeddings": tied}
    (named / "config.json").write_text(json.dumps({**known.config, **sizes, "torch_dtype": dtype}))
    vocabularies.write(named, made.vocabulary)
    return named
