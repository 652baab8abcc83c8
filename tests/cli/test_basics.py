"""The program answers at once, says one sentence if something is wrong, and lists its methods."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onefold import __version__

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
    "NO_COLOR": "1",
    "OMP_NUM_THREADS": "1",
}
PROGRAM = [sys.executable, "-c", "from onefold.cli import main; main()"]
HEAVY = ("torch", "numpy", "scipy", "matplotlib", "sklearn", "pyarrow", "timm")
NETWORK = ["--model", "digits", "--data", "sklearn:digits"]
MERGE = ["merge", __file__, __file__, *NETWORK, "-o", "out.safetensors"]
# What is wrong -> the sentence.
MISTAKES: list[tuple[list[str], str]] = [
    (["mrge"], "There is no command 'mrge'; did you mean 'merge'?"),
    (["merge", "--alin", "cca"], "There is no option --alin of onefold merge; did you mean "),
    (
        [*MERGE, "--align", "permutaton"],
        "The merge, --align: there is no matcher named 'permutaton'; did you mean 'permutation'?",
    ),
    (
        [*MERGE, "--split", "tests"],
        "The merge, --split: it must be 'train' or 'test' (found: 'tests').",
    ),
    (
        [*MERGE, "--batch-size", "0"],
        "The merge, --batch-size: it must be greater than or equal to 1 (found: 0).",
    ),
    ([*MERGE, "--seed", "one"], "Invalid value for '--seed': it takes a whole number; see"),
    (["merge", "none", *MERGE[1:]], "cannot be read (No such file or directory); check the path."),
    (["merge", "none.yaml"], "The recipe none.yaml cannot be read: No such file or directory;"),
    (["eval", __file__, "--model", "digits"], "The evaluation needs --data; see `onefold eval"),
    (["report", "none.json"], "The report none.json cannot be read: No such file or directory;"),
    (["methods", "nothing-like-this"], "Nothing is named like 'nothing-like-this'; run"),
]
# Runs the program, and tells on standard error what it imported.
TELLING = (
    "import sys; from onefold.cli import run; status = run(sys.argv[1:]);"
    f"print('loaded:', [m for m in {HEAVY!r} if m in sys.modules], status, file=sys.stderr)"
)


def answer(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", TELLING, *arguments]
    return subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["methods"],
        *([name, "--help"] for name in ("methods", "merge", "soft", "persist", "eval", "inspect")),
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = answer(arguments)
    assert done.stderr.strip() == "loaded: [] 0"
    assert any(text in done.stdout for text in ("Usage", f"onefold {__version__}", "procrustes"))


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES)
def test_a_mistake_is_answered_before_anything_heavy_is_imported(
    onefold: Callable, arguments: list[str], sentence: str
) -> None:
    done = answer(arguments)
    told, loaded = done.stderr.strip().split("\n")
    assert sentence in told
    assert loaded == "loaded: [] 2"
    # In a process that has imported all of it, the command itself says the same.
    assert onefold(*arguments).err.strip() == told


def test_import_of_the_package_imports_no_torch() -> None:
    subprocess.run(
        [sys.executable, "-c", "import onefold, sys; assert 'torch' not in sys.modules"],
        env=ENVIRONMENT,
        check=True,
    )


def test_version(onefold: Callable) -> None:
    assert onefold("--version").out == f"onefold {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["merge", "--nonsense"], ["merge"], ["--threads", "0", "methods"]]
)
def test_wrong_usage_exits_with_2(onefold: Callable, arguments: list[str]) -> None:
    assert onefold(*arguments).status == 2


def test_an_error_is_one_line_without_a_traceback(onefold: Callable) -> None:
    result = onefold("merge", "a.yaml")
    assert (result.status, result.out) == (2, "")
    assert (
        result.err
        == "error: The recipe a.yaml cannot be read: No such file or directory; check the path.\n"
    )


def test_debug_shows_the_traceback_wherever_it_stands(onefold: Callable) -> None:
    from onefold.errors import RecipeError

    for arguments in (["--debug", "merge", "a.yaml"], ["merge", "a.yaml", "--debug"]):
        with pytest.raises(RecipeError):
            onefold(*arguments)


def test_an_unexpected_error_is_one_sentence_too(
    onefold: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("onefold.cli.command.read_as", broken)
    result = onefold("merge", "a.yaml")
    assert result.status == 1
    assert (
        result.err
        == "error: something unexpected went wrong (ZeroDivisionError: by zero); run again with"
        " --debug to see where.\n"
    )


def test_an_interrupt_is_one_line_and_130(
    onefold: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onefold.cli.command.read_as", stopped)
    result = onefold("merge", "a.yaml")
    assert (result.status, result.err) == (130, "error: interrupted; no output was written.\n")


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_program_politely(tmp_path: Path, kind: signal.Signals) -> None:
    """A file of methods reads a named pipe that nobody writes to, until the signal comes."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "wait.py").write_text(f"open({str(tmp_path / 'pipe')!r}).read()")
    # Whoever runs the tests in the background has SIGINT ignored, and so would have the program.
    before = signal.signal(kind, signal.SIG_DFL)
    try:
        process = subprocess.Popen(
            [*PROGRAM, "merge", "--use", str(tmp_path / "wait.py")],
            env=ENVIRONMENT,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(kind, before)
    with open(tmp_path / "pipe", "w"):  # returns once the program has opened the pipe
        process.send_signal(kind)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "error: interrupted; no output was written.\n")


