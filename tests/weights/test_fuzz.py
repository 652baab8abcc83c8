"""A sample of the damaged files of `benchmarks/fuzz`: no foreign error, no hang, little memory."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import onefold
from benchmarks.fuzz import archives, headers
from benchmarks.fuzz.trial import Outcome, ending_of, limited, trial

FAMILIES = [
    pytest.param(headers, ".safetensors", 600, id="headers"),
    pytest.param(archives, ".pt", 300, id="archives"),
]


@pytest.mark.skipif(os.name != "posix", reason="limits of processes are those of POSIX")
@pytest.mark.parametrize(("family", "suffix", "count"), FAMILIES)
def test_damaged_files_end_in_one_sentence(
    tmp_path: Path, family: Any, suffix: str, count: int
) -> None:
    path = tmp_path / f"file{suffix}"
    found: Counter[str] = Counter()
    faults: list[tuple[int, str, Outcome]] = []
    with limited():
        for number in range(10**6, 10**6 + count):
            damage, data = family.damaged(number)
            path.write_bytes(data)
            outcome = trial(path, traced=number % 10 == 0)
            found[outcome.ending] += 1
            assert outcome.ending == "read" or "\n" not in outcome.message.strip()
            if outcome.fault:
                faults.append((number, damage, outcome))
    assert not faults
    assert 0 < found["read"] < count / 2
    assert found["another refusal"] == 0


@pytest.mark.parametrize(("family", "suffix", "count"), FAMILIES)
def test_the_sound_files_are_read(tmp_path: Path, family: Any, suffix: str, count: int) -> None:
    for data in family.sound():
        (tmp_path / f"a{suffix}").write_bytes(data)
        assert onefold.load(tmp_path / f"a{suffix}")
    assert family.damaged(3) == family.damaged(3)


@pytest.mark.parametrize(
    ("wrong", "ending"),
    [
        (RuntimeError("no"), "FAULT: RuntimeError"),
        (onefold.OnefoldError("FILE is damaged (MemoryError)"), "FAULT: memory"),
        (onefold.OnefoldError("odd"), "another refusal"),
        ({"a": torch.zeros(10**6)}, "FAULT: tensors of 4000000"),
    ],
)
def test_faults_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Any, ending: str
) -> None:
    def load(_: Path) -> Any:
        if isinstance(wrong, Exception):
            raise wrong
        return wrong

    monkeypatch.setattr(onefold, "load", load)
    (tmp_path / "a.pt").write_bytes(b"x")
    assert trial(tmp_path / "a.pt").ending.startswith(ending)
    assert ending_of("a.pt is empty; get the file again.") == "cut short"
