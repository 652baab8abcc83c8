"""Tables of numbers: which columns are inputs and labels, what becomes of them, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import joined

import onefold as of
from onefold.errors import OnefoldError, SettingError
from onefold.sources import build_data

ROWS = """age,height,colour,label
30,1.5,red,cat
40,1.6,blue,dog
50,1.7,green,cat
60,1.8,red,cow
"""
PLAIN = "x,y,label\n" + "".join(f"{k},{k / 4},{k % 3}\n" for k in range(20))


def write(path: Path, text: str = ROWS) -> str:
    path.write_text(text)
    return f"csv:{path}"


def test_named_columns_names_of_classes_and_one_hot(tmp_path: Path) -> None:
    name = write(tmp_path / "a.csv")
    data = build_data(f"{name}?inputs=height,age", batch_size=3)
    x, y = joined(data)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert torch.allclose(x, torch.tensor([[1.5, 30], [1.6, 40], [1.7, 50], [1.8, 60]]))
    assert y.tolist() == [0, 2, 0, 1]
    assert (data.classes, data.class_names) == (3, ("cat", "cow", "dog"))
    assert (
        joined(build_data(f"{name}?drop=colour", skip=1, limit=2))[0].tolist()
        == x[1:3, [1, 0]].tolist()
    )
    hot, _ = joined(build_data(f"{name}?onehot=colour"))
    assert hot[:, 2:].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]  # blue, green, red
    alone, _ = joined(build_data(f"{name}?onehot=colour&inputs=age"))
    assert torch.equal(alone, hot[:, [0, 2, 3, 4]])
    ordered = build_data(f"{name}?drop=colour&classes=dog,cow,cat,fox")
    assert (joined(ordered)[1].tolist(), ordered.classes) == ([2, 0, 2, 1], 4)
    bare = next(iter(build_data(f"{name}?drop=colour,label&label=none")))
    assert torch.equal(bare, x[:, [1, 0]])


def test_labels_of_every_kind(tmp_path: Path) -> None:
    text = "x,a,b,c,d\n1,0,1,0.5,3\n2,1,1,2,4\n3,0,0,-1,3\n"
    name = write(tmp_path / "a.csv", text)
    expected: dict[str, tuple[Any, torch.dtype, int | None]] = {
        "label=d": ([3, 4, 3], torch.int64, 5),
        "label=d&regression=true": ([3.0, 4.0, 3.0], torch.float32, None),
        "label=c": ([0.5, 2.0, -1.0], torch.float32, None),
        "label=a,b": ([[0, 1], [1, 1], [0, 0]], torch.int64, None),
        "label=c,d": ([[0.5, 3], [2, 4], [-1, 3]], torch.float32, None),
        "label=a,b&regression=true": ([[0, 1], [1, 1], [0, 0]], torch.float32, None),
    }
    for options, (wanted, dtype, classes) in expected.items():
        data = build_data(f"{name}?inputs=x&{options}")
        y = joined(data)[1]
        assert (y.tolist(), y.dtype, data.classes) == (wanted, dtype, classes), options


def test_statistics_and_values_are_those_of_the_training_rows(tmp_path: Path) -> None:
    train, test = PLAIN, "label,y,x,more\n1,2.5,10,a\n2,0.5,2,b\n"
    write(tmp_path / "train.csv", train)
    write(tmp_path / "test.csv", test)
    x = torch.stack([torch.arange(20.0), torch.arange(20.0) / 4], 1)
    mean, std = x.mean(0), x.std(0, correction=0)
    for name in (
        f"csv:{tmp_path}",
        f"csv:{tmp_path / 'train.csv'}?test=test.csv",
        f"csv:{tmp_path / 'test.csv'}?train=train.csv",
    ):
        mark = "&" if "?" in name else "?"
        raw, y = joined(build_data(name, split="test"))
        assert raw.tolist() == [[10, 2.5], [2, 0.5]]  # in the order of the training file
        assert y.tolist() == [1, 2]
        found, _ = joined(build_data(f"{name}{mark}standardize=true", split="test"))
        assert torch.allclose(found, (raw - mean) / std, atol=1e-6)
        part, _ = joined(build_data(f"{name}{mark}standardize=true", limit=3))
        assert torch.allclose(part, ((x - mean) / std)[:3], atol=1e-6)
    assert build_data(f"csv:{tmp_path}", split="test").classes == 3


def test_a_share_is_held_out_and_takes_no_part_in_statistics(tmp_path: Path) -> None:
    name = write(tmp_path / "a.csv", PLAIN) + "?test_share=0.25"
    train, test = (joined(build_data(name, split=split))[0] for split in ("train", "test"))
    assert sorted(torch.cat([train, test])[:, 0].tolist()) == list(range(20))
    assert len(test) == 5
    scaled = joined(build_data(f"{name}&standardize=true", split="test"))[0]
    assert torch.allclose(scaled, (test - train.mean(0)) / train.std(0, correction=0), atol=1e-6)
    other = joined(build_data(f"{name}&seed=1", split="test"))[0]
    assert not torch.equal(test, other)


def test_files_without_a_header_and_with_another_form(tmp_path: Path) -> None:
    rows = "1.5,2,0\n2.5,4,1\n3.5,6,0\n"
    data = build_data(write(tmp_path / "a.csv", rows) + "?label=2")
    assert joined(data)[0].tolist() == [[1.5, 2], [2.5, 4], [3.5, 6]]
    assert joined(data)[1].tolist() == [0, 1, 0]
    data = build_data(write(tmp_path / "n.csv", "0,1,2\n" + rows) + "?label=2&inputs=1")
    assert joined(data)[0].tolist() == [[2], [4], [6]]
    index = build_data(write(tmp_path / "i.csv", ",x,label\n0,5,1\n1,6,0\n"))
    assert joined(index)[0].tolist() == [[5], [6]]
    tabs = build_data(write(tmp_path / "t.tsv", "x\tlabel\n5\t1\n"))
    assert joined(tabs)[0].tolist() == [[5]]
    semicolons = build_data(write(tmp_path / "s.csv", "x;label\n5;1\n") + "?delimiter=;")
    assert joined(semicolons)[0].tolist() == [[5]]
    constant = build_data(write(tmp_path / "c.csv", "x,label\n5,1\n5,0\n") + "?standardize=true")
    assert joined(constant)[0].tolist() == [[0], [0]]


def test_parquet_and_jsonl(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = {"x": [1.5, 2.5], "z": [True, False], "label": [1, 0]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text(
        '{"x": 1.5, "z": true, "label": 1}\n{"x": 2.5, "z": false, "label": 0}\n'
    )
    for file in ("a.parquet", "a.jsonl"):
        x, y = joined(build_data(f"csv:{tmp_path / file}"))
        assert (x.tolist(), y.tolist()) == ([[1.5, 1], [2.5, 0]], [1, 0])
    table["x"][1] = None  # type: ignore[call-overload]
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(OnefoldError, match=r"'x' has no value in row 2 of the file .*a\.parquet"):
        build_data(f"csv:{tmp_path / 'a.parquet'}")


REFUSED: dict[str, tuple[str, str, str]] = {
    "texts": (
        ROWS,
        "",
        r"'colour' holds 'red' in line 2 .*; leave the column out by drop=colour, or",
    ),
    "missing": (
        ROWS.replace("40,", ","),
        "drop=colour",
        "'age' has no value in line 3 of the file",
    ),
    "NA": (ROWS.replace("40,", "NA,"), "drop=colour", "'age' has no value in line 3 of the file"),
    "inf": (
        ROWS.replace("40,", "inf,"),
        "drop=colour",
        "'age' holds 'inf' in line 3 .*put it right",
    ),
    "a word": (
        ROWS.replace("40,", "4o,"),
        "drop=colour",
        "'age' holds '4o' in line 3 .*put it right",
    ),
    "no label": (ROWS.replace("dog", ""), "drop=colour", "'label' is missing in line 3"),
    "no label column": (
        ROWS.replace("label", "animal"),
        "",
        "no column named label; .* colour, animal",
    ),
    "misspelt": (ROWS, "label=lable", "no column 'lable'; did you mean 'label'"),
    "misspelt input": (ROWS, "inputs=hight", "no column 'hight'; did you mean 'height'"),
    "both": (ROWS, "label=age&inputs=age", "'age' of .* cannot be both input and label"),
    "no inputs": ("label\n1\n", "", "no column of inputs beside the labels"),
    "empty": ("", "", "is empty; check it"),
    "a header alone": ("x,label\n", "", "train split of .* is empty"),
    "regression of names": (ROWS, "drop=colour&regression=true", "label 'cat' .* is no number"),
    "an option": (ROWS, "onehott=colour", "did you mean 'onehot'"),
    "standardize": (ROWS, "standardize=3", "must be true or false, not 3"),
    "a share and a file": (ROWS, "test=b.csv&test_share=0.5", "do not go together"),
    "no such file": (ROWS, "test=b.csv", r"The file b\.csv of .* does not exist"),
    "ragged": (ROWS + "1,2\n", "drop=colour", r"Line 6 of the file .* has 2 fields"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    text, options, told = REFUSED[case]
    name = write(tmp_path / "a.csv", text)
    with pytest.raises(OnefoldError, match=told) as caught:
        build_data(f"{name}?{options}" if options else name)
    assert str(caught.value).endswith((".", "?"))
    assert "\n" not in str(caught.value)


def test_what_the_test_split_lacks(tmp_path: Path) -> None:
    name = write(tmp_path / "a.csv")
    with pytest.raises(OnefoldError, match=r"no test split; add test_share=0.2"):
        build_data(f"{name}?drop=colour", split="test")
    strange = ROWS.replace("red", "rod")
    write(tmp_path / "test.csv", strange)
    with pytest.raises(OnefoldError, match=r"'colour' holds 'rod' in line 2 .*did you mean 'red'"):
        build_data(f"{name}?test=test.csv&onehot=colour", split="test")
    write(tmp_path / "test.csv", ROWS.replace("dog", "hog"))
    with pytest.raises(OnefoldError, match=r"label 'hog' in line 3 .* is no class of the training"):
        build_data(f"{name}?test=test.csv&onehot=colour", split="test")
    with pytest.raises(OnefoldError, match=r"option onehot of .* needs the training rows"):
        build_data(f"csv:{tmp_path / 'test.csv'}?onehot=colour", split="test")
    with pytest.raises(SettingError, match="needs a file after the colon, not a folder"):
        build_data(f"csv:{tmp_path}?test=test.csv")


def test_the_commands(onefold: Callable[..., Any], tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(),"
        " nn.Linear(8, 3))\n"
    )
    files = []
    for seed in range(2):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        files.append(of.save(network, tmp_path / f"{seed}.safetensors"))
    rng = np.random.default_rng(0)
    rows = "".join(
        f"{a:.3f},{b:.3f},{'abc'[k % 3]}\n" for k, (a, b) in enumerate(rng.normal(size=(60, 2)))
    )
    data = write(tmp_path / "a.csv", "x,y,label\n" + rows) + "?test_share=0.3&standardize=true"
    flags = ["--model", f"{model}:build", "--data", data]
    for command in ("eval", "compare"):
        done = onefold(command, *files, *flags)
        assert done.status == 0, done.err
    out = tmp_path / "f.safetensors"
    done = onefold("merge", *files, *flags, "--eval-split", "test", "-o", out)
    assert done.status == 0, done.err


def test_a_regression_by_the_commands(onefold: Callable[..., Any], tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(),"
        " nn.Linear(8, 1))\n"
    )
    files = []
    for seed in range(2):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        files.append(of.save(network, tmp_path / f"{seed}.safetensors"))
    rng = np.random.default_rng(0)
    rows = "".join(f"{a:.3f},{b:.3f},{a - b:.3f}\n" for a, b in rng.normal(size=(60, 2)))
    data = write(tmp_path / "a.csv", "x,y,price\n" + rows) + "?label=price&test_share=0.3"
    flags = ["--model", f"{model}:build", "--data", data]
    done = onefold("eval", *files, *flags, "--ensemble", "outputs")
    assert done.status == 0, done.err
    assert "RMSE" in done.out
    out = ["-o", tmp_path / "f.safetensors"]
    done = onefold(
        "merge",
        *files,
        *flags,
        "--fold",
        "average",
        "--align",
        "permutation",
        "--eval-split",
        "test",
        *out,
    )
    assert done.status == 0, done.err
    assert "RMSE" in done.out
