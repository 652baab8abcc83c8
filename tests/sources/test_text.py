"""Texts in tables as data: splits, columns, labels of every kind, lengths, blocks, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from text_files import sentences, write_config, write_tokenizer

from onefold.errors import DataError, OnefoldError, SettingError
from onefold.sources import build_data, check_source
from onefold.sources.names import in_name


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer."""
    return write_tokenizer(tmp_path_factory.mktemp("model"))


def table(file: Path, rows: list[tuple[Any, ...]], header: tuple[str, ...] = ("text", "label")):
    lines = ["\t".join(map(str, row)) for row in ([header] if header else []) + rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def read(name: str, **request: Any) -> list[dict[str, torch.Tensor]]:
    return list(build_data(name, **request))


def labels(name: str, **request: Any) -> torch.Tensor:
    return torch.cat([batch["labels"] for batch in read(name, **request)])


def ids(name: str, **request: Any) -> list[list[int]]:
    """The tokens of each text, without padding."""
    return [
        row[mask.bool()].tolist()
        for batch in read(name, **request)
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]


def test_batches_are_padded_to_their_longest_text(tmp_path: Path, model: Path) -> None:
    rows = [("a film", 0), ("a very good film", 1), ("bad", 0), ("strange plot", 1)]
    name = f"text:{table(tmp_path / 'a.tsv', rows)}?label=label&tokenizer={model}"
    first, second = read(name, batch_size=2)
    assert first["input_ids"].tolist() == [[2, 13, 10, 3, 0, 0], [2, 13, 15, 4, 10, 3]]
    assert first["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    assert second["input_ids"].tolist() == [[2, 7, 3, 0], [2, 1, 11, 3]]
    assert set(first) == {"input_ids", "attention_mask", "labels"}
    assert all(value.dtype == torch.int64 for value in first.values())
    assert labels(name).tolist() == [0, 1, 0, 1]
    data = build_data(name)
    assert (data.classes, data.class_names, len(data)) == (2, (), 1)
    assert set(read(name.replace("label=label&", ""))[0]) == {"input_ids", "attention_mask"}
    (short,) = read(name + "&max_length=3")
    assert short["input_ids"].shape == (4, 3)


def test_padding_on_the_left_and_without_a_padding_token(tmp_path: Path) -> None:
    file = table(tmp_path / "a.tsv", [("a film", 0), ("bad", 1)])
    left = write_tokenizer(tmp_path / "left", padding_side="left")
    (batch,) = read(f"text:{file}?tokenizer={left}")
    assert batch["input_ids"].tolist() == [[2, 13, 10, 3], [0, 2, 7, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 1, 1, 1]]
    without = write_tokenizer(tmp_path / "without", pad_token=None, eos_token="[SEP]")
    (batch,) = read(f"text:{file}?tokenizer={without}")
    assert batch["input_ids"].tolist() == [[2, 13, 10, 3], [2, 7, 3, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_what_a_tokenizer_returns_is_a_batch(tmp_path: Path, model: Path) -> None:
    from transformers import AutoTokenizer

    from onefold import evaluate, merge
    from onefold.sources import build_model

    tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
    networks = [build_model(f"hf:{write_config(tmp_path / 'm')}").eval() for _ in range(2)]
    data = []
    for start in range(0, 60, 20):
        rows = sentences(60)[start : start + 20]
        batch = tokenizer([text for text, _ in rows], padding=True, return_tensors="pt")
        batch["labels"] = torch.tensor([label for _, label in rows])
        data.append(batch)
    assert type(data[0]).__name__ == "BatchEncoding"
    assert len({batch["input_ids"].shape[1] for batch in data}) > 1
    plain = [dict(batch) for batch in data]
    assert evaluate(networks[0], data) == evaluate(networks[0], plain)
    one, two = (merge(networks, each, align="none", fold="average").model for each in (data, plain))
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key])


def test_parts_and_shuffles(tmp_path: Path, model: Path) -> None:
    rows = [(" ".join(["very"] * (1 + k % 7)), k % 3) for k in range(1300)]
    name = f"text:{table(tmp_path / 'a.tsv', rows)}?label=label&tokenizer={model}"
    assert ids(name, skip=500, limit=30) == ids(name)[500:530]
    assert build_data(name, limit=1).classes == 3
    one, two = (build_data(name, shuffle=True, seed=3, batch_size=100) for _ in range(2))
    first, second = list(one), list(one)
    assert all(torch.equal(a[key], b[key]) for a, b in zip(first, two, strict=True) for key in a)
    assert not torch.equal(first[0]["labels"], second[0]["labels"])
    together = torch.cat([batch["labels"] for batch in first])
    assert together.sort().values.tolist() == sorted(k % 3 for k in range(1300))
    with pytest.raises(DataError, match="1300 examples, so none is left after skipping 2000"):
        build_data(name, skip=2000)


def test_each_text_is_tokenized_once(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedTokenizerFast

    counted: list[int] = []
    before = PreTrainedTokenizerFast.__call__

    def counting(self: Any, texts: list[str], **more: Any) -> Any:
        counted.append(len(texts))
        return before(self, texts, **more)

    monkeypatch.setattr(PreTrainedTokenizerFast, "__call__", counting)
    rows = [("a film", 0)] * 1100
    data = build_data(
        f"text:{table(tmp_path / 'a.tsv', rows)}?label=label&tokenizer={model}", shuffle=True
    )
    assert counted == []
    for _ in range(3):
        list(data)
    assert sum(counted) == 1100


def test_splits_of_a_folder(tmp_path: Path, model: Path) -> None:
    table(tmp_path / "train-0.tsv", [("a", 0)])
    table(tmp_path / "train-1.tsv", [("the", 1)])
    name = f"text:{tmp_path}?label=label&tokenizer={model}"
    with pytest.raises(DataError, match=r"has no file of the test split; name one test.csv"):
        build_data(name, split="test")
    table(tmp_path / "dev.tsv", [("film", 0)])
    assert ids(name) == [[2, 13, 3], [2, 14, 3]]
    assert ids(name, split="test") == [[2, 10, 3]]
    assert build_data(name, split="test").classes == 2
    table(tmp_path / "test.tsv", [("plot", 0)])
    assert ids(name, split="test") == [[2, 11, 3]]
    with pytest.raises(SettingError, match="has rows of its own; leave out test_share"):
        build_data(name + "&test_share=0.5", split="test")
    (tmp_path / "train.csv").write_text("text,label\na,0\n")
    with pytest.raises(DataError, match=r"holds train-0.tsv and train.csv; name the one"):
        build_data(name)


def test_a_share_of_a_file_is_held_out(tmp_path: Path, model: Path) -> None:
    rows = [(" ".join(["very"] * (k + 1)), k % 2) for k in range(20)]
    name = f"text:{table(tmp_path / 'all.tsv', rows)}?label=label&tokenizer={model}"
    with pytest.raises(DataError, match=r"no test split; add test_share=0.2 .* by test="):
        build_data(name, split="test")
    share = name + "&test_share=0.25"
    train, test = ids(share), ids(share, split="test")
    assert (len(train), len(test)) == (15, 5)
    assert sorted(train + test) == sorted(ids(name))
    assert ids(share, split="test", skip=1, limit=2) == test[1:3]
    assert ids(share + "&seed=1") != train
    table(tmp_path / "test.tsv", rows)
    named = name.replace("all.tsv", "test.tsv")
    assert len(ids(named, split="test")) == 20
    with pytest.raises(DataError, match="is the test split by its name"):
        build_data(named)


def test_a_file_for_each_split(tmp_path: Path, model: Path) -> None:
    table(tmp_path / "old.tsv", [("a", "no"), ("the", "yes")])
    table(tmp_path / "new.tsv", [("film", "yes")])
    name = f"text:{tmp_path / 'old.tsv'}?label=label&tokenizer={model}"
    tested = name + "&test=new.tsv"
    check_source(tested)
    assert ids(tested) == [[2, 13, 3], [2, 14, 3]]
    assert ids(tested, split="test") == [[2, 10, 3]]
    assert labels(tested, split="test").tolist() == [1]
    swapped = name.replace("old.tsv", "new.tsv") + f"&train={tmp_path / 'old.tsv'}"
    assert ids(swapped) == ids(tested)
    assert labels(swapped, split="test").tolist() == [1]
    for more, message in (
        ("&test=none.tsv", "none.tsv of .* does not exist"),
        ("&test=new.tsv&train=new.tsv", "train and test of .* do not go together"),
        ("&test=new.tsv&test_share=0.5", "test and test_share of .* do not go together"),
    ):
        with pytest.raises(OnefoldError, match=message):
            check_source(name + more)
    with pytest.raises(SettingError, match="needs a file after the colon, not a folder"):
        check_source(f"text:{tmp_path}?tokenizer={model}&test=new.tsv")


def test_columns_without_a_header(tmp_path: Path, model: Path) -> None:
    file = table(tmp_path / "a.tsv", [(1, "a film", "x"), (0, "bad", "y")], ())
    name = f"text:{file}?text=1&label=0&tokenizer={model}"
    assert labels(name).tolist() == [1, 0]
    assert ids(name) == [[2, 13, 10, 3], [2, 7, 3]]
    file = table(tmp_path / "b.tsv", [("a", 1), ("bad", 0), ("film", 1)])
    with pytest.raises(DataError, match=r"line 1 of .* is 'label', so .* looks like a header"):
        build_data(f"text:{file}?text=0&label=1&tokenizer={model}")
    assert labels(f"text:{file}?text=0&label=1&header=true&tokenizer={model}").tolist() == [1, 0, 1]
    file = table(tmp_path / "c.tsv", [("a", "yes"), ("bad", "no"), ("film", "yes")])
    with pytest.raises(DataError, match="looks like a header"):
        build_data(f"text:{file}?text=0&label=1&tokenizer={model}")


def test_pairs_of_texts(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [{"one": "a film", "two": "bad", "same": True}, {"one": "a", "two": "a", "same": False}]
    file.write_text("\n".join(map(json.dumps, rows)))
    (batch,) = read(f"text:{file}?text=one&text2=two&label=same&tokenizer={model}")
    assert batch["input_ids"].tolist() == [[2, 13, 10, 3, 7, 3], [2, 13, 3, 13, 3, 0]]
    assert batch["labels"].tolist() == [1, 0]
    typed = write_tokenizer(
        tmp_path / "typed", model_input_names=["input_ids", "token_type_ids", "attention_mask"]
    )
    (batch,) = read(f"text:{file}?text=one&text2=two&tokenizer={typed}")
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0]]
    assert "token_type_ids" not in read(f"text:{file}?text=one&tokenizer={typed}")[0]


def test_names_of_classes(tmp_path: Path, model: Path) -> None:
    table(tmp_path / "train.tsv", [("a", "pos"), ("the", "neg"), ("film", "mixed"), ("a", "pos")])
    table(tmp_path / "test.tsv", [("a", "pos"), ("the", "neg")])
    name = f"text:{tmp_path}?label=label&tokenizer={model}"
    for request in ({}, {"limit": 1}, {"split": "test"}):
        data = build_data(name, **request)
        assert (data.class_names, data.classes) == (("mixed", "neg", "pos"), 3)
    assert labels(name, split="test").tolist() == [2, 1]
    ordered = name + "&classes=neg,mixed,pos"
    assert labels(ordered).tolist() == [2, 0, 1, 2]
    assert build_data(ordered).class_names == ("neg", "mixed", "pos")
    with pytest.raises(SettingError, match="lacks the class 'mixed'"):
        build_data(name + "&classes=neg,pos")
    table(tmp_path / "test.tsv", [("a", "pos"), ("the", "negg")])
    with pytest.raises(DataError, match=r"'negg' in line 3 .* training split; did you mean 'neg'"):
        build_data(name, split="test")


def test_class_numbers_and_their_names(tmp_path: Path, model: Path) -> None:
    file = table(tmp_path / "a.tsv", [("a", 2), ("the", 0), ("film", 1)])
    name = f"text:{file}?label=label&tokenizer={model}"
    named = build_data(name + "&classes=bad,fair,good")
    assert (labels(name + "&classes=bad,fair,good").tolist(), named.class_names) == (
        [2, 0, 1],
        ("bad", "fair", "good"),
    )
    assert labels(name + "&classes=2,1,0").tolist() == [0, 2, 1]
    signs = table(tmp_path / "b.tsv", [("a", 1), ("the", -1)])
    signed = f"text:{signs}?label=label&tokenizer={model}"
    assert labels(signed + "&classes=-1,1").tolist() == [1, 0]
    with pytest.raises(DataError, match="has the label -1, so it is unlabelled"):
        build_data(signed)


def test_numbers_and_several_columns(tmp_path: Path, model: Path) -> None:
    rows = [("a", 0.5, 1, 0), ("the", 2, 0, 0), ("film", -1, 1, 1)]
    file = table(tmp_path / "a.tsv", rows, ("text", "score", "sad", "odd"))
    name = f"text:{file}?tokenizer={model}&label="
    assert labels(name + "score").tolist() == [0.5, 2.0, -1.0]
    assert labels(name + "score").dtype == torch.float32
    assert build_data(name + "score").classes is None
    assert labels(name + "sad&regression=true").tolist() == [1.0, 0.0, 1.0]
    several = labels(name + "sad,odd")
    assert (several.tolist(), several.dtype) == ([[1, 0], [0, 0], [1, 1]], torch.int64)
    data = build_data(name + "sad,odd")
    assert (data.classes, data.class_names) == (2, ("sad", "odd"))
    assert labels(name + "score,odd").tolist() == [[0.5, 0.0], [2.0, 0.0], [-1.0, 1.0]]
    with pytest.raises(DataError, match="are its classes; leave out classes"):
        build_data(name + "sad,odd&classes=a,b")
    with pytest.raises(DataError, match="are numbers and no classes"):
        build_data(name + "score&classes=a,b")
    with pytest.raises(DataError, match=r"'a' of column 'text' in line 2 .* is no number"):
        build_data(name + "sad,text")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["NA", 0, 1], r"'NA' in line 2 of .* is no number, but most others are"),
        (["nan", 0.5, 1.5], r"'nan' in line 2 of .* is no number"),
        ([0, "inf", 1], r"'inf' in line 3 of .* is no number"),
        ([0, 10**20, 1], r"too large for a class number"),
        ([0, 999_999_999, 1], r"line 3 of .* too large for a class number; number the classes"),
    ],
)
def test_labels_that_are_hardly_meant(
    tmp_path: Path, model: Path, values: list[Any], message: str
) -> None:
    file = table(tmp_path / "a.tsv", [("a", value) for value in values])
    with pytest.raises(DataError, match=message):
        build_data(f"text:{file}?label=label&tokenizer={model}")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a", "label": {"x": 1}}], r"'label' in line 1 of .* it must be a number"),
        ([{"text": "a", "label": float("inf")}], r"'label' in line 1 of .* is 'inf'"),
        ([{"text": "a", "label": []}], r"hold no classes"),
        ([{"text": "a", "label": [0]}, {"text": "b", "label": 1}], r"but others are lists"),
        ([{"text": ["a"], "label": [0]}, {"text": [], "label": []}], r"holds nothing in line 2"),
        ([{"text": ["a", "b"], "label": 0}], r"have no list of labels"),
        ([{"text": "a \ud800 b", "label": 0}], r"line 1 of .* holds half a character"),
    ],
)
def test_values_of_another_kind(tmp_path: Path, model: Path, rows: list[Any], message: str) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=message):
        read(f"text:{tmp_path / 'a.jsonl'}?label=label&tokenizer={model}")


