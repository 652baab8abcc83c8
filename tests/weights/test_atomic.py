"""Outputs appear in full or not at all, and nothing is replaced unasked."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from states import names

import onefold
from onefold import weights
from onefold.errors import OutputError
from onefold.sources.networks import digits

FORMS = ("safetensors", "pt")


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("form", "shard"), [("safetensors", None), ("safetensors", 4000), ("pt", None)]
)
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_output(
    tmp_path: Path, form: str, shard: int | None, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"m.{form}"
    old = onefold.save(digits(8), path, max_shard_bytes=shard)
    before, content = names(tmp_path), weights.state_checksum(onefold.load(old))
    with monkeypatch.context() as patch:
        patch.setattr(os, function, full_disk)
        with pytest.raises(OutputError, match="the disk is full; free some space"):
            onefold.save(digits(8), path, max_shard_bytes=shard, force=True)
    if (shard, function) == (
        4000,
        "replace",
    ):  # the renames themselves failed: then there is no checkpoint, never a mixed one
        assert not old.exists()
        return
    assert names(tmp_path) == before
    assert weights.state_checksum(onefold.load(old)) == content


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_device(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_text("begun")
        with open("/dev/full", "wb") as file:
            file.write(b"x" * 100_000)

    weights.atomic_write(tmp_path / "a.json", "old")
    with pytest.raises(OutputError, match=r"a\.json cannot be written: the disk is full"):
        weights.atomic_write(tmp_path / "a.json", write, force=True)
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


LIMITED = """
import resource, sys, torch, onefold
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for name in sys.argv[1:]:
    try:
        onefold.save({"a": torch.zeros(100_000)}, name, force=True)
    except onefold.OnefoldError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_the_operating_system_refuses_half_way(tmp_path: Path) -> None:
    paths = [tmp_path / f"a.{form}" for form in FORMS]
    for path in paths:
        onefold.save({"a": torch.ones(3)}, path)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("would be larger than allowed") == 2, done.stdout + done.stderr
    assert names(tmp_path) == ["a.pt", "a.safetensors"]
    assert all(onefold.load(path)["a"].sum() == 3 for path in paths)


def test_atomic_write_takes_bytes_text_and_functions(tmp_path: Path) -> None:
    weights.atomic_write(tmp_path / "a", b"\x00\x01")
    weights.atomic_write(tmp_path / "b", "é")
    weights.atomic_write(tmp_path / "c", lambda path: path.write_text("c") and None)
    assert [(tmp_path / name).read_bytes() for name in "abc"] == [b"\x00\x01", "é".encode(), b"c"]


def test_interrupts_leave_nothing_behind(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.atomic_write(tmp_path / "a", write)
    with pytest.raises(KeyboardInterrupt), weights.atomic_directory(tmp_path / "d") as folder:
        write(folder / "x")
    assert names(tmp_path) == []


def test_an_output_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_text("mine")
        (tmp_path / "a").write_text("theirs")

    with pytest.raises(OutputError, match="exists already"):
        weights.atomic_write(tmp_path / "a", write)
    assert (tmp_path / "a").read_text() == "theirs"


def test_atomic_directory(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with weights.atomic_directory(out) as folder:
        (folder / "report.json").write_text("1")
        (folder / "figures").mkdir()
        (folder / "figures" / "a.svg").write_text("1")
        assert not out.exists()
    assert names(out) == ["figures", "report.json"]
    with pytest.raises(OutputError, match="--force"), weights.atomic_directory(out) as folder:
        pass
    (out / "mine.txt").write_text("somebody else's")
    with weights.atomic_directory(out, force=True) as folder:
        (folder / "report.json").write_text("2")
    assert (out / "report.json").read_text() == "2"
    assert (out / "mine.txt").exists()
    assert names(tmp_path) == ["out"]


def test_atomic_directory_keeps_the_old_one_on_errors(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with weights.atomic_directory(out) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), weights.atomic_directory(out, force=True) as folder:
        (folder / "a").write_text(str(1 // 0))
    with (
        pytest.raises(OutputError, match="full"),
        weights.atomic_directory(out, force=True) as folder,
    ):
        full_disk()
    assert (out / "a").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_check_output_says_early_what_would_fail_later(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    assert weights.check_output(tmp_path / "new") == tmp_path / "new"
    assert weights.check_output(tmp_path / "folder", folder=True) == tmp_path / "folder"  # empty
    (tmp_path / "folder" / "x").write_text("x")
    with pytest.raises(OutputError, match="--force"):
        weights.check_output(tmp_path / "folder", folder=True)
    with pytest.raises(OutputError, match="it is a folder, but the output is a file"):
        weights.check_output(tmp_path / "folder", force=True)
    with pytest.raises(OutputError, match="it is a file, but the output is a folder"):
        weights.check_output(tmp_path / "file", force=True, folder=True)
    with pytest.raises(OutputError, match=r"folder .*file does not exist"):
        weights.check_output(tmp_path / "file" / "x")


@pytest.mark.parametrize("name", ["a.html", "a.b.json", "folder.x/a.json"])
def test_known_endings_pass(name: str) -> None:
    weights.check_ending(name, "A report", (".html", ".json"))


@pytest.mark.parametrize("name", ["a", "a.htm", ".json", "a.json.gz", "folder.json/a"])
def test_other_endings_are_refused(name: str) -> None:
    with pytest.raises(OutputError, match=r"A report .* '.*'; let the name end in .html or .json."):
        weights.check_ending(name, "A report", (".html", ".json"))
