"""What was written is read back before it gets its name; a damaged file is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors.torch import save_file

import onefold
from onefold.checkpoints.engine import checking, merging
from onefold.checkpoints.engine.journal import staging_folder
from onefold.errors import OutputError
from onefold.weights.header import read_header


def document(tmp_path: Path, method: str = "linear", **more: Any) -> Any:
    network = tiny.bert()
    paths = [str(tiny.write(tmp_path / f"m{i}", network, i, torch.bfloat16)) for i in range(3)]
    listed: Any = [{"model": path, "parameters": {"weight": 0.5}} for path in paths[1:]]
    base = {} if method == "linear" else {"base_model": paths[0]}
    return tiny.document({"merge_method": method, "models": listed, **base, **more})


def damaging(monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], file: int) -> None:
    """Let a damage happen to one of the written files, before they are read back."""
    before = merging.write_beside

    def written(plan: Any, report: Any, folder: Path, *more: Any) -> None:
        before(plan, report, folder, *more)
        damage(folder / plan.shards[file].file)

    monkeypatch.setattr(merging, "write_beside", written)


def flip(path: Path, at: int) -> None:
    """Flip one bit of a file."""
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x40]))


@pytest.mark.parametrize("method", ["linear", "ties", "dare_linear"])
@pytest.mark.parametrize("end", [0, 1])
def test_a_flipped_bit_is_refused_and_the_file_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, end: int
) -> None:
    given, out = document(tmp_path, method), tmp_path / "out"

    def damage(path: Path) -> None:
        first = path.stat().st_size - sum(
            one.end - one.begin for one in read_header(path).tensors.values()
        )
        flip(path, path.stat().st_size - 1 if end else first + 1)

    with monkeypatch.context() as patched:
        damaging(patched, damage, 1)
        with pytest.raises(OutputError, match=r"holds other values in '.*\(element \d+ is") as told:
            onefold.merge_checkpoints(given, out, max_shard_size=4000)
    assert "00002-of" in str(told.value)
    assert not out.exists()
    made = onefold.merge_checkpoints(given, out, max_shard_size=4000)
    assert made.resumed == len(made.files) - 1
    whole = onefold.merge_checkpoints(given, tmp_path / "whole", max_shard_size=4000)
    one, two = tiny.stored(made.path), tiny.stored(whole.path)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not staging_folder(out).exists()


def test_headers_and_files_that_were_cut_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, out = document(tmp_path), tmp_path / "out"

    def other_name(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data.replace(b"classifier.bias", b"classifier.bisa"))

    def other_dtype(path: Path) -> None:
        path.write_bytes(path.read_bytes().replace(b'"BF16"', b' "F16"'))

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-10])

    for damage, told in (
        (other_name, "other tensors than were merged"),
        (other_dtype, "another shape or dtype"),
        (cut, "cannot be read"),
    ):
        with monkeypatch.context() as patched:
            damaging(patched, damage, 0)
            with pytest.raises(OutputError, match=told):
                onefold.merge_checkpoints(given, out)
        assert not out.exists()


def test_an_index_that_names_another_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(path: Path) -> None:
        index = path.parent / "model.safetensors.index.json"
        text = index.read_text()
        index.write_text(text.replace("00001-of", "00003-of", 1))

    damaging(monkeypatch, damage, 0)
    with pytest.raises(OutputError, match=r"than model\.safetensors\.index\.json says"):
        onefold.merge_checkpoints(document(tmp_path), tmp_path / "out", max_shard_size=4000)


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("linear", {}),
        ("linear", {"dtype": "float32", "out_dtype": "float16"}),
        ("ties", {"parameters": {"density": 0.5}}),
        ("della", {"parameters": {"density": 0.5, "epsilon": 0.1}}),
        ("task_arithmetic", {"dtype": "float16"}),
    ],
)
def test_the_sample_is_small_and_has_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, more: dict[str, Any]
) -> None:
    monkeypatch.setattr(checking, "LEAST", 0)
    monkeypatch.setattr(checking, "SHARE", 8)
    counts = []
    before = checking.check_written

    def counted(*given: Any) -> tuple[int, int]:
        counts.append(before(*given))
        return counts[-1]

    monkeypatch.setattr(checking, "check_written", counted)
    made = onefold.merge_checkpoints(document(tmp_path, method, **more), tmp_path / "out")
    total = sum(tensor.numel() for tensor in tiny.stored(made.path).values())
    ((tensors, elements),) = counts
    assert tensors > 2
    assert 0 < elements <= total // 8


def test_ranges_of_large_tensors_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onefold.checkpoints.methods.base.BLOCK", 64)
    monkeypatch.setattr("onefold.checkpoints.engine.running.BLOCK", 64)
    given, out = document(tmp_path), tmp_path / "out"
    made = onefold.merge_checkpoints(given, out)
    name, merged = "bert.embeddings.word_embeddings.weight", tiny.stored(made.path)
    last = merged[name].numel() - 1

    def damage(path: Path) -> None:
        with open(path, "rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
        stored = read_header(path).tensors[name]
        flip(path, start + stored.begin + 2 * last)

    damaging(monkeypatch, damage, 0)
    with pytest.raises(OutputError, match=rf"'{name}' than were merged \(element {last} is"):
        onefold.merge_checkpoints(given, out, force=True)
    again = tiny.stored(out)
    assert all(torch.equal(again[one], merged[one]) for one in merged)


def test_large_tensors_are_in_the_sample_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    before = checking.check_written
    monkeypatch.setattr(checking, "check_written", lambda *x: counts.append(before(*x)))
    shape = (1 << 11, 1 << 10)  # more elements than the sample of a small merge holds
    for number in range(3):
        tensors = {f"{name}.weight": torch.randn(shape).bfloat16() for name in "abcde"}
        (tmp_path / f"m{number}").mkdir()
        save_file(tensors, tmp_path / f"m{number}" / "model.safetensors", {"format": "pt"})
    paths = [str(tmp_path / f"m{number}") for number in range(3)]
    for method, more in (("linear", {}), ("task_arithmetic", {"base_model": paths[0]})):
        listed = [{"model": path, "parameters": {"weight": 0.5}} for path in paths[1:]]
        content = {"merge_method": method, "models": listed, **more}
        onefold.merge_checkpoints(tiny.document(content), tmp_path / method)
        assert counts.pop()[0] == 5