def test_methods_lists_everything_and_filters(onefold: Callable) -> None:
    everything = onefold("methods").out
    for name in ("cca", "permutation", "procrustes", "average", "sklearn:digits", "vgg11"):
        assert name in everything
    assert "leaky_relu" not in everything
    assert "leaky_relu" in onefold("methods", "operator rule").out
    matchers = onefold("methods", "matcher").out
    assert "procrustes" in matchers
    assert "sklearn:digits" not in matchers
    assert "cca" in onefold("methods", "canon*corr").out
    assert onefold("methods", "nothing-like-this").err.startswith(
        "error: Nothing is named like 'nothing-like-this'"
    )


def test_every_method_has_a_summary(onefold: Callable) -> None:
    onefold("methods")
    from onefold.registry import FAMILIES

    assert {"matcher", "fold", "data source", "model source"} <= set(FAMILIES)
    assert [
        (kind, e.name)
        for kind, family in FAMILIES.items()
        for e in family
        if kind != "operator rule" and not e.summary
    ] == []


def test_inspect_prints_the_table_and_the_proof(onefold: Callable) -> None:
    result = onefold("inspect", "digits?width=4", "--shape", "1,8,8", "--verify")
    assert result.status == 0, result.err
    assert "3 groups" in result.out
    assert "error" in result.out
    spec = json.loads(
        onefold("inspect", "digits?width=4", "--data", "sklearn:digits", "--json").out
    )
    assert spec["is"] == "SymmetrySpec"


def test_inspect_takes_a_checkpoint(
    onefold: Callable, refused: Callable, members: list[Path]
) -> None:
    assert onefold("inspect", "digits?width=4", members[0], "--shape", "1x8x8").status == 0
    assert "does not fit the network" in refused(
        "inspect", "digits?width=5", members[0], "--shape", "1,8,8"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--shape", "1,8,8", "--data", "sklearn:digits"],
            "Inspecting needs an example input; give either --shape",
        ),
        ([], "Inspecting needs an example input; give either --shape"),
        (
            ["--shape", "1,eight"],
            "--shape takes whole numbers separated by commas, as 3,32,32, not '1,eight'.",
        ),
        (
            ["--data", "sklearn:digit"],
            "There is no data source named 'sklearn:digit'; did you mean 'sklearn:digits'?",
        ),
    ],
)
def test_inspect_refuses(refused: Callable, arguments: list[str], message: str) -> None:
    result = refused("inspect", "digits", *arguments)
    assert result.startswith(message)


def test_eval_scores_members_and_ensemble(onefold: Callable, members: list[Path]) -> None:
    call = ["eval", *members, "--model", "digits?width=4", "--data", "sklearn:digits"]
    result = onefold(*call)
    assert result.status == 0, result.err
    for text in ("m0.safetensors", "ensemble of 3", "accuracy (%)", "NLL (nats)", "540"):
        assert text in result.out
    found = json.loads(onefold(*call, "--json", "--samples", "100").out)
    assert [scores["n"] for scores in found["members"]] == [100, 100, 100]
    assert found["ensemble"]["members"] == 3


def test_eval_refuses_unlabelled_data(
    refused: Callable, members: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "d.py").write_text(
        "import torch\ndef make(split):\n    return [torch.zeros(3, 1, 8, 8)]\n"
    )
    result = refused(
        "eval", members[0], "--model", "digits?width=4", "--data", f"{tmp_path}/d.py:make"
    )
    assert result.endswith("has no labels to score with; choose other data.")


def test_align_saves_what_merge_takes(
    onefold: Callable, refused: Callable, members: list[Path], tmp_path: Path
) -> None:
    saved, data = (
        tmp_path / "a.safetensors",
        ["--model", "digits?width=4", "--data", "sklearn:digits", "--samples", "300"],
    )
    result = onefold("align", *members[:2], *data, "--align", "permutation", "-o", saved)
    assert result.status == 0, result.err
    assert "mean correlation" in result.out
    rows = json.loads(onefold("align", *members[:2], *data, "--align", "permutation", "--json").out)
    assert {row["matcher"] for row in rows} == {"permutation"}
    for name, how in (("x", ["--alignment", saved]), ("y", ["--align", "permutation"])):
        assert (
            onefold(
                "merge", *members[:2], *data, *how, "-o", tmp_path / f"{name}.safetensors"
            ).status
            == 0
        )
    assert (tmp_path / "x.safetensors").read_bytes() == (tmp_path / "y.safetensors").read_bytes()
    assert "exists already" in refused("align", *members[:2], *data, "-o", saved)
