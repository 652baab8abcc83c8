"""Fine-tunes, their merges, soups and tables, on a tiny random encoder and a few sentences."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny_checkpoints import transformers
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel

from benchmarks.evidence import checkpoints_finetunes as page
from benchmarks.finetunes import merge, paired, picture, scoring, soups, training
from benchmarks.finetunes.candidates import TASKS, WAYS, Way
from benchmarks.finetunes.merging import candidates, document
from benchmarks.finetunes.network import linear_probe, load_encoder, right
from benchmarks.finetunes.texts import TASKS as SETS
from benchmarks.finetunes.texts import load, shuffled_batches, sorted_batches
from benchmarks.finetunes.training import Finetune, Settings, base_folder, finetuned
from onefold.checkpoints.document import parse_documents
from onefold.checkpoints.methods import methods
from onefold.report.style import can_draw

WORDS = ("good", "bad", "fine", "poor", "who", "where", "film", "phone", "a", "the")
TINY = Settings(lr=1e-2, head_factor=3.0, steps=30, batch=8)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an encoder, with 40 sentences of each task, and with room for fine-tunes."""
    monkeypatch.setenv("ONEFOLD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ONEFOLD_FINETUNES", str(tmp_path / "state"))
    (tmp_path / "state").mkdir()
    generator = np.random.default_rng(0)
    for task, told in SETS.items():
        folder = tmp_path / "data" / "text" / task
        folder.mkdir(parents=True)
        for split, count in (("train", 40), ("test", 20)):
            rows = []
            for i in range(count):
                label = i % told.classes
                text = " ".join([WORDS[label], *generator.choice(WORDS, 1 + i % 5)])
                rows.append(
                    f"{label}\t{text}" if "header" in dict(told.columns) else f"{text}\t{label}"
                )
            head = ["label\ttext"] if "header" in dict(told.columns) else []
            (folder / f"{split}.tsv").write_text("\n".join([*head, *rows]) + "\n")
    origin = tmp_path / "encoder"
    write_encoder(origin)
    base_folder(origin)
    return tmp_path


def write_encoder(folder: Path) -> None:
    tf = transformers()
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    config = tf.BertConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=len(tokens),
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    tf.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"
    ).save_pretrained(folder)


def small(way: Way) -> Way:
    """The way with the ends of its scales, and with the first choice where there are scales."""
    choices, scales = way.choices, {name: (own[0], own[-1]) for name, own in way.scales.items()}
    return dataclasses.replace(
        way,
        scales=scales,
        choices={name: own[: 1 if scales else 2] for name, own in choices.items()},
    )


@pytest.mark.slow
def test_fine_tunes_are_trained_merged_souped_and_shown(places: Path) -> None:
    state = places / "state"
    logs = [finetuned(Finetune(task, 0, TINY)) for task in TASKS]
    logs += [finetuned(Finetune("mpqa", seed, TINY)) for seed in (1, 2)]
    assert all(math.isfinite(point["loss"]) for log in logs for point in log["curve"])
    before = (state / "cr-0" / "model.safetensors").stat().st_mtime_ns
    assert finetuned(Finetune("cr", 0, TINY)) == logs[4]
    assert (state / "cr-0" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="other settings"):
        finetuned(Finetune("cr", 0, Settings(steps=9)))

    record: dict[str, Any] = {"references": merge.references(state), "rows": {}}
    whole = record["references"]["fine-tuned"]["held"]
    for way in WAYS:
        row = merge.measured(small(way), state, whole)
        assert row["folder equals memory"], way.name
        assert row["held"] == max(one["normalised"] for one in row["grid"])
        record["rows"][way.name] = row
    assert not list((state / "merged").iterdir())
    found = soups.soups([state / f"mpqa-{seed}" for seed in range(3)], "mpqa")
    assert found["greedy"][0] == found["best"].removeprefix("member ")

    record = json.loads(json.dumps(record))
    assert len(page.merges(record)) == 2 + 3 + len(WAYS)
    assert all("nan" not in line for line in page.merges(record))
    assert len(page.finetunes_table(record, *logs[:5])) == 2 + len(TASKS)
    assert len(page.soups(found)) == 2 + 3 + 3
    if can_draw():
        assert "<svg" in picture.draw(record)