def test_no_labels_may_be_said(tmp_path: Path, model: Path) -> None:
    file = table(tmp_path / "a.tsv", [("a", 0)])
    assert "labels" not in read(f"text:{file}?label=none&tokenizer={model}")[0]
    with pytest.raises(SettingError, match="names several columns; name one"):
        build_data(f"text:{file}?text=text,label&tokenizer={model}")
    (tmp_path / "b.csv").write_text("text;label\na;0\n")
    with pytest.raises(DataError, match="so add delimiter=;"):
        build_data(f"text:{tmp_path / 'b.csv'}?tokenizer={model}")


def test_lists_are_several_classes_or_the_labels_of_words(tmp_path: Path, model: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows: list[dict[str, Any]] = [
        {"text": "a film", "topics": ["b", "a"], "words": ["a", "good-film"], "tags": ["O", "B"]},
        {"text": "bad", "topics": [], "words": ["the"], "tags": ["O"]},
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    name = f"text:{file}?label=topics&tokenizer={model}"
    assert labels(name).tolist() == [[1, 1], [0, 0]]
    assert build_data(name).class_names == ("a", "b")
    words = f"text:{file}?text=words&label=tags&tokenizer={model}"
    (batch,) = read(words)
    assert batch["input_ids"].tolist() == [[2, 13, 4, 1, 10, 3], [2, 14, 3, 0, 0, 0]]
    assert batch["labels"].tolist() == [
        [-100, 1, 0, -100, -100, -100],
        [-100, 1, -100, -100, -100, -100],
    ]
    assert build_data(words).class_names == ("B", "O")
    rows[1]["tags"] = []
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"The 1 words in line 2 of .* have 0 labels"):
        build_data(words)


def test_running_text_in_blocks(tmp_path: Path, model: Path) -> None:
    (tmp_path / "a.txt").write_text("a film\n\nbad\n" + "the very good plot\n" * 2)
    name = f"text:{tmp_path / 'a.txt'}?block=8&tokenizer={model}"
    (batch,) = read(name)
    flat = [2, 13, 10, 3, 2, 7, 3, *[2, 14, 15, 4, 11, 3] * 2]
    assert batch["input_ids"].flatten().tolist() == [*flat, *[0] * 5]
    assert batch["input_ids"].shape == (3, 8)
    kept = batch["attention_mask"] == 1
    assert torch.equal(batch["labels"][kept], batch["input_ids"][kept])
    assert (batch["labels"][~kept] == -100).all()
    part = read(name, skip=1, limit=2)
    assert torch.equal(part[0]["input_ids"], batch["input_ids"][1:3])
    (odd,) = read(name.replace("block=8", "block=6"))  # one token would be left
    assert odd["input_ids"].shape == (3, 6)
    ended = write_tokenizer(tmp_path / "ended", eos_token="[UNK]")
    assert read(name.replace(str(model), str(ended)))[0]["input_ids"][0].tolist() == [
        *(2, 13, 10, 3, 1, 2, 7, 3)
    ]
    with pytest.raises(DataError, match="none is left after skipping 9"):
        build_data(name, skip=9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("label=labl", "has no column 'labl'; did you mean 'label'"),
        ("text=sentense", "has no column 'sentense'"),
        ("labels=label", r"no option 'labels'; did you mean 'label'\?"),
        ("max_length=1", "max_length.* at least 2, not 1"),
        ("block=8&label=label", "block and label of .* do not go together"),
        ("classes=a,b", "needs a column of labels; add label=COLUMN"),
        ("label=label&regression=3", "must be true or false, not 3"),
        ("label=label&encoding=klingon", "encoding 'klingon'"),
        ("label=label&test_share=2", "between 0 and 1"),
        ("label=note", r"The label 'note' is missing in line 3 of the file"),
    ],
)
def test_requests_that_are_refused(tmp_path: Path, model: Path, options: str, message: str) -> None:
    header = ("text", "label", "note")
    file = table(tmp_path / "a.tsv", [("a", 0, "x"), ("the", 1, ""), ("film", 0, "y")], header)
    with pytest.raises(OnefoldError, match=message):
        build_data(f"text:{file}?tokenizer={model}&{options}")


