"""Files that belong together are finished first, and placed or refused as one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

import onefold
from onefold.errors import OutputError, WeightsError
from onefold.weights import checksum, placing
from onefold.weights.together import together


def test_nothing_is_there_before_all_is_placed(tmp_path: Path) -> None:
    network, net, text = nn.Linear(3, 2), tmp_path / "net.safetensors", tmp_path / "note.txt"
    (tmp_path / "old.txt").write_text("old")
    placing.forget_placed()
    with together(tmp_path / "results", [text, net]) as new:
        digest = new.save(network, net, {"by": "test"})
        new.write("hello", text)
        assert not net.exists()
        assert not text.exists()
        new.place(remove=[tmp_path / "old.txt", tmp_path / "never.txt"])
    assert sorted(os.listdir(tmp_path)) == ["net.safetensors", "note.txt"]
    assert digest == checksum(net)
    assert text.read_text() == "hello"
    assert torch.equal(onefold.load(net)["weight"], network.weight)
    assert placing.placed() == [text, net]  # in the order that was asked for


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError, OSError])
def test_an_error_leaves_what_was_there(tmp_path: Path, failure: type[BaseException]) -> None:
    (tmp_path / "a.txt").write_text("old")

    def broken_off() -> None:
        with together(tmp_path / "r", [tmp_path / "a.txt"]) as new:
            new.write("new", tmp_path / "a.txt")
            raise failure

    with pytest.raises(failure):
        broken_off()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}


def test_without_place_nothing_comes_and_nothing_counts_as_written(tmp_path: Path) -> None:
    placing.forget_placed()
    with together(tmp_path / "r", [tmp_path / "net.pt"]) as new:
        new.save(nn.Linear(2, 2), tmp_path / "net.pt", {})
    assert os.listdir(tmp_path) == []
    assert placing.placed() == []


@pytest.mark.parametrize("name", ["a.txt", "b.txt"])
def test_a_file_that_appears_meanwhile_keeps_all_away(tmp_path: Path, name: str) -> None:
    places = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for force in (False, True):
        with together(tmp_path / "r", places) as new:
            for place in places:
                new.write("new", place)
            (tmp_path / name).write_text("somebody's")
            if force:
                new.place(force=True)
            else:
                with pytest.raises(OutputError, match=rf"{name} exists already"):
                    new.place()
        there = {path.name: path.read_text() for path in tmp_path.iterdir()}
        wanted = {place.name: "new" for place in places} if force else {name: "somebody's"}
        assert there == wanted


def test_messages_name_the_place_and_not_the_hidden_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    net, text = tmp_path / "net.safetensors", tmp_path / "note.txt"
    with together(tmp_path / "r", [net, text]) as new:
        monkeypatch.setattr(os, "fsync", full)
        for refuses, place in (
            (lambda: new.save(nn.Linear(2, 2), net, {}), net),
            (lambda: new.write("x", text), text),
        ):
            with pytest.raises(OutputError) as caught:
                refuses()
            assert str(caught.value).startswith(f"{place} cannot be written: the disk is full")
            assert ".tmp" not in str(caught.value)


def test_a_network_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    nn.init.constant_(network.weight, float("nan"))
    net = tmp_path / "net.safetensors"
    with pytest.raises(WeightsError), together(tmp_path / "r", [net]) as new:
        new.save(network, net, {})
    assert os.listdir(tmp_path) == []
