"""Files that belong together are all there or none, whatever ends their writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from onefold import weights
from onefold.weights import placing

# Puts a, b and c into place, removes old, and dies at the rename of that number.
WRITER = """
import os, sys
from pathlib import Path
from onefold.weights.placing import hidden, place_together
base, last = Path(sys.argv[1]), int(sys.argv[2])
real, count = os.replace, 0
def replace(a, b):
    global count
    count += 1
    if count == last:
        os._exit(9)
    real(a, b)
os.replace = replace
folder = hidden(base / "result")
folder.mkdir()
ready = {}
for name in "abc":
    (folder / name).write_text("new " + name)
    ready[base / name] = folder / name
place_together(folder, ready, [base / "old"])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="nothing tells whether a process lives")
@pytest.mark.parametrize("last", [1, 2, 3, 4])
@pytest.mark.parametrize("before", [False, True])
def test_a_set_is_finished_or_absent_after_a_kill(tmp_path: Path, last: int, before: bool) -> None:
    if before:
        for name in "abc":
            (tmp_path / name).write_text(f"old {name}")
    (tmp_path / "old").write_text("old")
    died = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path), str(last)], timeout=100)
    assert died.returncode == 9
    placing.finish_dead(tmp_path / "result")
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    if last == 1:  # killed before the list of places was there
        assert found == {"old": "old"} | ({n: f"old {n}" for n in "abc"} if before else {})
    else:
        assert found == {name: f"new {name}" for name in "abc"}


@pytest.mark.skipif(os.name == "nt", reason="nothing tells whether a process lives")
def test_what_dead_writers_left_goes_and_what_others_write_stays(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours = placing.hidden(tmp_path / "a").name
    left = [
        ours.replace(f"-{os.getpid()}-", f"-{gone.pid}-"),  # dead
        ours,  # this process's
        ours.replace(ours.split(".")[2][:6], "ffffff"),  # of another machine
        ".a.notes.tmp",  # the user's
        ours.replace(f"-{os.getpid()}-", f"-{gone.pid}-").replace(
            ".a.", ".b."
        ),  # of another output
    ]
    for name in left:
        (tmp_path / name).write_text("x")
    weights.atomic_write(tmp_path / "a", "new")
    assert {path.name for path in tmp_path.iterdir()} == {"a", *left[1:]}


@pytest.mark.parametrize("threads", [0, 3])
def test_an_interrupt_waits_until_all_are_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    real, end = os.replace, threading.Event()
    others = [threading.Thread(target=end.wait, args=(30,)) for _ in range(threads)]
    for other in others:
        other.start()

    def replace(a: Path, b: Path) -> None:
        real(a, b)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)

    folder = placing.hidden(tmp_path / "result")
    folder.mkdir()
    for name in "abc":
        (folder / name).write_text(name)
    placing.forget_placed()
    monkeypatch.setattr(os, "replace", replace)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            placing.place_together(folder, {tmp_path / name: folder / name for name in "abc"})
    finally:
        signal.signal(signal.SIGINT, before)
        end.set()
    assert [path.name for path in placing.placed()] == ["a", "b", "c"]
    assert all((tmp_path / name).read_text() == name for name in "abc")


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == Path.cwd().stat().st_dev,
    reason="there is no second file system",
)
def test_a_set_may_lie_on_two_file_systems(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        other, folder = Path(name), placing.hidden(tmp_path / "result")
        folder.mkdir()
        places = {other / "report": folder / "0", tmp_path / "result": folder / "1"}
        for place, file in places.items():
            file.write_text(place.name)
        placing.place_together(folder, places)
        placing.discard(folder)
        assert {path.name: path.read_text() for path in other.iterdir()} == {"report": "report"}
        assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_signals_have_their_handlers_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="x"), placing.undisturbed():
        raise ValueError("x")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_folder_is_exchanged_whole_and_keeps_the_entries_of_others(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "mine" / "deep").mkdir(parents=True)
    (out / "mine" / "deep" / "notes").write_text("mine")
    (out / "a").write_text("old")
    (out / "link").symlink_to("a")
    with weights.atomic_directory(out, force=True) as folder:
        (folder / "a").write_text("new")
        assert (out / "a").read_text() == "old"
    assert (out / "a").read_text() == "new"
    assert (out / "mine" / "deep" / "notes").read_text() == "mine"
    assert os.readlink(out / "link") == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_where_names_cannot_be_exchanged(
    tmp_path: Path, exchanges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:
        monkeypatch.setattr(sys, "platform", "other")
    for text in ("old", "new"):
        with weights.atomic_directory(tmp_path / "out", force=True) as folder:
            (folder / "a").write_text(text)
            (folder / text).write_text("")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "old", "new"}
    assert (tmp_path / "out" / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
