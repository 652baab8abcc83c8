"""Small tokenizers and configs of transformers in folders, and tables of texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = ("good", "fine", "great", "bad", "poor", "dull", "film", "plot", "cast", "a", "the", "very")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def write_tokenizer(folder: Path, words: tuple[str, ...] = WORDS, **settings: Any) -> Path:
    """A tokenizer of whole words, as `save_pretrained` writes it."""
    pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *words))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, **{**names, **settings}
    ).save_pretrained(str(folder))
    return folder


def write_config(folder: Path, head: str = "BertForSequenceClassification", **more: Any) -> Path:
    """The config of a small BERT beside the tokenizer."""
    folder.mkdir(exist_ok=True)
    sizes = {
        "model_type": "bert",
        "architectures": [head],
        "vocab_size": 24,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 32,
    }
    (folder / "config.json").write_text(json.dumps({**sizes, **more}))
    return folder


def sentences(count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Texts of two to eight words, and whether one of them praises."""
    draws = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        length = int(torch.randint(1, 8, (), generator=draws))
        words = [WORDS[int(k)] for k in torch.randint(6, len(WORDS), (length,), generator=draws)]
        label = number % 2
        words.insert(
            int(torch.randint(0, length + 1, (), generator=draws)),
            WORDS[(0 if label else 3) + int(torch.randint(0, 3, (), generator=draws))],
        )
        found.append((" ".join(words), label))
    return found
