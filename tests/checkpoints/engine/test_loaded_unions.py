"""Unions of real tokenizers, of families whose embeddings and heads have different names.

Each result is loaded by transformers, cuts a text with every token, and gives the logits of a
network whose rows were put in order by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from vocabulary_folders import KINDS, save

import onefold

OWN = (["<x>", "<w>"], ["<y>", "<x>"])  # added tokens of the two models
TEXT = "low <x> new <y> lower"


def gpt(size: int) -> Any:
    tf = tiny.transformers()
    config = tf.GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    return tf.GPT2LMHeadModel(config)


def bert(size: int) -> Any:
    tf = tiny.transformers()
    config = tf.BertConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
    )
    return tf.BertForMaskedLM(config)


def t5(size: int) -> Any:
    tf = tiny.transformers()
    config = tf.T5Config(
        vocab_size=size,
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
    )
    return tf.T5ForConditionalGeneration(config)


def model(folder: Path, build: Callable[[int], Any], kind: str, extra: list[str], seed: int) -> str:
    tokenizer = KINDS[kind](extra)
    network = build(tokenizer.get_vocab_size())
    tiny.write(folder, network, seed)
    config = (folder / "config.json").read_text()
    save(folder, tokenizer)
    (folder / "config.json").write_text(config)
    return str(folder)


@pytest.mark.parametrize(
    ("build", "kind"),
    [(gpt, "BPE"), (bert, "WordPiece"), (t5, "Unigram")],
    ids=["gpt", "bert", "t5"],
)
def test_a_union_runs_as_the_mean_of_networks_with_its_rows(
    tmp_path: Path, build: Callable[[int], Any], kind: str
) -> None:
    tf = tiny.transformers()
    paths = [model(tmp_path / f"m{i}", build, kind, OWN[i], i) for i in range(2)]
    content = {
        "merge_method": "linear",
        "models": [{"model": path, "parameters": {"weight": 0.5}} for path in paths],
        "tokenizer_source": "union",
    }
    made = onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    tokenizer = tf.AutoTokenizer.from_pretrained(made.path)
    size = len(tokenizer)
    shared = size - 3
    assert tokenizer.convert_tokens_to_ids(["<x>", "<w>", "<y>"]) == list(range(shared, size))

    first, second = (type(build(9)).from_pretrained(path).state_dict() for path in paths)
    orders = ([*range(shared + 2), None], [*range(shared), shared + 1, None, shared])
    expected = build(size)
    state = {}
    for name, tensor in expected.state_dict().items():
        one, two = first[name], second[name]
        if one.shape != tensor.shape:  # the vocabulary is its first axis
            assert one.shape[0] == shared + 2
            rows = [
                [None if k is None else state_[k] for k in order]
                for state_, order in zip((one, two), orders, strict=True)
            ]
            pairs = zip(*rows, strict=True)
            filled = [(b if a is None else a, a if b is None else b) for a, b in pairs]
            one, two = (torch.stack([pair[i] for pair in filled]) for i in range(2))
        state[name] = (one + two) / 2
    expected.load_state_dict(state)

    network, told = type(expected).from_pretrained(made.path, output_loading_info=True)
    assert not told["missing_keys"]
    assert network.config.vocab_size == size
    numbers = tokenizer(TEXT, return_tensors="pt").input_ids
    assert {shared, size - 1} <= set(numbers[0].tolist())
    given = {"input_ids": numbers}
    if kind == "Unigram":
        given["decoder_input_ids"] = numbers
    with torch.no_grad():
        found, wanted = (one.eval()(**given).logits for one in (network, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    if kind != "WordPiece":
        written = network.generate(input_ids=numbers, max_new_tokens=3, pad_token_id=0)
        assert int(written.max()) < size
