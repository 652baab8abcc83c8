"""Arrays of NumPy: which are found, what becomes of their types, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import joined
from torch import nn

import onefold as of
from onefold.errors import DataError, OnefoldError, SettingError
from onefold.sources import build_data, numpy_files

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 3)), RNG.integers(0, 4, 20)


def save(path: Path, **arrays: Any) -> str:
    np.savez(path, **{name: np.asarray(array) for name, array in arrays.items()})
    return f"numpy:{path}"


def test_splits_are_found_by_the_usual_names(tmp_path: Path) -> None:
    forms: list[dict[str, Any]] = [
        {"x_train": X, "y_train": Y, "x_test": X[:5], "y_test": Y[:5]},
        {"train_images": X, "train_labels": Y, "val_images": X[5:], "val_labels": Y[5:]}
        | {"test_images": X[:5], "test_labels": Y[:5]},
        {"features": X, "target": Y, "features_valid": X[:5], "target_valid": Y[:5]},
    ]
    for number, form in enumerate(forms):
        name = save(tmp_path / f"{number}.npz", **form)
        for split, rows in (("train", 20), ("test", 5)):
            x, y = joined(build_data(name, split=split, batch_size=7))
            assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
            assert torch.equal(x, torch.from_numpy(X[:rows]).float())
            assert y.tolist() == Y[:rows].tolist()
        assert build_data(name, limit=2).classes == 1 + Y.max()


def test_named_arrays_of_splits_and_a_share_that_is_held_out(tmp_path: Path) -> None:
    name = save(tmp_path / "a.npz", a=X, b=Y)
    x, y = joined(build_data(f"{name}?inputs=a&labels=b", skip=3, limit=4))
    assert torch.equal(x, torch.from_numpy(X[3:7]).float())
    assert y.tolist() == Y[3:7].tolist()
    held = f"{name}?inputs=a&labels=b&test_share=0.25&seed=3"
    train, test = (joined(build_data(held, split=split))[0] for split in ("train", "test"))
    assert (len(train), len(test)) == (15, 5)
    together = torch.cat([train, test])
    assert sorted(together[:, 0].tolist()) == sorted(torch.from_numpy(X[:, 0]).float().tolist())
    other = joined(build_data(held.replace("seed=3", "seed=4"), split="test"))[0]
    assert not torch.equal(test, other)
    named = save(tmp_path / "s.npz", a_train=X, b_train=Y, a_test=X[:5], b_test=Y[:5])
    for key in ("a", "a_train", "a_test"):
        part = build_data(f"{named}?inputs={key}&labels=b", split="test")
        assert len(joined(part)[0]) == 5


def test_types(tmp_path: Path) -> None:
    kinds = {
        "float64": torch.float32,
        "float16": torch.float32,
        ">f4": torch.float32,
        "int32": torch.int64,
        "uint16": torch.int64,
        "uint8": torch.int64,
        "bool": torch.bool,
        "complex128": torch.complex64,
    }
    for kind, wanted in kinds.items():
        array = RNG.integers(0, 9, (6, 4)).astype(kind)
        name = save(tmp_path / "a.npz", x=array, y=np.arange(6))
        x, _ = joined(build_data(name))
        assert x.dtype == wanted, kind
        assert np.array_equal(x.numpy(), array.astype(x.numpy().dtype))


def test_bytes_are_images(tmp_path: Path) -> None:
    for shape, wanted in (
        ((5, 8, 8), (5, 1, 8, 8)),
        ((5, 1, 8, 8), (5, 1, 8, 8)),
        ((5, 3, 8, 8), (5, 3, 8, 8)),
        ((5, 8, 8, 3), (5, 3, 8, 8)),
    ):
        array = RNG.integers(0, 256, shape).astype(np.uint8)
        name = save(tmp_path / "a.npz", x=array, y=np.arange(5))
        x, _ = joined(build_data(f"{name}?mean=0&std=1"))
        assert x.shape == wanted
        assert torch.allclose(
            x.sum((1, 2, 3)) * 255,
            torch.from_numpy(array).sum((1, 2, 3) if array.ndim == 4 else (1, 2)).float(),
        )
        usual, _ = joined(build_data(name))
        assert torch.equal(usual, x) == (wanted[1] == 1)  # colours get the statistics of CIFAR-10
        plain, _ = joined(build_data(f"{name}?scale=false"))
        assert plain.dtype == torch.int64
        assert plain.shape == shape
    floats = save(tmp_path / "f.npz", x=X, y=Y)
    x, _ = joined(build_data(f"{floats}?mean=1,2,3&std=2"))
    assert torch.allclose(x, (torch.from_numpy(X) - torch.tensor([1, 2, 3])).float() / 2)


@pytest.mark.parametrize(
    ("labels", "dtype", "shape", "classes"),
    [
        (Y, torch.int64, (20,), 1 + int(Y.max())),
        (Y[:, None].astype(np.uint8), torch.int64, (20,), 1 + int(Y.max())),
        (X[:, 0], torch.float32, (20,), None),
        (X[:, :1], torch.float32, (20, 1), None),
        (X > 0, torch.int64, (20, 3), None),
        (RNG.integers(0, 3, (20, 5, 5)).astype(np.uint8), torch.int64, (20, 5, 5), None),
        (np.where(Y > 2, -100, Y), torch.int64, (20,), None),
    ],
)
def test_labels_of_any_shape(
    labels: Any, dtype: torch.dtype, shape: tuple[int, ...], classes: int | None, tmp_path: Path
) -> None:
    data = build_data(save(tmp_path / "a.npz", x=X, y=labels), batch_size=6)
    y = joined(data)[1]
    assert (y.dtype, y.shape, data.classes) == (dtype, shape, classes)
    assert np.allclose(y.numpy().reshape(20, -1), labels.reshape(20, -1).astype(np.float64))
    assert torch.equal(data.labels, y)


def test_some_of_several_labels_may_be_missing(tmp_path: Path) -> None:
    labels = X.copy()
    labels[3, 1] = np.nan
    y = joined(build_data(save(tmp_path / "a.npz", x=X, y=labels)))[1]
    assert y.isnan().nonzero().tolist() == [[3, 1]]
    labels[5, 2] = np.inf
    with pytest.raises(DataError, match=r"'y' of .* holds an infinite number in row 5 "):
        build_data(save(tmp_path / "b.npz", x=X, y=labels))


def test_names_as_labels(tmp_path: Path) -> None:
    words = np.array(["dog", "cat", "cow", "cat"])
    name = save(tmp_path / "a.npz", x_train=X[:4], y_train=words, x_test=X[:2], y_test=words[:2])
    data = build_data(name, split="test")
    assert data.class_names == ("cat", "cow", "dog")
    assert joined(data)[1].tolist() == [2, 0]
    ordered = build_data(f"{name}?classes=dog,cat,cow,fox", split="test")
    assert (joined(ordered)[1].tolist(), ordered.classes) == ([0, 1], 4)
    numbers = build_data(save(tmp_path / "n.npz", x=X, y=Y % 3) + "?classes=2,0,1")
    assert joined(numbers)[1].tolist() == [(1, 2, 0)[k] for k in Y % 3]
    with pytest.raises(SettingError, match="lacks the class 'dog'"):
        build_data(f"{name}?classes=cat,cow")
    strange = save(tmp_path / "b.npz", x_train=X[:4], y_train=words, x_test=X[:1], y_test=["cots"])
    with pytest.raises(DataError, match=r"label 'cots' in row 0 .*did you mean 'cow'"):
        build_data(strange, split="test")


def test_several_inputs_by_position_and_by_name(tmp_path: Path) -> None:
    name = save(tmp_path / "a.npz", ids=Y[:, None], mask=X > 0, y=Y) + "?inputs=ids,mask"
    ((ids, mask), y), *_ = build_data(name, batch_size=8)
    assert (ids.dtype, mask.dtype) == (torch.int64, torch.bool)
    assert (ids.shape, mask.shape, y.shape) == ((8, 1), (8, 3), (8,))
    keyed, _ = next(iter(build_data(f"{name}&keywords=true", batch_size=8)))
    assert list(keyed) == ["ids", "mask"]
    bare = next(iter(build_data(f"{name}&labels=none", batch_size=8)))
    assert len(bare) == 1
    assert len(bare[0]) == 2
    alone = next(iter(build_data(save(tmp_path / "b.npz", x=X), batch_size=8)))
    assert alone.shape == (8, 3)


def test_folders_and_single_files(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "a" / split).mkdir(parents=True)
        np.save(tmp_path / "a" / split / "x.npy", X[: 20 if split == "train" else 5])
        np.save(tmp_path / "a" / split / "y.npy", Y[: 20 if split == "train" else 5])
    assert len(joined(build_data(f"numpy:{tmp_path / 'a'}", split="test"))[1]) == 5
    for key, array in (("x_train", X), ("y_train", Y), ("x_test", X[:5]), ("y_test", Y[:5])):
        np.save(tmp_path / f"{key}.npy", array)
    assert len(joined(build_data(f"numpy:{tmp_path}", split="test"))[1]) == 5
    assert len(joined(build_data(f"numpy:{tmp_path / 'x_train.npy'}"))[1]) == 20
    part = build_data(f"numpy:{tmp_path / 'x_test.npy'}?labels=y_test.npy", split="test")
    assert len(joined(part)[1]) == 5


@pytest.mark.filterwarnings("error")
def test_large_files_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_files, "LARGE", 100)
    images = RNG.integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", Y.astype(np.int32))
    data = build_data(f"numpy:{tmp_path}?mean=0&std=1", batch_size=6, shuffle=True)
    assert data.images.inputs[0].mapped
    x, y = joined(data)
    assert sorted(y.tolist()) == sorted(Y.tolist())
    assert x.shape == (20, 3, 8, 8)
    before = (tmp_path / "x.npy").read_bytes()
    for x, _ in build_data(f"numpy:{tmp_path}?scale=false"):
        x.zero_()
    assert (tmp_path / "x.npy").read_bytes() == before
    broken = X.copy()
    broken[13, 1] = np.inf
    np.save(tmp_path / "x.npy", broken)
    with pytest.raises(DataError, match=r"'x' of .* holds an infinite number in row 13 "):
        list(build_data(f"numpy:{tmp_path}", shuffle=True, batch_size=4))


def broken(array: Any, row: int, value: float) -> Any:
    copied = array.astype(float)
    copied[row] = value
    return copied


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "nan": ({"x": broken(X, 7, np.nan), "y": Y}, "", "'x' of .* holds nan in row 7 "),
    "nan in labels": ({"x": X, "y": broken(Y, 4, np.nan)}, "", "'y' of .* holds nan in row 4 "),
    "unequal": ({"x": X, "y": Y[:9]}, "", "'y' of .* has 9 rows, but the array 'x' of .* 20"),
    "objects": ({"x": X, "y": np.array([[1], [2, 3]], object)}, "", "'y' of .* Python objects"),
    "texts": ({"x": np.array(["a", "b"]), "y": Y[:2]}, "", "'x' of .* holds texts"),
    "dates": ({"x": np.zeros(2, "M8[s]"), "y": Y[:2]}, "", "'x' of .* holds dates"),
    "a number": ({"x": 3.0, "y": Y}, "", "'x' of .* is a single number"),
    "none": ({"x": X[:0], "y": Y[:0]}, "", "train split of .* is empty"),
    "no arrays": ({}, "", "has the arrays none"),
    "strange names": ({"first": X, "second": Y}, "", "inputs=first&labels=second"),
    "misspelt": ({"images": X, "y": Y}, "inputs=image", "no array 'image'; did you mean 'images'"),
    "missing labels": ({"x": X, "y": Y}, "labels=z", "no array 'z'"),
    "an empty name": ({"x": np.array([[1.0]]), "y": np.array([""])}, "", "'y' is missing in row 0"),
    "labels of one split": ({"x_train": X, "x_test": X, "y": Y}, "", "of the inputs alone"),
    "only test": ({"x_test": X, "y_test": Y}, "", "inputs of the test split alone"),
    "too few": ({"x": X[:2], "y": Y[:2]}, "test_share=0.1", "has 2 rows, of which test_share=0.1"),
    "classes of floats": ({"x": X, "y": X}, "classes=a,b", "are no class numbers from 0"),
    "an unknown option": ({"x": X, "y": Y}, "label=y", "did you mean 'labels'"),
    "a share of 2": ({"x": X, "y": Y}, "test_share=2", "must be a number between 0 and 1, not 2"),
    "a seed alone": ({"x": X, "y": Y}, "seed=2", "needs a test_share"),
    "two labels": ({"x": X, "y": Y}, "labels=x,y", "must name one array, or none"),
    "a share too many": (
        {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y},
        "test_share=0.5",
        "has rows of its own; leave out test_share",
    ),
    "a deviation alone": ({"x": X, "y": Y}, "std=2", "only one of mean and std"),
    "scale": ({"x": X, "y": Y}, "scale=3", "must be true or false, not 3"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    arrays, options, told = REFUSED[case]
    name = save(tmp_path / "a.npz", **arrays)
    with pytest.raises(OnefoldError, match=told) as caught:
        build_data(f"{name}?{options}" if options else name)
    assert str(caught.value).endswith((".", "?"))
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    for file, content, told in (
        ("a.npz", b"", "a.npz is no file of numpy.savez .it is empty"),
        ("b.npz", b"no zip", "b.npz is no file of numpy.savez"),
        ("x.npy", b"no array", "array 'x' of .* cannot be read"),
        ("e.npy", b"", "array 'e' of .* cannot be read"),
        ("a.txt", b"1 2", "a.txt is neither .npz nor .npy"),
    ):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(DataError, match=told):
            build_data(f"numpy:{tmp_path / file}")
    with pytest.raises(DataError, match=r"none.npz of .* does not exist"):
        build_data(f"numpy:{tmp_path / 'none.npz'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty of .* holds no .npy file"):
        build_data(f"numpy:{tmp_path / 'empty'}")
    with pytest.raises(DataError, match=r"no test split; add test_share=0.2"):
        build_data(save(tmp_path / "c.npz", x=X, y=Y), split="test")
    cut = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(cut[: len(cut) // 2])
    with pytest.raises(DataError, match=r"is no file of numpy.savez"):
        build_data(f"numpy:{tmp_path / 'c.npz'}")


def test_the_commands(onefold: Callable[..., Any], tmp_path: Path) -> None:
    model = tmp_path / "model.py"
    model.write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(),"
        " nn.Linear(8, 4))\n"
    )
    files = []
    for seed in range(2):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))
        files.append(of.save(network, tmp_path / f"{seed}.safetensors"))
    data = save(tmp_path / "a.npz", x_train=X, y_train=Y, x_test=X[:9], y_test=Y[:9])
    flags = ["--model", f"{model}:build", "--data", data]
    for command in (["eval", "--batch-size", "4"], ["compare"]):
        done = onefold(command[0], *files, *flags, *command[1:])
        assert done.status == 0, done.err
    done = onefold(
        "merge", *files, *flags, "--eval-split", "test", "-o", tmp_path / "f.safetensors"
    )
    assert done.status == 0, done.err
    both = save(tmp_path / "b.npz", x=X, y=X[:, :2] > 0) + "?test_share=0.5"
    network = torch.nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    file = of.save(network, tmp_path / "two.safetensors")
    model.write_text(model.read_text().replace("nn.Linear(8, 4)", "nn.Linear(8, 2)"))
    done = onefold("eval", file, "--model", f"{model}:build", "--data", both)
    assert done.status == 0, done.err
    assert "mAP" in done.out
    model.write_text(model.read_text().replace("nn.Linear(8, 2)", "nn.Linear(8, 4)"))
    trained = onefold("persist", *flags, "--rounds", "2", "--epochs", "1", "-o", tmp_path / "run")
    assert trained.status == 0, trained.err