def test_a_column_of_text_that_cannot_be_guessed(tmp_path: Path, model: Path) -> None:
    file = table(tmp_path / "a.tsv", [("a", 0)], ("document", "label"))
    with pytest.raises(DataError, match=r"no column named text or .*one of document, label"):
        build_data(f"text:{file}?tokenizer={model}")
    (tmp_path / "b.jsonl").write_text('{"text": "a"}\n{"text": 5}\n{"text": null}\n')
    with pytest.raises(DataError, match="'text' holds a int in line 2"):
        build_data(f"text:{tmp_path / 'b.jsonl'}?tokenizer={model}")


def test_tokenizers_that_are_none(tmp_path: Path, model: Path) -> None:
    name = f"text:{table(tmp_path / 'a.tsv', [('a', 0)])}"
    with pytest.raises(SettingError, match="needs tokenizer=FOLDER"):
        check_source(name)
    with pytest.raises(DataError, match="does not exist; give the folder of the model"):
        check_source(f"{name}?tokenizer={tmp_path / 'none'}")
    # transformers would make an empty one of this.
    empty = write_config(tmp_path / "empty")
    with pytest.raises(DataError, match="holds no tokenizer; save it there"):
        check_source(f"{name}?tokenizer={empty}")
    (empty / "tokenizer.json").write_text("{")
    with pytest.raises(DataError, match=r"The tokenizer in .* cannot be read"):
        build_data(f"{name}?tokenizer={empty}")
    check_source(f"{name}?tokenizer={model}")


