"""Files of torch.save are read without running code from them."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import os
import pathlib
import uuid
import warnings
import zipfile
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from states import plain, same
from torch import nn

import onefold
from onefold import weights
from onefold.errors import WeightsError


class Runs:
    """A pickle that would create a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


class Color(Enum):
    """A class of the user's own."""

    RED = 1


class Own:
    """Another one."""

    def __init__(self) -> None:
        self.value = 3


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "made-by-the-pickle"
    torch.save(
        {"a": torch.ones(2), "evil": Runs(target)},
        tmp_path / "evil.pt",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(
        WeightsError,
        match=r"evil\.pt wants to run code \((posix|nt|os)\.mkdir\) for its entry \['evil'\]"
        r".*refused.*safetensors",
    ):
        weights.read(tmp_path / "evil.pt")
    assert not target.exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)  # negative control: it would have
    assert target.exists()


def _numpy_state() -> Any:
    return np.random.RandomState(0).get_state()


HARMLESS: dict[str, Any] = {
    "namespace": argparse.Namespace(lr=0.1, betas=[0.9, 0.99]),
    "numpy number": np.float64(0.5),
    "numpy array": np.arange(3),
    "numpy random state": _numpy_state(),
    "numpy generator": np.random.default_rng(0),
    "numpy dtype": np.dtype("float32"),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "OrderedDict": collections.OrderedDict(a=1),
    "Counter": collections.Counter("aab"),
    "deque": collections.deque([1, 2], maxlen=3),
    "path": pathlib.Path("runs"),
    "date": datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc),
    "duration": datetime.timedelta(seconds=3),
    "size": torch.Size([2, 3]),
    "dtype": torch.bfloat16,
    "device": torch.device("cpu"),
    "version": torch.__version__,
    "sets": [{1, 2}, frozenset("ab"), slice(1, 2), range(3), 1j, b"ab", bytearray(b"ab")],
    "decimal": decimal.Decimal("0.1"),
    "uuid": uuid.UUID(int=3),
    "an enum of Python's": HTTPStatus.OK,
    "classes": [int, dict, np.float32, collections.OrderedDict],
    "parameter": nn.Parameter(torch.ones(2)),
    "sparse tensor": torch.eye(2).to_sparse(),
    "deep": [[[[{"a": ({"b": [None, True, 1 << 70, -1.5, "é"]},)}]]]],
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", HARMLESS)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_harmless_objects_beside_the_weights(tmp_path: Path, name: str, zipped: bool) -> None:
    torch.save(
        {"state_dict": plain(), "beside": HARMLESS[name], "epoch": 3},
        tmp_path / "a.pt",
        _use_new_zipfile_serialization=zipped,
    )
    assert same(onefold.load(tmp_path / "a.pt"), plain())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickles(tmp_path: Path, protocol: int) -> None:
    torch.save(
        {"state_dict": plain(), "args": HARMLESS}, tmp_path / "a.pt", pickle_protocol=protocol
    )
    assert same(onefold.load(tmp_path / "a.pt"), plain())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Color.RED, "Color"),
        (Own(), "Own"),
        ([1, {"a": Own()}], r"\.Own\) for its entry \['beside'\]\[1\]\['a'\]"),
        (print, r"__builtin__\.print"),
        (Own, "Own"),
        (os.path.join, r"posixpath\.join|ntpath\.join"),
    ],
)
def test_any_other_object_is_refused_by_name(tmp_path: Path, value: Any, said: str) -> None:
    torch.save({"state_dict": plain(), "beside": value}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=rf"({said}).*weights_only=False.*state dict alone"):
        onefold.load(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", [None, "model", "net"])
def test_a_whole_pickled_network_gets_two_lines(
    tmp_path: Path, zipped: bool, key: str | None
) -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    content = network if key is None else {"epoch": 1, key: network}
    torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        WeightsError, match=r"whole pickled network \(torch\.nn.*Sequential\)"
    ) as it:
        weights.read(tmp_path / "net.pt")
    lines = str(it.value).split("imported: ")[1].removesuffix(".")
    os.chdir(tmp_path)
    exec(lines, {"torch": torch})  # the lines that the message gives
    assert same(onefold.load(tmp_path / "state.pt"), network.state_dict())


