"""A merge that is killed is gone on with, to the same bits; two merges at a time are refused."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from fine_tunes import family, linear, written

import onefold
from onefold.checkpoints.document import read_documents
from onefold.checkpoints.engine.finished import DamagedFile
from onefold.checkpoints.engine.journal import Journal, finished_files, staging_folder
from onefold.checkpoints.engine.merging import Settings, merge_documents
from onefold.errors import OutputError


def document(tmp_path: Path, weight: float = 0.25) -> Any:
    network = tiny.bert()
    listed = []
    for i in range(2):
        folder = tmp_path / f"m{i}"
        if not folder.exists():
            tiny.write(folder, network, i)
        listed.append({"model": str(folder), "parameters": {"weight": weight + i}})
    return tiny.document({"merge_method": "linear", "models": listed})


def killed_after(files: int, document: Any, out: Path) -> None:
    """Merge, and be killed after some finished files."""
    finished = []

    def told(file: str) -> None:
        finished.append(file)
        if len(finished) == files:
            os.kill(os.getpid(), signal.SIGKILL)

    merge_documents([document], out, Settings(1, 10**6, 4000, told=told))


def kill(files: int, document: Any, out: Path) -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=killed_after, args=(files, document, out))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="there is no such signal")
@pytest.mark.parametrize("files", [1, 3])
def test_a_killed_merge_is_gone_on_with(tmp_path: Path, files: int) -> None:
    given, out = document(tmp_path), tmp_path / "out"
    kill(files, given, out)
    assert not out.exists()
    assert staging_folder(out).is_dir()
    made = onefold.merge_checkpoints(given, out, max_shard_size=4000)
    assert made.resumed == files
    whole = onefold.merge_checkpoints(given, tmp_path / "whole", max_shard_size=4000)
    for file in made.files:
        assert (made.path / file).read_bytes() == (whole.path / file).read_bytes()
    assert not staging_folder(out).exists()
    assert {p.name for p in made.path.iterdir()} == {p.name for p in whole.path.iterdir()}


@pytest.mark.skipif(os.name == "nt", reason="there is no such signal")
def test_another_merge_begins_anew(tmp_path: Path) -> None:
    out = tmp_path / "out"
    kill(2, document(tmp_path), out)
    other = document(tmp_path, 0.5)
    made = onefold.merge_checkpoints(other, out, max_shard_size=4000)
    assert made.resumed == 0
    whole = onefold.merge_checkpoints(other, tmp_path / "whole")
    one, two = tiny.stored(made.path), tiny.stored(whole.path)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_two_merges_into_one_folder_are_refused(tmp_path: Path) -> None:
    given, out = document(tmp_path), tmp_path / "out"
    with Journal(out, "other"), pytest.raises(OutputError, match="another merge"):
        onefold.merge_checkpoints(given, out)


def test_a_journal_that_was_cut_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Journal(out, "plan") as journal:
        journal.folder.joinpath("a").touch()
        journal.finished("a", "0f")
        with open(journal.folder / "merge.done", "a") as file:
            file.write('["b", "1')
    assert finished_files(out, "plan") == {"a"}
    assert finished_files(out, "another plan") == set()
    with Journal(out, "plan") as journal:
        assert journal.done == {"a": "0f"}


@pytest.mark.skipif(os.name == "nt", reason="there is no such signal")
@pytest.mark.parametrize("damage", ["a bit", "a page", "cut", "gone", "words"])
def test_a_finished_file_that_was_damaged_is_written_anew(tmp_path: Path, damage: str) -> None:
    given, out = document(tmp_path), tmp_path / "out"
    kill(3, given, out)
    finished = sorted(finished_files(out, (staging_folder(out) / "merge.plan").read_text()))
    file = staging_folder(out) / finished[1]
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 8 * 8
    if damage == "a bit":
        data[middle] ^= 1
    if damage == "a page":
        data[middle : middle + 64] = bytes(64)
    if damage == "cut":
        del data[-8:]
    if damage == "words":
        data[middle : middle + 8] = b"onefold!"
    file.write_bytes(data)
    if damage == "gone":
        file.unlink()
    with pytest.warns(DamagedFile, match=f"{finished[1]} was changed after an earlier run"):
        made = onefold.merge_checkpoints(given, out, max_shard_size=4000)
    assert made.resumed == 2
    assert sum("is written anew" in note for note in made.warned) == 1
    assert set(made.warned) <= set(made.notes)
    whole = onefold.merge_checkpoints(given, tmp_path / "whole", max_shard_size=4000)
    assert not any("anew" in note for note in whole.notes)
    for name in made.files:
        assert (made.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_result_of_a_document_before_that_was_changed_is_neither_taken_nor_replaced(
    tmp_path: Path,
) -> None:
    base, first, second = family(tmp_path, tiny.llama)
    path = written(tmp_path / "c.yml", linear([base, first], name="half"), linear(["half", second]))
    whole = onefold.merge_checkpoints(path, tmp_path / "whole")
    documents = read_documents(path)
    onefold.merge_checkpoints(documents[:1], tmp_path / "out-half")
    file = tmp_path / "out-half" / "model.safetensors"
    good = file.read_bytes()
    file.write_bytes(good[:-4] + bytes(4))
    with pytest.raises(OutputError, match=r"model.safetensors was changed after .* give --force"):
        onefold.merge_checkpoints(path, tmp_path / "out")
    assert file.read_bytes() == good[:-4] + bytes(4)
    assert not (tmp_path / "out").exists()
    made = onefold.merge_checkpoints(path, tmp_path / "out", force=True)
    assert file.read_bytes() == good
    assert made.before[0].resumed == 0
    name = "model.safetensors"
    assert (made.path / name).read_bytes() == (whole.path / name).read_bytes()
