"""The records of a torch archive: packed by other programs, damaged, and far too large."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from states import plain, same

import onefold
from onefold.errors import WeightsError


def records(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.save(plain(), tmp_path / "a.pt")
    return tmp_path / "a.pt"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_that_another_program_packed(saved: Path, method: int) -> None:
    write(saved, records(saved), method)
    assert same(onefold.load(saved), plain())
    write(saved, {f"other-name/{n.split('/', 1)[1]}": d for n, d in records(saved).items()}, method)
    assert same(onefold.load(saved), plain())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_torch_does_not_know_is_refused(saved: Path, method: int) -> None:
    write(saved, records(saved), method)
    with pytest.raises(WeightsError, match="packed by a method"):
        onefold.load(saved)


def test_flipped_bits_of_weights_are_found(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[data.index(plain()["a.weight"].numpy().tobytes())] ^= 1
    saved.write_bytes(data)
    with pytest.raises(WeightsError, match="are not those that were written"):
        onefold.load(saved)


def test_torch_can_leave_checksums_out(saved: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(plain(), saved)
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(onefold.load(saved), plain())


def _less(content: dict[str, bytes]) -> dict[str, bytes]:
    return {n: d[:-4] if n.endswith("data/0") else d for n, d in content.items()}


def _more(content: dict[str, bytes]) -> dict[str, bytes]:
    return {n: d + bytes(4) if n.endswith("data/0") else d for n, d in content.items()}


def _none(content: dict[str, bytes]) -> dict[str, bytes]:
    return {n: d for n, d in content.items() if not n.endswith("data/0")}


def _big(content: dict[str, bytes]) -> dict[str, bytes]:
    return {n: b"big" if n.endswith("byteorder") else d for n, d in content.items()}


def _twice(content: dict[str, bytes]) -> dict[str, bytes]:
    name = next(name for name in content if name.endswith("data.pkl"))
    return {
        **content,
        name: content[name].replace(b"torch\nFloatStorage", b"torch\nByteStorage", 1),
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_less, "of another length"),
        (_more, "of another length"),
        (_none, "is missing"),
        (_big, "byte order"),
        (_twice, "of another length|two ways"),
    ],
)
def test_records_that_contradict_the_pickle(
    saved: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]], said: str
) -> None:
    write(saved, change(records(saved)))
    with pytest.raises(WeightsError, match=rf"a\.pt is damaged.*({said})"):
        onefold.load(saved)


@pytest.mark.parametrize("shape", [(0, 1 << 40, 1 << 40), (1 << 62, 0, 2), (0, (1 << 63) - 1)])
def test_an_empty_tensor_of_huge_sides(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.pt"
    torch.save(
        {"w": torch.empty(0, 7, 9)[:, : len(shape)].reshape(0, *[1] * (len(shape) - 1))}, path
    )
    name, data = next(item for item in records(path).items() if item[0].endswith("data.pkl"))
    old = pickle.dumps((0, *[1] * (len(shape) - 1)), 2)[2:-3]
    new = pickle.dumps(shape, 2)[2:-3]
    assert old in data
    write(path, {**records(path), name: data.replace(old, new, 1)})
    with pytest.raises(WeightsError, match="damaged"):
        onefold.load(path)


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20), (3, 1 << 30)])
def test_an_expanded_tensor_is_not_unfolded(tmp_path: Path, shape: tuple[int, ...]) -> None:
    torch.save({"w": torch.zeros(1).expand(shape)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"bytes, but its tensors would take \d+.*'w'"):
        onefold.load(tmp_path / "a.pt")


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    torch.save({"w": torch.zeros(1_000_000)}, file)
    (tmp_path / "a.pt").write_bytes(file.getvalue())
    write(tmp_path / "a.pt", records(tmp_path / "a.pt"), zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="claims to unpack to 4"):
        onefold.load(tmp_path / "a.pt")


def test_a_record_is_listed_twice(saved: Path) -> None:
    name, data = next(item for item in records(saved).items() if item[0].endswith("data/0"))
    with zipfile.ZipFile(saved, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(name, bytes(len(data)))
    with pytest.raises(WeightsError, match="listed twice"):
        onefold.load(saved)
