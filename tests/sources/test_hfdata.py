"""Data sets of the library datasets on disk: texts, tokens, images, numbers, splits, refusals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from text_files import write_tokenizer

from onefold.errors import DataError, OnefoldError, SettingError
from onefold.sources import build_data, check_source

datasets = pytest.importorskip("datasets", reason="datasets is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _silent() -> None:
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("model"))


def pictures(count: int) -> list[Any]:
    image = pytest.importorskip("PIL.Image")
    return [image.fromarray(np.full((6, 6, 3), 10 * k, dtype=np.uint8)) for k in range(count)]


def made(count: int = 4, **more: Any) -> Any:
    columns = {
        "text": ["a film", "bad", "very good plot", "the cast"][:count],
        "label": [1, 0, 1, 1][:count],
        "score": [0.5, 1.0, 2.0, -1.0][:count],
        "place": [[float(k), 0.0, 1.0] for k in range(count)],
        **more,
    }
    found = datasets.Dataset.from_dict(columns)
    return found.cast_column("label", datasets.ClassLabel(names=["poor", "fine"]))


def saved(folder: Path, **splits: Any) -> Path:
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return folder


def only(name: str, **request: Any) -> Any:
    (batch,) = build_data(name, **request)
    return batch


def test_texts(tmp_path: Path, model: Path) -> None:
    folder = saved(tmp_path / "d", train=made(), validation=made(2))
    name = f"hfdata:{folder}?text=text&label=label&tokenizer={model}"
    check_source(name)
    batch = only(name)
    assert batch["input_ids"][:2].tolist() == [[2, 13, 10, 3, 0], [2, 7, 3, 0, 0]]
    assert batch["labels"].tolist() == [1, 0, 1, 1]
    data = build_data(name, split="test")
    assert (data.class_names, data.classes) == (("poor", "fine"), 2)
    assert len(only(name, split="test")["labels"]) == 2
    assert only(name, skip=1, limit=2)["labels"].tolist() == [0, 1]
    assert only(name + "&classes=fine,poor")["labels"].tolist() == [0, 1, 0, 0]
    assert only(name.replace("label=label", "label=score"))["labels"].tolist() == [0.5, 1, 2, -1]
    blocks = only(f"hfdata:{folder}?block=4&tokenizer={model}")
    assert blocks["input_ids"].shape == (4, 4)


def test_a_data_set_without_splits(tmp_path: Path, model: Path) -> None:
    made().save_to_disk(str(tmp_path / "d"))
    name = f"hfdata:{tmp_path / 'd'}?label=label&tokenizer={model}"
    assert len(only(name)["labels"]) == 4
    with pytest.raises(DataError, match=r"no test split; add test_share=0.2 .* DatasetDict"):
        build_data(name, split="test")
    share = name + "&test_share=0.25"
    assert (len(only(share)["labels"]), len(only(share, split="test")["labels"])) == (3, 1)


def test_images(tmp_path: Path) -> None:
    one = made(3, picture=pictures(3)).cast_column("picture", datasets.Image())
    name = f"hfdata:{saved(tmp_path / 'd', train=one)}?mean=0&std=1"
    assert only(name).shape == (3, 3, 6, 6)
    inputs, labels = only(name + "&label=label&image=picture")
    assert torch.allclose(inputs[:, 0, 0, 0], torch.tensor([0.0, 10 / 255, 20 / 255]))
    assert labels.tolist() == [1, 0, 1]
    assert only(name + "&size=4&channels=1").shape == (3, 1, 4, 4)
    data = build_data(name + "&label=label")
    assert data.class_names == ("poor", "fine")
    with pytest.raises(DataError, match=r"'score' of .* holds no images"):
        build_data(name + "&image=score")


def test_numbers(tmp_path: Path) -> None:
    folder = saved(tmp_path / "d", train=made())
    inputs, labels = only(f"hfdata:{folder}?inputs=score,label&label=label")
    assert inputs.tolist() == [[0.5, 1.0], [1.0, 0.0], [2.0, 1.0], [-1.0, 1.0]]
    assert labels.tolist() == [1, 0, 1, 1]
    assert only(f"hfdata:{folder}?inputs=place").shape == (4, 3)
    (both,) = only(f"hfdata:{folder}?inputs=place,score")
    assert [value.shape for value in both] == [(4, 1), (4, 3)]
    uneven = saved(tmp_path / "u", train=made(2, place=[[1.0], [1.0, 2.0]]))
    with pytest.raises(DataError, match=r"'place' of .* lists of unequal lengths"):
        build_data(f"hfdata:{uneven}?inputs=place")


def test_texts_that_are_tokens_already(tmp_path: Path) -> None:
    tokens = [[5, 6], [7, 8, 9], [3], [4, 4]]
    one = made(input_ids=tokens, attention_mask=[[1] * len(row) for row in tokens])
    batch = only(f"hfdata:{saved(tmp_path / 'd', train=one)}?label=label")
    assert batch["input_ids"].tolist() == [[5, 6, 0], [7, 8, 9], [3, 0, 0], [4, 4, 0]]
    assert batch["attention_mask"].sum().item() == 8
    assert batch["labels"].tolist() == [1, 0, 1, 1]
    two = made(input_ids=tokens, labels=tokens)
    batch = only(f"hfdata:{saved(tmp_path / 'e', train=two)}")
    assert batch["labels"][0].tolist() == [5, 6, -100]
    assert batch["attention_mask"][2].tolist() == [1, 0, 0]
    three = made(input_ids=tokens, labels=[[1]] * 4)
    with pytest.raises(DataError, match=r"input_ids, labels in row 1 of .* unequal lengths"):
        build_data(f"hfdata:{saved(tmp_path / 'f', train=three)}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", r"What the inputs of .* is not told; add image=COLUMN"),
        ("inputs=scor", r"no column 'scor'; did you mean 'score'\?"),
        ("inputs=score&label=lable", r"no column 'lable'; did you mean 'label'\?"),
        ("inputs=text", "'text' of .* holds texts"),
        ("text=text", "needs tokenizer=FOLDER"),
        ("imag=x", r"no option 'imag'; did you mean 'image'\?"),
    ],
)
def test_requests_that_are_refused(tmp_path: Path, options: str, message: str) -> None:
    folder = saved(tmp_path / "d", train=made())
    with pytest.raises(OnefoldError, match=message):
        build_data(f"hfdata:{folder}?{options}")


def test_folders_that_are_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"holds no data set .* save_to_disk"):
        build_data(f"hfdata:{tmp_path}?inputs=a")
    folder = saved(tmp_path / "d", extra=made(), train=made())
    with pytest.raises(DataError, match=r"has no test split; it has extra, train\."):
        build_data(f"hfdata:{folder}?inputs=score", split="test")
    for file in (folder / "train").glob("*.arrow"):
        file.write_bytes(b"no arrow")
    with pytest.raises(DataError, match=r"cannot be read .*; write it again"):
        build_data(f"hfdata:{folder}?inputs=score")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SettingError, match=r'install "onefold\[hf\]"'):
        build_data(f"hfdata:{folder}?inputs=score")