def test_every_method_has_a_row() -> None:
    rows = {way.method for way in WAYS}
    assert rows == {
        name for name in methods.names() if methods.get(name).__module__.startswith("onefold.")
    }


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_documents_are_read_strictly(way: Any) -> None:
    names = [f"{task}-0" for task in TASKS]
    chosen = {**next(way.prepared()), **next(way.scaled())}
    text = document(way, chosen, names, "base")
    found = parse_documents(text, "The document")
    assert len(found) == (len(names) - 1 if way.chain else 1)
    assert found[-1].method == way.method
    assert list(yaml.safe_load_all(text))[-1].get("finish") == (
        {"name": "svc", "alpha": chosen["alpha"]} if way.finish else None
    )


def test_scales_change_the_state_and_the_first_tensor_is_the_sum() -> None:
    base = {"w": torch.zeros(3)}
    states = {"a-0": {"w": torch.ones(3)}, "b-0": {"w": torch.tensor([1.0, 0.0, -1.0])}}
    way = next(way for way in WAYS if way.name == "task_arithmetic")
    for settings, state in candidates(way, states, base):
        assert torch.allclose(state["w"], settings["lambda"] * torch.tensor([2.0, 1.0, 0.0]))


def test_slerp_of_equal_models_is_that_model() -> None:
    way = next(way for way in WAYS if way.name == "slerp")
    state = {"w": torch.tensor([1.0, 2.0, 3.0])}
    ((_, merged),) = candidates(way, {f"{i}-0": state for i in range(5)}, state)
    assert torch.allclose(merged["w"], state["w"])


def test_batches_hold_every_sentence_once_and_the_sorted_ones_by_length(places: Path) -> None:
    examples = load("trec", places / "state" / "base").seen
    drawn = shuffled_batches(examples, 5, torch.Generator().manual_seed(1), pool=2)
    assert sorted(torch.cat(drawn).tolist()) == list(range(len(examples)))
    ordered = torch.cat(sorted_batches(examples, 5))
    assert examples.lengths is not None
    assert (examples.lengths[ordered].diff() >= 0).all()


def test_held_out_sentences_are_a_fifth_and_not_trained_on(places: Path) -> None:
    parts = load("sst2", places / "state" / "base")
    assert (len(parts.seen), len(parts.held), len(parts.test)) == (32, 8, 20)


def test_a_linear_probe_learns_the_word_that_tells(places: Path) -> None:
    parts = load("sst2", places / "state" / "base")
    encoder = load_encoder(places / "state" / "base")
    probe = linear_probe(encoder, parts, 2)
    assert float(right(encoder, probe, parts.seen).float().mean()) > 0.7


def test_answers_come_back_from_json() -> None:
    answers = torch.tensor([True, False, True, True, False, True, False, False, True])
    kept = json.loads(json.dumps(scoring.packed(answers)))
    assert scoring.unpacked(kept).tolist() == answers.double().tolist()
    assert (kept["n"], kept["right"]) == (9, 5)


def test_a_paired_difference_has_the_size_and_the_spread_of_its_sentences() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(2000, generator=generator) < 0.8
    second = first.clone()
    second[:100] = False
    lost = float(first[:100].sum()) / 2000
    told = [{"one": scoring.packed(answers)} for answers in (first, second)]
    gain, low, high = paired.difference(*told)
    assert gain == pytest.approx(100 * lost)
    error = 100 * math.sqrt(lost * (1 - lost) / 2000)
    assert low == pytest.approx(gain - 1.96 * error, abs=0.25 * error)
    assert high == pytest.approx(gain + 1.96 * error, abs=0.25 * error)
    assert paired.difference(told[0], told[0]) == (0.0, 0.0, 0.0)


def test_fine_tunes_are_kept_where_the_variable_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONEFOLD_FINETUNES", str(tmp_path))
    assert training.state_folder() == tmp_path
