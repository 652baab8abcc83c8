"""Bad input gets one clear sentence on the command line, and nothing is written."""

from __future__ import annotations

import errno
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import onefold as of

MODEL = ["--model", "digits?width=4"]
DATA = ["--data", "sklearn:digits", "--samples", "300"]


@pytest.fixture
def refuses(refused: Callable, members: list[Path], tmp_path: Path) -> Callable[..., str]:
    """Merge the first member with another checkpoint; returns the one line of the error, once it is
    sure that nothing was written.
    """

    def call(
        other: Path,
        *arguments: Any,
        model: list[str] = MODEL,
        data: list[str] = DATA,
        first: Path | None = None,
    ) -> str:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        files = (first or members[0], other)
        end = ("-o", out / "f.safetensors")
        told: str = refused("merge", *files, *model, *data, *arguments, *end)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
        return told

    return call


def changed(members: list[Path], folder: Path, **changes: Tensor | None) -> Path:
    """The second member with tensors replaced, added or (None) left out, written unchecked."""
    state = {
        **of.load(members[1]),
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    save_file(
        {name: value for name, value in state.items() if value is not None},
        folder / "bad.safetensors",
        metadata={"format": "pt"},
    )
    return folder / "bad.safetensors"


def test_members_of_different_shapes(
    refuses: Callable, members: list[Path], tmp_path: Path
) -> None:
    bad = changed(members, tmp_path, conv2__weight=torch.zeros(9, 4, 3, 3))
    assert (
        f"The members differ in shape: 'conv2.weight' is (8, 4, 3, 3) in {members[0]} but (9, 4, 3,"
        f" 3) in {bad}" in refuses(bad)
    )


def test_missing_and_extra_keys(refuses: Callable, members: list[Path], tmp_path: Path) -> None:
    message = refuses(changed(members, tmp_path, head__weight=None, tail__weight=torch.ones(2)))
    assert "bad.safetensors lacks 'head.weight'" in message
    assert "m0.safetensors lacks 'tail.weight'" in message


def test_members_of_another_architecture_than_named(refuses: Callable, members: list[Path]) -> None:
    message = refuses(members[1], model=["--model", "digits?width=8"])
    assert (
        f"{members[0]} does not fit the network DigitsNet: 'conv1.weight' has shape (4, 1, 3, 3) in"
        " the file, but (8, 1, 3, 3)" in message
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(
    refuses: Callable, members: list[Path], tmp_path: Path, value: float
) -> None:
    bad = changed(members, tmp_path, head__bias=torch.full((10,), value))
    assert f"{bad} is not finite: 'head.bias' holds 10 NaN or infinite values" in refuses(bad)


def test_integer_weights(refuses: Callable, members: list[Path], tmp_path: Path) -> None:
    bad = changed(members, tmp_path, head__weight=torch.ones(10, 32, dtype=torch.int8))
    assert "integer weights: 'head.weight' is int8" in refuses(bad)
    every = {name: value.long() for name, value in of.load(members[1]).items()}
    save_file(every, tmp_path / "long.safetensors")
    assert "differ in type: 'conv1.weight'" in refuses(tmp_path / "long.safetensors")


def test_a_truncated_file(refuses: Callable, members: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(members[1].read_bytes()[:-100])
    assert "cut.safetensors is cut short" in refuses(tmp_path / "cut.safetensors")
    torch.save(of.load(members[1]), tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:-1000])
    assert "cut.pt" in refuses(tmp_path / "cut.pt")


class Malice:
    """What a hostile pickle does: leave a mark when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_a_hostile_pickle_runs_nothing(refuses: Callable, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    torch.save({"state_dict": Malice(mark)}, tmp_path / "hostile.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malice(mark)))
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Malice(mark)))
    for name in ("hostile.pt", "plain.pt", "zip.pt"):
        assert name in refuses(tmp_path / name)
        assert not mark.exists()
    assert "run code" in refuses(tmp_path / "hostile.pt")


def test_a_missing_file(refuses: Callable, tmp_path: Path) -> None:
    assert "none.safetensors" in refuses(tmp_path / "none.safetensors")


def test_an_existing_output(refuses: Callable, members: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "f.safetensors").write_text("precious")
    assert "f.safetensors exists already; choose another name, or give --force" in refuses(
        members[1]
    )


def test_a_missing_output_folder(refused: Callable, members: list[Path], tmp_path: Path) -> None:
    result = refused("merge", *members[:2], *MODEL, *DATA, "-o", tmp_path / "no" / "f.safetensors")
    assert f"the folder {tmp_path / 'no'} does not exist; create it first" in result


def test_a_full_disk(
    refuses: Callable, members: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)  # where file systems that write late report it
    assert refuses(members[1]).endswith(
        "out/f.safetensors cannot be written: the disk is full; free some space or choose another"
        " place."
    )


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk"
)
def test_a_really_full_disk(refused: Callable, members: list[Path], tmp_path: Path) -> None:
    import subprocess

    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(tmp_path)], capture_output=True
    ).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        result = refused("merge", *members[:2], *MODEL, *DATA, "-o", tmp_path / "f.safetensors")
        message = (
            rf"{tmp_path}/f\.\S+ cannot be written: the disk is full; free some space or"
            r" choose another place\."
        )
        assert re.fullmatch(message, result)
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def source(folder: Path, body: str) -> list[str]:
    """A data source of one function."""
    (folder / "data.py").write_text(f"import torch\ndef make(split):\n    return {body}\n")
    return ["--data", f"{folder}/data.py:make"]


def test_an_empty_loader(refuses: Callable, members: list[Path], tmp_path: Path) -> None:
    assert "calibration data yielded no batch" in refuses(members[1], data=source(tmp_path, "[]"))


def test_an_iterator_as_loader(refuses: Callable, members: list[Path], tmp_path: Path) -> None:
    assert "can be read only once" in refuses(
        members[1], data=source(tmp_path, "iter([torch.zeros(3, 1, 8, 8)])")
    )


def test_too_few_samples_for_the_widest_group(
    refuses: Callable, members: list[Path], tmp_path: Path
) -> None:
    message = refuses(
        members[1], "--fold", "average", data=source(tmp_path, "[torch.randn(1, 1, 8, 8)]")
    )
    assert "samples" in message
    assert "8" in message


def test_batches_of_the_wrong_dtype(refuses: Callable, members: list[Path], tmp_path: Path) -> None:
    message = refuses(
        members[1], data=source(tmp_path, "[torch.zeros(64, 1, 8, 8, dtype=torch.float64)]")
    )
    assert (
        "The network's parameters are float32, but not the inputs of batch 0 (inputs (64, 1, 8, 8)"
        " float64)" in message
    )
    message = refuses(
        members[1], data=source(tmp_path, "[torch.zeros(64, 1, 8, 8, dtype=torch.int64)]")
    )
    assert "DigitsNet cannot run on batch 0 (inputs (64, 1, 8, 8) int64)" in message


def test_batches_of_the_wrong_shape(refuses: Callable, members: list[Path], tmp_path: Path) -> None:
    assert "(64, 3, 8, 8)" in refuses(
        members[1], data=source(tmp_path, "[torch.zeros(64, 3, 8, 8)]")
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_a_device_that_is_not_there(refuses: Callable, members: list[Path]) -> None:
    assert (
        refuses(members[1], "--device", "cuda")
        == "The device 'cuda' is not there: torch sees 0 CUDA devices; use --device cpu."
    )
    assert (
        refuses(members[1], "--device", "gpu")
        == "There is no device 'gpu'; use cpu, cuda or cuda:N."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--align", "permutaton"],
            (
                "The merge, --align: there is no matcher named 'permutaton'; did you mean"
                " 'permutation'?"
            ),
        ),
        (
            ["--fold", "avrage"],
            "The merge, --fold: there is no fold named 'avrage'; did you mean 'average'?",
        ),
        (["--repair", "ful"], "The merge: there is no repair 'ful'; did you mean 'full'?"),
        (["--split", "dev"], "The merge, --split: it must be 'train' or 'test' (found: 'dev')."),
        (
            ["--reference", "2"],
            "The merge: --reference is 2, but there are only 2 members, counted from 0.",
        ),
        (
            ["--weights", "1,x"],
            "--weights takes numbers separated by commas, as 0.7,0.3, not '1,x'.",
        ),
        (
            ["--weights", "1,2,3"],
            "The merge: --weights has 3 numbers for 2 members; give one for each.",
        ),
        (["--barrier"], "The merge: --barrier needs labelled data, so give --eval-data too."),
        (
            ["--report", "page.txt"],
            "The report cannot be written as 'page.txt'; let the name end in .html.",
        ),
        (
            ["--align", "cca", "--alignment", "x"],
            "The merge, --align: it cannot stand beside --alignment; leave one of them out.",
        ),
        (
            ["--skip", "1257"],
            (
                "The train split of 'sklearn:digits' has 1257 examples, so none is left after"
                " skipping 1257; skip fewer."
            ),
        ),
    ],
)
def test_wrong_flags(
    refuses: Callable, members: list[Path], arguments: list[str], message: str
) -> None:
    assert refuses(members[1], *arguments) == message


def test_a_merge_needs_two_members_a_model_and_an_output(
    refused: Callable, members: list[Path], tmp_path: Path
) -> None:
    assert "needs at least 2 entries" in refused(
        "merge", members[0], *MODEL, *DATA, "-o", tmp_path / "f.safetensors"
    )
    assert "The merge needs --model" in refused(
        "merge", *members, *DATA, "-o", tmp_path / "f.safetensors"
    )
    assert "The merge needs --output" in refused("merge", *members, *DATA, *MODEL)


UNTRACEABLE = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = torch.nn.Linear(8, 6), torch.nn.BatchNorm1d(6)
        self.second = torch.nn.Linear(6, 3)
    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        if float(x.detach().numpy().sum()) > 1e9:  # numpy cannot be traced
            x = x * 2
        return self.second(x)
def build():
    return Net()
def data(split):
    return [torch.randn(64, 8, generator=torch.Generator().manual_seed(0))]
"""


def test_a_network_that_cannot_be_traced(
    refuses: Callable, onefold: Callable, tmp_path: Path
) -> None:
    from onefold.sources import build_model

    code = tmp_path / "net.py"
    code.write_text(UNTRACEABLE)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)  # some draws of so small a network are taken for kin
        of.save(build_model(f"{code}:build"), tmp_path / f"{name}.safetensors")
    model, data = ["--model", f"{code}:build"], ["--data", f"{code}:data"]
    message = refuses(
        tmp_path / "b.safetensors",
        "--align",
        "cca",
        first=tmp_path / "a.safetensors",
        model=model,
        data=data,
    )
    assert "torch.export" in message
    assert "--align none" in message
    both = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    result = onefold(
        "merge", *both, *model, *data, "--align", "none", "-o", tmp_path / "f.safetensors"
    )
    assert result.status == 0, result.err
    assert result.out.startswith("The default took member ")  # which needs no trace
    result = onefold(
        "merge",
        *both,
        *model,
        *data,
        "--align",
        "none",
        "--fold",
        "average",
        "-o",
        tmp_path / "f.safetensors",
        "--force",
    )
    assert "warning: only batch-norm statistics can be repaired" in result.err
    mean = sum(of.load(path)["first.weight"] for path in both) / 2
    assert torch.allclose(of.load(tmp_path / "f.safetensors")["first.weight"], mean)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("sklearn:digit", "no data source named 'sklearn:digit'; did you mean 'sklearn:digits'"),
        ("parquet:nowhere", "nowhere of the data source"),
    ],
)
def test_data_that_cannot_be_meant_is_refused_before_the_members_are_read(
    refused: Callable, members: list[Path], tmp_path: Path, source: str, message: str
) -> None:
    result = refused(
        "merge",
        *members,
        *MODEL,
        "--data",
        source,
        "-o",
        tmp_path / "f.safetensors",
        before="Reading",
    )
    assert message in result


