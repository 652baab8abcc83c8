"""Texts in tables and networks of transformers through the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from refusals import sentence_of
from text_files import WORDS, sentences, write_config, write_tokenizer

from onefold import load, save
from onefold.sources import build_data, build_model


def write_table(folder: Path, split: str, count: int, seed: int) -> None:
    lines = [f"{text},{('neg', 'pos')[label]}" for text, label in sentences(count, seed)]
    (folder / f"{split}.csv").write_text("text,label\n" + "\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer and a config (m), tables, and two trained networks."""
    folder = tmp_path_factory.mktemp("texts")
    write_tokenizer(folder / "m")
    write_config(folder / "m")
    write_table(folder, "train", 400, 0)
    write_table(folder, "test", 100, 1)
    for seed in range(2):
        torch.manual_seed(seed)
        model = build_model(f"hf:{folder / 'm'}")
        rate = torch.optim.AdamW(model.parameters(), 1e-2)
        for epoch in range(4):
            name = f"text:{folder}?label=label&tokenizer={folder / 'm'}"
            for batch in build_data(name, batch_size=32, shuffle=True, seed=10 * seed + epoch):
                rate.zero_grad()
                model(**batch).loss.backward()
                rate.step()
        save(model.eval(), folder / f"{seed}.safetensors")
    return folder


def flags(place: Path, data: str = "", more: str = "") -> list[str | Path]:
    source = f"text:{data or place}?label=label&tokenizer={place / 'm'}{more}"
    return ["--model", f"hf:{place / 'm'}", "--data", source]


def members(place: Path) -> list[Path]:
    return [place / "0.safetensors", place / "1.safetensors"]


@pytest.mark.slow
def test_scores_and_the_names_of_classes(onefold: Callable, place: Path) -> None:
    done = onefold("eval", *members(place), *flags(place))
    assert done.status == 0, done.err
    assert "Classes: 0 = neg, 1 = pos" in done.out
    assert "100 examples" in done.out
    compared = onefold("compare", *members(place), *flags(place), "--samples", "100")
    assert compared.status == 0, compared.err


@pytest.mark.slow
@pytest.mark.parametrize("fold", [[], ["--fold", "least_squares", "--align", "permutation"]])
def test_a_merge_and_its_recipe(
    onefold: Callable, place: Path, tmp_path: Path, fold: list[str]
) -> None:
    out = tmp_path / "folded.safetensors"
    done = onefold(
        "merge", *members(place), *flags(place), *fold, "--eval-split", "test", "-o", out
    )
    assert done.status == 0, done.err
    again = tmp_path / "again.safetensors"
    repeated = onefold("merge", tmp_path / "folded.recipe.yaml", "-o", again)
    assert repeated.status == 0, repeated.err
    first, second = load(out), load(again)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_gates_and_training(onefold: Callable, place: Path, tmp_path: Path) -> None:
    done = onefold("soft", *members(place), *flags(place), "-o", tmp_path / "soft.safetensors")
    assert done.status == 0, done.err
    more = ["--samples", "100", "--epochs", "1", "-o", tmp_path / "run"]
    trained = onefold("subspace", *flags(place), *more)
    assert trained.status == 0, trained.err


@pytest.mark.slow
def test_a_tokenizer_of_another_model(onefold: Callable, place: Path, tmp_path: Path) -> None:
    other = write_tokenizer(tmp_path / "other", (*WORDS, *(f"w{k}" for k in range(30))))
    file = tmp_path / "test.csv"
    file.write_text("text,label\na good w20,pos\n" + "bad,neg\n" * 5)
    data = f"text:{file}?label=label&tokenizer={other}"
    done = onefold("eval", members(place)[0], "--model", f"hf:{place / 'm'}", "--data", data)
    assert "number 36, but the network knows 24 tokens" in sentence_of(done)


@pytest.mark.parametrize("command", ["eval", "merge", "compare"])
def test_what_is_wrong_is_one_sentence(
    onefold: Callable, place: Path, tmp_path: Path, command: str
) -> None:
    out = ["-o", tmp_path / "x.safetensors"] if command == "merge" else []
    for data, more, words in (
        (tmp_path / "none.csv", "", "does not exist"),
        ("", "&tokenizr=a", "did you mean 'tokenizer'"),
        ("", "&max_length=0", "at least 2, not 0"),
    ):
        done = onefold(command, *members(place), *flags(place, str(data), more), *out)
        assert words in sentence_of(done, before="Reading")


def test_a_single_file_names_its_split(onefold: Callable, place: Path, tmp_path: Path) -> None:
    file = tmp_path / "reviews.csv"
    file.write_text((place / "train.csv").read_text())
    done = onefold("eval", members(place)[0], *flags(place, str(file)))
    assert "has no test split; add test_share=0.2" in sentence_of(done)
    shared = onefold(
        "eval", members(place)[0], *flags(place, str(file), "&test_share=0.25"), "--json"
    )
    assert shared.status == 0, shared.err
    assert json.loads(shared.out)