def test_a_text_without_a_token(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(str(tmp_path / "m"))
    file = table(tmp_path / "a.tsv", [("a a", 0), (" ", 1), ("b", 1)])
    with pytest.raises(DataError, match=r"text in line 3 of .* gives no token"):
        read(f"text:{file}?tokenizer={tmp_path / 'm'}")


@pytest.mark.parametrize("place", ["", "none.tsv", "a.xls"])
def test_files_that_are_none(tmp_path: Path, model: Path, place: str) -> None:
    (tmp_path / "a.xls").write_text("x")
    message = {"": "no place", "none.tsv": "does not exist", "a.xls": "is no table"}[place]
    with pytest.raises(OnefoldError, match=message):
        check_source(f"text:{tmp_path / place if place else ''}?tokenizer={model}")


def test_paths_in_a_name_can_be_moved() -> None:
    def moved(name: str) -> str:
        return in_name(name, lambda path: f"/new/{path}")

    assert moved("text:a.csv?label=x&tokenizer=m") == "text:/new/a.csv?label=x&tokenizer=/new/m"
    assert moved("hfdata:d?tokenizer=m%26n") == "hfdata:/new/d?tokenizer=/new/m%26n"
    assert moved("parquet:d?tokenizer=m") == "parquet:/new/d?tokenizer=m"


def test_sentences_differ() -> None:
    assert len({text for text, _ in sentences(40)}) > 30
