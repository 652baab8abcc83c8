"""`onefold persist` where it is easily wrong: every precision, and runs that are killed while a
round's file is written.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trained_folders import sums

import onefold as of
from onefold.sources import build_data, build_model

RUN = [
    "--model",
    "digits?width=4",
    "--data",
    "sklearn:digits",
    "--samples",
    "200",
    "--rounds",
    "2",
    "--batch-size",
    "50",
    "--epochs",
    "1",
]


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "bf16-mixed"])
@pytest.mark.parametrize(
    "more", [["--baselines"], ["--kernel", "function"], ["--solutions", "float16"]]
)
def test_whatever_precision_trains_the_files_are_in_that_of_the_architecture(
    onefold: Callable, tmp_path: Path, precision: str, more: list[str]
) -> None:
    result = onefold(
        "persist",
        *RUN,
        *more,
        "--precision",
        precision,
        "--val-skip",
        "300",
        "--val-samples",
        "50",
        "-o",
        tmp_path / "run",
    )
    assert result.status == 0, result.err
    validation = json.loads((tmp_path / "run" / "report.json").read_text())["data"]["validation"]
    assert len(validation) == (4 if "--baselines" in more else 2)
    data = build_data("sklearn:digits", skip=300, limit=50)
    for name, score in validation.items():
        state = of.load(tmp_path / "run" / f"{name.replace(' ', '-')}.safetensors")
        network = build_model("digits?width=4")
        assert all(state[key].dtype == own.dtype for key, own in network.state_dict().items())
        network.load_state_dict(state)
        assert of.evaluate(network, data).accuracy == score


def killed_at(arguments: list[str], moment: Callable[[str, str], bool]) -> bool:
    """Run the command in a process of its own, which kills itself before it renames a file for
    which `moment(source, target)` is true.
    """
    from onefold.cli import run

    child = os.fork()
    if child == 0:
        rename = os.replace

        def replace(source: str | Path, target: str | Path) -> None:
            if moment(str(source), str(target)):
                os.kill(os.getpid(), signal.SIGKILL)
            rename(source, target)

        os.replace = replace  # type: ignore[assignment]
        os._exit(run(arguments))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_run_killed_while_it_writes_a_round_goes_on_and_leaves_no_litter(
    onefold: Callable, tmp_path: Path
) -> None:
    torch.set_num_threads(1)  # a process that is forked from one with threads may not use them
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    call = ["persist", *RUN]
    assert onefold(*call, "-o", whole).status == 0
    again = [*call, "--resume", "-o", str(folder)]
    for name in ("round-0", "round-0", "round-1"):
        assert killed_at(
            again, lambda source, target, name=name: target.endswith(f"{name}.safetensors")
        )
        assert any(path.name.startswith(f".{name}.safetensors.") for path in folder.iterdir())
    result = onefold(*again)
    assert result.status == 0, result.err
    assert sums(folder) == sums(whole)
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("command", ["persist", "subspace"])
def test_a_run_killed_before_it_finished_a_file_begins_again(
    command: str, onefold: Callable, refused: Callable, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    more = ["--rounds", "2"] if command == "persist" else ["--shape", "line"]
    call = [command, *RUN[:6], *RUN[8:], *more, "-o", str(tmp_path / "run")]
    assert killed_at(call, lambda source, target: target.endswith("training.pt"))
    (left,) = (tmp_path / "run").iterdir()
    assert left.name.startswith(".training.pt.")
    own = tmp_path / "run" / ".kept"
    own.touch()  # somebody else's file makes it somebody else's folder
    assert "exists already" in refused(*call)
    assert left.exists()
    own.unlink()
    assert onefold(*call).status == 0
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_round_written_after_a_kill_is_the_one_written_at_the_end(
    onefold: Callable, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    folder = tmp_path / "run"
    call = ["persist", *RUN, "--resume", "-o", str(folder)]
    assert killed_at(call, lambda source, target: target.endswith("round-1.safetensors"))
    before = (folder / "round-0.safetensors").read_bytes()
    assert onefold(*call).status == 0
    assert (folder / "round-0.safetensors").read_bytes() == before


def test_validation_data_that_has_changed_is_noticed(
    onefold: Callable, refused: Callable, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(
        "from onefold.sources import build_data\ndef some(split, n=50):\n    return"
        " build_data('sklearn:digits', limit=n, skip=900)\n"
    )
    call = [
        "persist",
        *RUN,
        "--val-data",
        f"{tmp_path / 'own.py'}:some",
        "-o",
        str(tmp_path / "run"),
    ]
    assert onefold(*call).status == 0
    text = (tmp_path / "run" / "recipe.yaml").read_text()
    (tmp_path / "other.yaml").write_text(text.replace("../own.py:some", "own.py:some?n=49"))
    assert "gives other batches than the recipe was made with" in refused(
        "persist", tmp_path / "other.yaml", "--trust", "-o", tmp_path / "x"
    )
    (tmp_path / "same.yaml").write_text(text.replace("../own.py:some", "own.py:some"))
    assert onefold("persist", tmp_path / "same.yaml", "--trust", "-o", tmp_path / "x").status == 0


def test_a_round_without_a_finite_loss_is_said_and_loses_nothing(
    onefold: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onefold.errors import MembersError

    def refuse(*_: object, **__: object) -> None:
        raise MembersError(
            "The first network has no finite nll on the data; a barrier needs two sound ends."
        )

    monkeypatch.setattr("onefold.result_reports.persistent_rounds.measure_pairs", refuse)
    result = onefold("persist", *RUN, "-o", tmp_path / "run")
    assert result.status == 0, result.err
    assert (
        "The rounds could not be compared: The first network"
        in (tmp_path / "run" / "report.html").read_text()
    )


def test_an_architecture_that_always_begins_alike_is_refused_before_training(
    refused: Callable, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\ndef fixed():\n    torch.manual_seed(0)\n    return"
        " nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    result = refused(
        "persist",
        *RUN,
        "--model",
        f"{tmp_path / 'net.py'}:fixed",
        "--baselines",
        "-o",
        tmp_path / "run",
        before="Training",
    )
    assert "always begins from the same weights" in result
    assert not (tmp_path / "run").exists()
