"""Complaints 4 to 7 of users of mergekit: vocabularies, tokenizers, and unlike models.

The tests of `tests/checkpoints/vocabulary/test_complaints.py` look at the same on single functions;
these run whole merges, and load what they wrote.

Source: the issues of github.com/arcee-ai/mergekit; the numbers stand with each test.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from fine_tunes import linear, ties, written
from vocabulary_folders import bpe, save

import onefold as of
from onefold.checkpoints.engine.origin import UnrelatedBase
from onefold.checkpoints.plan.tokens import VocabularyWarning

EMBEDDING = "model.embed_tokens.weight"


def model(
    folder: Path,
    seed: int,
    extra: Sequence[str] = (),
    padding: int = 0,
    tied: bool = True,
    merges: Sequence[tuple[str, str]] = (("l", "o"), ("lo", "w"), ("e", "r")),
) -> str:
    """A network with a tokenizer of its own, and rows that stand for no token."""
    tokenizer = bpe(extra, tuple(merges))
    rows = tokenizer.get_vocab_size() + padding
    save(folder, tokenizer, bos_token="<s>", eos_token="</s>")
    tiny.write(folder, tiny.llama(vocab_size=rows, tie_word_embeddings=tied), seed)
    return str(folder)


def checked(folder: Path) -> tuple[Any, Any]:
    """What transformers loads, after every number of a text was looked up and continued."""
    tf = tiny.transformers()
    network = tf.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    numbers = tokenizer.get_vocab().values()
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) < network.config.vocab_size  # a number beyond it breaks GGUF and inference
    assert network.config.vocab_size == len(network.get_input_embeddings().weight)
    assert network.config.vocab_size == len(network.get_output_embeddings().weight)
    given = tokenizer("lower<x><y>", return_tensors="pt").input_ids
    made = network.generate(given, max_new_tokens=3, do_sample=False, pad_token_id=0)
    assert int(made.max()) < network.config.vocab_size
    return network, tokenizer


# 47, 139, 614
@pytest.mark.parametrize("tied", [True, False])
def test_a_few_added_tokens_need_a_decision_and_get_their_rows(
    tmp_path: Path, refused: Callable[..., str], tied: bool
) -> None:
    """Complaint 4: sizes that differ by a few tokens crash, or the union gives garbled output."""
    paths = [
        model(tmp_path / "base", 0, tied=tied),
        model(tmp_path / "x", 1, ["<x>"], tied=tied),
        model(tmp_path / "y", 2, ["<y>"], tied=tied),
    ]
    plain = written(tmp_path / "plain.yml", linear(paths))
    told = refused("merge", plain, "-o", tmp_path / "o")
    assert "tokenizer_source" in told
    united = written(tmp_path / "union.yml", linear(paths, tokenizer_source="union"))
    made = of.merge_checkpoints(united, tmp_path / "o")
    network, tokenizer = checked(made.path)
    states = [tiny.stored(Path(path)) for path in paths]
    own = states[1][EMBEDDING][bpe(["<x>"]).token_to_id("<x>")]
    row = network.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids("<x>")]
    torch.testing.assert_close(row, own)  # the only model that has the token
    shared = tokenizer.convert_tokens_to_ids("low")
    mean = sum(state[EMBEDDING][shared] for state in states) / 3
    torch.testing.assert_close(network.get_input_embeddings().weight[shared], mean)
    assert made.rows


# 425
@pytest.mark.filterwarnings("ignore::onefold.checkpoints.engine.origin.UnrelatedBase")
@pytest.mark.parametrize("source", ["union", "base", None])
def test_rows_of_padding_stay(tmp_path: Path, source: str | None) -> None:
    """Complaint 5: rows behind the last token are cut off, and the config changes."""
    paths = [model(tmp_path / name, seed, ["<x>"], 37) for seed, name in enumerate("abc")]
    rows = len(tiny.stored(Path(paths[0]))[EMBEDDING])
    more = {} if source is None else {"tokenizer_source": source}
    made = of.merge_checkpoints(written(tmp_path / "c.yml", ties(paths, **more)), tmp_path / "o")
    network, tokenizer = checked(made.path)
    assert network.config.vocab_size == rows == len(tokenizer) + 37


# 469, 428, 394, 185
@pytest.mark.parametrize("source", ["union", "base", "model"])
def test_the_tokenizer_loads_with_every_number_in_its_place(tmp_path: Path, source: str) -> None:
    """Complaint 6: broken or doubled files of the tokenizer, and numbers that are out of range."""
    paths = [model(tmp_path / "base", 0, ["<y>"], 3), model(tmp_path / "x", 1, ["<x>", "<y>"])]
    (Path(paths[0]) / "tokenizer.model").write_bytes(b"model")
    named = paths[1] if source == "model" else source
    content = linear(paths, base_model=paths[0], tokenizer_source=named)
    document = written(tmp_path / "c.yml", content)
    (Path(paths[0]) / "special_tokens_map.json").write_text('{"bos_token": "<s>"}')
    made = of.merge_checkpoints(document, tmp_path / "o")
    _, tokenizer = checked(made.path)
    names = [path.name for path in made.path.iterdir()]
    assert len(names) == len({name.lower() for name in names})
    assert tokenizer("low").input_ids == [bpe().token_to_id("low")]
    owners = {"union": 2, "base": 1, "model": 2}
    assert sum(token in tokenizer.get_vocab() for token in ("<x>", "<y>")) == owners[source]
    assert ("tokenizer.model" in names) == (source != "model")


# 169, 671
def test_models_of_another_origin_are_warned_of(tmp_path: Path) -> None:
    """Complaint 7: the merge succeeds and the output is gibberish; nothing warned."""
    paths = [model(tmp_path / name, seed) for seed, name in enumerate(("base", "other"))]
    with pytest.warns(UnrelatedBase, match="does not stem from this base"):
        made = of.merge_checkpoints(written(tmp_path / "c.yml", ties(paths)), tmp_path / "o")
    assert "does not stem" in (made.path / "README.md").read_text()


# 169, 671
def test_other_tokens_behind_the_same_numbers_are_refused(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    """Complaint 7: rows of other tokens are averaged, as the sizes are equal."""
    merges = [("w", "i"), ("wi", "d"), ("n", "e")]
    paths = [model(tmp_path / "a", 0), model(tmp_path / "b", 1, merges=merges)]
    told = refused("merge", *paths, "--method", "linear", "-o", tmp_path / "o")
    assert "tokenizer" in told
    document = written(tmp_path / "c.yml", linear(paths))
    with pytest.warns(VocabularyWarning):
        of.merge_checkpoints(document, tmp_path / "o", as_mergekit=True)


# 169
def test_fine_tunes_of_one_origin_give_no_warning(tmp_path: Path) -> None:
    """Complaint 7, the other way: what belongs together is merged without a doubt."""
    paths = [model(tmp_path / name, 0) for name in ("base", "same")]
    with warnings.catch_warnings():
        warnings.simplefilter("error", VocabularyWarning)
        of.merge_checkpoints(written(tmp_path / "c.yml", linear(paths)), tmp_path / "o")
