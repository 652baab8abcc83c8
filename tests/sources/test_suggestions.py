"""A name that is unknown is told what it may have been meant for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from onefold.errors import SettingError, nearest
from onefold.sources import build_data, resolve_model

FILES = {
    "nets.py": "import torch\n\nclass Net: pass\n\ndef helper(): pass\n\ndef build_small(): pass\n",
    "data.py": "raise OSError('never run')\ndef first(): pass\ndef load_all(split): pass\n",
    "only.py": "def _hidden(): pass\ndef something(): pass\n",
    "bad.py": "def f(:\n",
    "pictures/train/cat/1.png": "",
    "cells/train/masks/1.png": "",
    "arrays/x_train.npy": "",
    "mnist/train-images-idx3-ubyte.gz": "",
    "rows/train-00000-of-00001.parquet": "",
    "hub/data/train-0.parquet": "",
    "opt/config.json": "{}",
    "empty/notes.md": "",
    "net.safetensors": "",
    "table.csv": "",
    "reviews/train.tsv": "",
    "set/dataset_info.json": "{}",
    "sets/dataset_dict.json": "{}",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)


DATA = {
    "pictures": "did you mean 'imagefolder:pictures'?",
    "./pictures": "did you mean 'imagefolder:./pictures'?",
    "cells": "did you mean 'masks:cells'?",
    "arrays": "did you mean 'numpy:arrays'?",
    "mnist": "did you mean 'idx:mnist'?",
    "mnist/train-images-idx3-ubyte.gz": "did you mean 'idx:mnist'?",
    "rows": "did you mean 'parquet:rows'?",
    "rows/train-00000-of-00001.parquet": "did you mean 'parquet:rows'?",
    "hub": "did you mean 'parquet:hub'?",
    "empty": "the folder holds no data that a source knows; give imagefolder:DIR",
    "table.csv": "a table of numbers is named as csv:table.csv?label=COLUMN, and one of texts as",
    "Lines.JSONL": "text:Lines.JSONL?text=COLUMN&label=COLUMN&tokenizer=FOLDER.",
    "reviews": "one of texts as text:reviews?text=COLUMN",
    "set": "named as hfdata:set?text=COLUMN",
    "sets": "named as hfdata:sets?text=COLUMN",
    "data.npz": "did you mean 'numpy:data.npz'?",
    "data.zip": "read such a file in a function of your own",
    "data.py": "write 'data.py:load_all'.",
    "only.py": "write 'only.py:something'.",
    "bad.py": "write 'bad.py:name_of_the_function'.",
    "no.py": "write 'no.py:name_of_the_function'.",
    "imagefoldr:pictures": "did you mean 'imagefolder:pictures'?",
    "parket:rows": "did you mean 'parquet:rows'?",
    "digits": "did you mean 'sklearn:digits'?",
    "SKLEARN:DIGITS": "sklearn:digits",
    "nowhere-at-all": "known: ",
}
MODELS = {
    "resnet18": "did you mean 'timm:resnet18'?",
    "ResNet50": "did you mean 'timm:resnet50'?",
    "vit_tiny_patch16_224": "did you mean 'timm:vit_tiny_patch16_224'?",
    "net.safetensors": "a file of weights is a member, so give it where the members go",
    "runs/last.CKPT": "a file of weights is a member",
    "a/b.pt": "a file of weights is a member",
    "opt": "The config of 'hf:opt' is of the model_type None",
    "facebook/opt-125m": "nothing is downloaded here; get its folder, and name it as hf:FOLDER.",
    "nets.py": "write 'nets.py:build_small'.",
    "vgg12": "did you mean 'vgg11'?",
    "SmallCNN": "did you mean 'smallcnn'?",
    "tim:resnet18": "did you mean 'timm:resnet18'?",
    "tv:resnet18": "did you mean 'timm:resnet18'?",
    "no such thing:x": "known: ",
}


@pytest.mark.parametrize("name", DATA)
def test_unknown_data(name: str) -> None:
    with pytest.raises(SettingError) as caught:
        build_data(name)
    assert DATA[name] in str(caught.value)


@pytest.mark.parametrize("name", MODELS)
def test_unknown_models(name: str) -> None:
    if "timm:" in MODELS[name]:
        pytest.importorskip("timm")
    with pytest.raises(SettingError) as caught:
        resolve_model(name)
    assert MODELS[name] in str(caught.value)


@pytest.mark.parametrize(
    ("without", "message"),
    [(("timm",), "did you mean 'torchvision:resnet18'?"), (("timm", "torchvision"), "resnet20")],
)
def test_packages_that_are_not_there_are_not_suggested(
    monkeypatch: pytest.MonkeyPatch, without: tuple[str, ...], message: str
) -> None:
    pytest.importorskip("torchvision")
    for name in [module for module in sys.modules if module.split(".")[0] in without]:
        monkeypatch.delitem(sys.modules, name)
    for name in without:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingError) as caught:
        resolve_model("resnet18")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "known", "end"),
    [
        ("avrage", ["average", "soup"], "did you mean 'average'?"),
        ("CCA", ["cca", "permutation"], "did you mean 'cca'?"),
        ("x", ["average"], "known: average."),
        ("x", [], "known: none."),
        ("y" * 10**6, ["average"], "known: average."),
    ],
)
def test_the_nearest_name(name: str, known: list[str], end: str) -> None:
    assert nearest(name, known) == end
    assert nearest("x", known, "look it up.") == "look it up."
