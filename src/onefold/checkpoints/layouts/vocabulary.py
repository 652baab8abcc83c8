"""Which tensors have one row for each token: embeddings, and heads that may be tied to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "shared.weight",
    "tok_embeddings.weight",
    "embed_in.weight",
    "word_embedding.weight",
)
HEADS = (
    "lm_head.weight",
    "lm_head.bias",
    "embed_out.weight",
    "predictions.decoder.weight",
    "predictions.decoder.bias",
    "predictions.bias",
    "output_projection.weight",
    "vocab_projector.weight",
)


def is_embedding(name: str) -> bool:
    """Whether a name is one that embeddings of tokens have."""
    return name.endswith(EMBEDDINGS)


def is_head(name: str) -> bool:
    """Whether a name is one that heads over the vocabulary have."""
    return name.endswith(HEADS) or name == "output.weight"


def is_vocabulary(name: str, shape: tuple[int, ...], config: Mapping[str, Any]) -> bool:
    """Whether a tensor has one row for each token.

    Args:
        name: the name of the tensor.
        shape: its shape.
        config: the content of config.json; its `vocab_size` decides where a name says nothing.
    """
    if is_embedding(name) or is_head(name):
        return True
    size = config.get("vocab_size")
    return isinstance(size, int) and size > 256 and bool(shape) and shape[0] == size


def embedding_of(names: Iterable[str]) -> str | None:
    """The name of the embedding that a tied head shares; None: there is none."""
    return next((name for name in names if is_embedding(name)), None)