def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "net.pt"))
    with pytest.raises(WeightsError, match="TorchScript"):
        weights.read(tmp_path / "net.pt")


def test_the_format_before_torch_1_6(tmp_path: Path) -> None:
    kinds = {str(d): torch.ones(3).to(d) for d in (torch.bfloat16, torch.int16, torch.bool)}
    state = {
        **plain(),
        **kinds,
        "view": torch.arange(12.0).view(3, 4).T[1:],
        "none": torch.empty(0),
    }
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(onefold.load(tmp_path / "old.pt"), state)


def test_views_shared_tensors_and_all_dtypes(tmp_path: Path) -> None:
    whole = torch.randn(6, 4)
    names = ("float16", "float64", "complex64", "complex128", "int8", "uint8", "int32", "uint16")
    state = {name: torch.ones(2, 3).to(getattr(torch, name)) for name in names}
    state |= {"whole": whole, "rows": whole[2:4], "turned": whole.T, "tied": whole}
    state |= {"expanded": torch.arange(3.0).expand(2, 3), "scalar": torch.tensor(2.0)}
    state |= {"parameter": nn.Parameter(torch.randn(2))}
    state.pop("uint8")  # of two axes: a quantised weight
    state.pop("int8")
    torch.save(state, tmp_path / "a.pt")
    found = onefold.load(tmp_path / "a.pt")
    assert same(found, state)
    assert found["tied"] is found["whole"]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: torch.eye(3).to_sparse(), "a sparse tensor"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "a quantised"),
        (lambda: torch.ones(2, device="meta"), "a tensor without its data"),
        (lambda: nn.LazyLinear(2).weight, "a parameter without a shape"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_without_plain_values_are_refused(tmp_path: Path, make: Any, what: str) -> None:
    torch.save({**plain(), "odd": make()}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=rf"holds 'odd' as {what}"):
        onefold.load(tmp_path / "a.pt")


def _archive(path: Path, files: dict[str, object], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("data", "{}")
        for name, content in files.items():
            torch.save(content, path.with_name("inner"))
            archive.write(path.with_name("inner"), name)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_with_a_torch_file_in_it(tmp_path: Path, method: int) -> None:
    path = tmp_path / "agent.zip"
    optimizer = {"state": {}, "param_groups": []}
    _archive(path, {"policy.pth": plain(1), "policy.optimizer.pth": optimizer}, method)
    assert same(onefold.load(path), plain(1))
    assert any("'policy.pth'" in note for note in weights.read(path).notes)
    _archive(path, {"best.pt": {"model": plain(2), "ema": {"module": plain(3)}}}, method)
    assert same(onefold.load(path), plain(2))
    assert same(onefold.load(path, entry="ema.module"), plain(3))
    assert same(onefold.load(path, entry="best.pt.ema.module"), plain(3))
    _archive(path, {"a.pth": plain(4), "b.pth": plain(5)}, method)
    assert same(onefold.load(path, entry="b.pth"), plain(5))
    with pytest.raises(WeightsError, match=r"several torch files; say.*entry='a\.pth'.*'b\.pth'"):
        onefold.load(path)
    _archive(path, {}, method)
    with pytest.raises(WeightsError, match="without a torch file in it; it holds 'data'"):
        onefold.load(path)


def test_a_file_that_is_read_by_torch_is_looked_at_first(tmp_path: Path) -> None:
    from onefold.weights.torch_file import read_whole

    state = {"format": "x", "state": nn.Linear(2, 2).state_dict(), "set": {1}}
    torch.save(state, tmp_path / "a.pt")
    assert read_whole(tmp_path / "a.pt")["set"] == {1}
    assert read_whole(tmp_path / "a.pt")["state"]._metadata is not None
    data = bytearray((tmp_path / "a.pt").read_bytes())
    data[data.index(b"set")] ^= 1
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        read_whole(tmp_path / "a.pt")


def test_reading_warns_of_nothing(tmp_path: Path) -> None:
    torch.save({"state_dict": plain(), **HARMLESS}, tmp_path / "a.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        onefold.load(tmp_path / "a.pt")