UNTRACEABLE_LINES = {
    "a branch on numbers": "x = x * 2 if x.sum() > 0 else x",
    "a number taken out": "x = x[:, : int(x.abs().max() > 0) + 5]",
    "a loop as long as the data say": "x = x + len(range(int(x.sum().abs()) + 1))",
    "numpy": "x = x + float(x.detach().numpy().sum() > 1e9)",
    "an error of its own": "assert type(x) is torch.Tensor, 'plain tensors only'",
}


@pytest.mark.parametrize("line", UNTRACEABLE_LINES)
@pytest.mark.parametrize("command", ["merge", "align", "inspect"])
def test_a_trace_that_fails_prints_the_sentence_alone(
    refused: Callable, tmp_path: Path, command: str, line: str
) -> None:
    from onefold.sources import build_model

    code = tmp_path / "net.py"
    code.write_text(
        "import torch\nfrom torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b = nn.Linear(64, 6), nn.Linear(6, 10)\n"
        f"    def forward(self, x):\n        x = self.a(x.flatten(1)).relu()\n"
        f"        {UNTRACEABLE_LINES[line]}\n        return self.b(x)\n"
    )
    name = f"{code}:Net"
    files = [of.save(build_model(name), tmp_path / f"{letter}.safetensors") for letter in "ab"]
    call = {
        "inspect": [name, "--shape", "1,8,8"],
        "merge": [*files, "--align", "cca", "-o", tmp_path / "f.safetensors"],
        "align": files,
    }[command]
    if command != "inspect":
        call = [*call, "--model", name, *DATA]
    assert "torch.export cannot trace Net" in refused(command, *call)
