"""Where inputs and outputs lead: links are followed, special files and inputs are refused."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
import torch

import onefold
from onefold.errors import OutputError, WeightsError
from onefold.report import Report
from onefold.weights import atomic_directory, atomic_write, check_apart, check_output

STATE = {"w": torch.ones(2)}
WRITERS = {
    "save": ("safetensors", lambda path: onefold.save(STATE, path, force=True)),
    "save in torch's format": ("pt", lambda path: onefold.save(STATE, path, force=True)),
    "a report": ("html", lambda path: Report(title="t").save(path, force=True)),
    "atomic_write": ("json", lambda path: atomic_write(path, "new", force=True)),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
def test_a_link_is_followed_by_all_that_write(tmp_path: Path, writer: str, there: bool) -> None:
    suffix, write = WRITERS[writer]
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / f"x.{suffix}", tmp_path / f"link.{suffix}"
    if there:
        target.write_bytes(b"old")
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert not target.is_symlink()
    assert target.read_bytes() not in (b"old", b"")


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_directory(tmp_path / "link", force=True) as folder:
        (folder / "a").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_text() == "new"


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_links_in_a_circle_are_refused(tmp_path: Path, writer: str, length: int) -> None:
    suffix, write = WRITERS[writer]
    for k in range(length):
        (tmp_path / f"{k}.{suffix}").symlink_to(tmp_path / f"{(k + 1) % length}.{suffix}")
    with pytest.raises(OutputError, match="links lead back to themselves"):
        write(tmp_path / f"0.{suffix}")
    assert (tmp_path / f"0.{suffix}").is_symlink()


def made_special(kind: str, path: Path) -> None:
    """A FIFO, a socket or a link to a device at `path`."""
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["a FIFO", "a socket", "a device"])
@pytest.mark.parametrize("suffix", ["safetensors", "pt", "index.json"])
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    path = Path(f"x.{suffix}")
    made_special(kind, path)
    with pytest.raises(WeightsError, match=f"it is {kind} and no file"):
        onefold.load(path)
    with pytest.raises(WeightsError, match=f"it is {kind} and no file"):
        onefold.weights.checksum(path)
    with pytest.raises(OutputError, match=f"it is {kind} and no file"):
        check_output(path, True)
    assert not stat.S_ISREG(os.stat(path).st_mode)


NAMES = {
    "itself": lambda one, other: one,
    "another spelling": lambda one, other: one.parent / ".." / one.parent.name / one.name,
    "a link": lambda one, other: other.symlink_to(one) or other,
    "a link to a link": lambda one, other: (
        other.with_name("between").symlink_to(one)
        or other.symlink_to(other.with_name("between"))
        or other
    ),
    "a hard link": lambda one, other: os.link(one, other) or other,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("swapped", [False, True])
def test_an_output_that_is_an_input_is_refused(tmp_path: Path, name: str, swapped: bool) -> None:
    one = tmp_path / "in.safetensors"
    one.write_bytes(b"weights")
    other = NAMES[name](one, tmp_path / "out.safetensors")
    pair = (one, other) if swapped else (other, one)
    with pytest.raises(OutputError, match=r"is one of the inputs.*, which are never replaced"):
        check_apart([tmp_path / "new.json", pair[0]], [tmp_path / "none", pair[1]])


def test_a_file_in_a_folder_of_data_is_an_input_and_a_result_is_none(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "cats").mkdir(parents=True)
    for name in ("cats/a.png", "train.parquet", "config.json", "x.safetensors"):
        (data / name).write_text("")
    for name in ("cats/a.png", "train.parquet", "config.json"):
        with pytest.raises(OutputError, match="is one of the inputs"):
            check_apart([data / name], [data])
    check_apart([data / "x.safetensors", data / "cats" / "new.png", tmp_path / "b.png"], [data])


@pytest.mark.parametrize("place", ["kept/x.pt", "kept/deep/x.pt", "link/x.pt"])
def test_nothing_is_written_into_a_folder_that_is_kept(tmp_path: Path, place: str) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    with pytest.raises(OutputError, match="which keeps what a run resumes from"):
        check_apart([tmp_path / place], [], tmp_path / "kept")
    check_apart([tmp_path / "x.pt"], [], tmp_path / "kept")


@pytest.mark.parametrize("name", ["x\udcff.safetensors", "d\udce9/x.pt", "\udc80.html"])
def test_a_name_of_other_bytes_is_refused_and_shown(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    with pytest.raises(OutputError, match=r"\\udc.*is no text in UTF-8") as caught:
        check_output(path)
    assert str(caught.value).isprintable()
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"\\udc.*is no text in UTF-8"):
        onefold.load(path)


def test_outputs_in_a_working_folder_that_is_gone_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for path in ("x.safetensors", "a/x.pt", "./x.json"):
        with pytest.raises(OutputError, match="the working folder is gone"):
            check_output(path)
