"""`onefold subspace`: all shapes end to end, killed runs that end in the same bits, several
processes, one sentence for every mistake.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from process_groups import fork_instead
from trained_folders import check_killed_at_every_moment, killed_runs, sums

import onefold as of
from onefold.recipe.reading import read_as
from onefold.recipe.subspace.document import SubspaceRecipe
from onefold.sources import build_data, build_model

MODEL = "digits?width=4"
DATA = ["--model", MODEL, "--data", "sklearn:digits", "--samples", "300"]
RUN = [*DATA, "--shape", "line", "--batch-size", "50", "--epochs", "2"]
FILES = {"midpoint.safetensors", "recipe.yaml", "report.json", "report.html"}


@pytest.mark.parametrize(
    ("shape", "vertices", "pictures"),
    [("line", 2, 2), ("curve", 3, 2), ("simplex", 3, 3), ("simplex", 4, 2)],
)
def test_every_shape_leaves_networks_report_and_a_recipe_that_makes_them_again(
    onefold: Callable, tmp_path: Path, shape: str, vertices: int, pictures: int
) -> None:
    folder = tmp_path / "run"
    call = [
        *DATA,
        "--shape",
        shape,
        "--vertices",
        str(vertices),
        "--epochs",
        "1",
        "--layerwise",
        "--seed",
        "3",
        "--eval-samples",
        "100",
    ]
    result = onefold("subspace", *call, "-o", folder)
    assert result.status == 0, result.err
    names = {f"vertex-{k}.safetensors" for k in range(vertices)} | FILES
    assert {path.name for path in folder.iterdir()} == names
    assert len(set(sums(folder).values())) == vertices + 1  # all networks differ
    recipe = read_as(SubspaceRecipe, folder / "recipe.yaml")
    assert recipe.record is not None
    assert recipe.record.data_sha256
    assert recipe.record.result_sha256 == sums(folder)["midpoint.safetensors"]

    report = json.loads((folder / "report.json").read_text())
    kinds = [block["kind"] for section in report["sections"] for block in section["blocks"]]
    assert kinds.count("picture") == pictures
    table = report["sections"][0]["blocks"][0]
    named = [row[0] for row in table["rows"]]
    assert named == [
        *(f"vertex {k}" for k in range(vertices)),
        "midpoint",
        "ensemble of 2 points",
        "ensemble of 3 points",
    ]
    assert [column["name"] for column in table["columns"]][:4] == [
        "network",
        "note",
        "accuracy",
        "standard error",
    ]
    assert [row[-1] for row in table["rows"]] == [1.0] * (vertices + 1) + [2.0, 3.0]
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == pictures + 2  # and the chart, wide and narrow
    assert "expected calibration error" in page
    assert ("over the triangle" in page) == (shape == "simplex" and vertices == 3)
    assert "The midpoint: " in result.out

    network = build_model(MODEL)
    network.load_state_dict(of.load(folder / "midpoint.safetensors"))
    assert (
        of.evaluate(network, build_data("sklearn:digits", split="test", limit=100)).accuracy
        == report["data"]["scores"]["midpoint"]["accuracy"]
    )
    middle = (len(next(iter(report["data"]["paths"].values()))["scores"]) - 1) // 2
    if shape != "simplex":  # 300 training examples, all of which a picture uses
        along = next(iter(report["data"]["paths"].values()))["scores"]
        assert along[middle]["accuracy"] == report["data"]["scores"]["midpoint"]["accuracy"]
        assert along[0]["accuracy"] == report["data"]["scores"]["vertex 0"]["accuracy"]

    again = onefold("subspace", folder / "recipe.yaml", "-o", tmp_path / "again")
    assert again.status == 0, again.err
    assert "other bits" not in again.err
    assert sums(tmp_path / "again") == sums(folder)


def test_statistics_are_those_of_the_training_data(onefold: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert (
        onefold(
            "subspace", *RUN, "--precision", "bf16-mixed", "--augment", "flip-crop", "-o", folder
        ).status
        == 0
    )
    for name in ("vertex-1", "midpoint"):
        network = build_model(MODEL)
        network.load_state_dict(of.load(folder / f"{name}.safetensors"))
        found = {key: value.clone() for key, value in network.named_buffers()}
        network.norm1.reset_running_stats()
        of.recalibrate(network, build_data("sklearn:digits", limit=300, batch_size=50))
        for key, value in network.named_buffers():
            assert torch.equal(value, found[key]), key


def test_without_evaluation_data_the_report_says_so(onefold: Callable, tmp_path: Path) -> None:
    result = onefold("subspace", *RUN, "-o", tmp_path / "run")
    assert result.status == 0, result.err
    assert "No labelled evaluation data was named, so nothing was scored" in result.out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["data"]["scores"] == {}
    assert "No labelled evaluation data was named" in (tmp_path / "run" / "report.html").read_text()
    assert report["data"]["losses"][-1] < report["data"]["losses"][0]
    assert result.err.splitlines()[0].startswith("Reading")
    assert "Epoch" not in result.err  # no bar where there is no terminal


def test_patterns_share_and_the_seed_decides(onefold: Callable, tmp_path: Path) -> None:
    for name, more in (
        ("a", []),
        ("b", ["--seed", "1"]),
        ("c", ["--exclude", "head"]),
        ("d", ["--beta", "0"]),
    ):
        assert onefold("subspace", *RUN, *more, "-o", tmp_path / name).status == 0
    first, second = (of.load(tmp_path / "c" / f"vertex-{k}.safetensors") for k in range(2))
    assert torch.equal(first["head.weight"], second["head.weight"])
    assert not torch.equal(first["conv1.weight"], second["conv1.weight"])
    midpoints = {sums(tmp_path / name)["midpoint.safetensors"] for name in "abcd"}
    assert len(midpoints) == 4


@pytest.fixture(scope="module")
def runs() -> Iterator[Callable[[str, list[str]], str]]:
    with killed_runs() as call:
        yield call


# ---- runs that are killed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("layerwise", [False, True])
def test_a_run_killed_at_any_moment_ends_in_the_same_bits(
    runs: Callable, tmp_path: Path, layerwise: bool
) -> None:
    call = [
        "subspace",
        *RUN[:-1],
        "6",
        *(["--layerwise"] * layerwise),
        "--augment",
        "flip-crop",
        "--eval-samples",
        "60",
    ]
    check_killed_at_every_moment(runs, call, tmp_path)


def test_resume_with_other_settings_or_data_is_refused(
    onefold: Callable, refused: Callable, runs: Callable, tmp_path: Path
) -> None:
    (tmp_path / "data.py").write_text(
        "import torch\nfrom onefold.sources import build_data\ndef digits(split, shuffle=False,"
        " seed=0):\n    return build_data('sklearn:digits', split=split, limit=LIMIT,"
        " shuffle=shuffle, seed=seed)\nLIMIT = 200\n"
    )
    folder = tmp_path / "run"
    call = [
        "subspace",
        "--model",
        MODEL,
        "--data",
        f"{tmp_path / 'data.py'}:digits",
        "--shape",
        "line",
        "--epochs",
        "4",
    ]
    assert runs("kept1", [*call, "-o", folder]) == "killed"
    kept = (folder / "training.pt").read_bytes()

    def told(*arguments: object) -> str:
        sentence: str = refused(*call, *arguments, "-o", folder)
        return sentence

    assert "holds a run that is not finished; give --resume" in told()
    assert "cannot be resumed with other settings: --lr is 0.2 now and was 0.1" in told(
        "--lr", "0.2", "--resume"
    )
    assert "--vertices" in told("--vertices", "2", "--resume")
    assert "give one of the two" in told("--resume", "--force")
    text = (tmp_path / "data.py").read_text()
    (tmp_path / "data.py").write_text(text.replace("LIMIT = 200", "LIMIT = 199"))
    assert "has changed since the run" in told("--resume")
    (tmp_path / "data.py").write_text(text)
    assert (folder / "training.pt").read_bytes() == kept
    (folder / "training.pt").write_bytes(kept[: len(kept) // 2])
    assert "training.pt" in told("--resume")
    (folder / "training.pt").write_bytes(kept)
    assert onefold(*call, "--resume", "-o", folder).status == 0
    whole = tmp_path / "whole"
    assert onefold(*call, "-o", whole).status == 0
    assert sums(whole) == sums(folder)
    assert "exists already" in told()
    assert "--momentum" in told("--momentum", "0.5", "--resume")
    assert sums(whole) == sums(folder)


def test_force_replaces_a_larger_subspace_as_a_whole(
    onefold: Callable, refused: Callable, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert onefold("subspace", *DATA, "--epochs", "1", "--vertices", "4", "-o", folder).status == 0
    (folder / "notes.txt").write_text("mine")
    assert (
        onefold(
            "subspace", *DATA, "--epochs", "1", "--vertices", "2", "--force", "-o", folder
        ).status
        == 0
    )
    assert {path.name for path in folder.iterdir()} == {
        "vertex-0.safetensors",
        "vertex-1.safetensors",
        "notes.txt",
        *FILES,
    }
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    for more in ([], ["--resume"]):
        assert "exists already" in refused("subspace", *RUN, *more, "-o", other)


# ---- several processes


@pytest.mark.slow
def test_two_processes_share_the_work_and_end_in_the_same_bits_again(
    onefold: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without norms and with one point for both, two processes take the steps of one, up to
    rounding.
    """
    fork_instead(monkeypatch)
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64,"
        " 16), nn.ReLU(), nn.Linear(16, 10))\n"
    )
    call = [
        "--model",
        f"{tmp_path / 'net.py'}:make",
        *DATA[2:],
        "--shape",
        "line",
        "--batch-size",
        "75",
        "--epochs",
        "3",
    ]
    for name, more in (
        ("one", []),
        ("two", ["--devices", "2"]),
        ("own", ["--devices", "2", "--draws", "per rank"]),
    ):
        result = onefold("subspace", *call, *more, "-o", tmp_path / name)
        assert result.status == 0, result.err
        assert "distributed" not in result.err
    states = {
        name: of.load(tmp_path / name / "vertex-1.safetensors") for name in ("one", "two", "own")
    }
    for key, value in states["one"].items():
        torch.testing.assert_close(states["two"][key], value, rtol=1e-3, atol=1e-5)
        assert not torch.equal(states["own"][key], states["two"][key])
    recipe = tmp_path / "own" / "recipe.yaml"
    again = onefold("subspace", recipe, "--trust", "-o", tmp_path / "again")
    assert again.status == 0, again.err
    assert sums(tmp_path / "again") == sums(tmp_path / "own")


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="elsewhere the processes are not told that their parent is gone",
)
def test_two_processes_end_with_the_one_that_started_them_and_go_on_in_the_same_bits(
    runs: Callable, tmp_path: Path
) -> None:
    call = ["subspace", *RUN[:-1], "40", "--devices", "2"]
    assert runs("kept2", [*call, "-o", tmp_path / "killed"]) == "killed"
    time.sleep(2)
    kept = (tmp_path / "killed" / "training.pt").stat().st_ino
    time.sleep(2)
    assert (tmp_path / "killed" / "training.pt").stat().st_ino == kept  # nobody writes any more
    reached = len(
        torch.load(tmp_path / "killed" / "training.pt", weights_only=True)["state"]["losses"]
    )
    assert reached < 40
    assert runs("never", [*call, "--resume", "-o", tmp_path / "killed"]) == "ended 0"
    assert runs("never", [*call, "-o", tmp_path / "whole"]) == "ended 0"
    assert sums(tmp_path / "killed") == sums(tmp_path / "whole")


@pytest.mark.slow
def test_an_error_in_one_of_several_processes_is_one_sentence(
    refused: Callable, tmp_path: Path
) -> None:
    result = refused("subspace", *RUN, "--devices", "2", "--lr", "1e30", "-o", tmp_path / "run")
    assert (
        "The loss is not finite in epoch 1; lower the learning rate, or lengthen the"
        " warm-up." in result
    )


# ---- mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "digit"], "did you mean 'digits'?"),
        (["--data", "sklearn:digit"], "did you mean 'sklearn:digits'?"),
        (["--data", "parquet:/nowhere"], "does not exist"),
        (["--epochs", "0"], "--epochs: "),
        (["--shape", "circle"], "--shape: "),
        (["--shape", "line", "--vertices", "3"], "A line has exactly 2 vertices, not 3"),
        (["--beta", "-1"], "--beta: "),
        (["--include", "cnv1"], "did you mean"),
        (["--draws", "alone"], "--draws: "),
        (["--warm-up", "2"], "leaves nothing of 2 to train in"),
        (["--augment", "mixup"], "--augment: "),
        (["--precision", "8"], "--precision: "),
        (["--precision", "16-mixed"], "needs a GPU"),
        (["--precision", "16-mixed", "--device", "auto"], "needs a GPU"),
        (["--device", "cuda:7"], "The device 'cuda:7' is not there"),
        (["--device", "tpu9"], "There is no device 'tpu9'"),
        (["--devices", "64", "--batch-size", "50"], "cannot be shared by 64 processes"),
        (["--seed", "-1"], "--seed: "),
        (["--eval-data", "sklearn:digit"], "did you mean 'sklearn:digits'?"),
        (["--skip", "5000"], "none is left after skipping 5000"),
    ],
)
def test_mistakes_are_found_before_training_and_told_in_one_sentence(
    refused: Callable,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "auto" in arguments or "16-mixed" in arguments:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = refused("subspace", *RUN, *arguments, "-o", tmp_path / "run", before="Training")
    assert message in result
    assert list(tmp_path.iterdir()) == []


def test_networks_and_data_that_do_not_fit(
    onefold: Callable, refused: Callable, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\nfrom torch import nn\nclass Own(nn.Module):\n    def __init__(self,"
        " random):\n        super().__init__()\n        self.w = nn.Parameter(torch.randn(64, 10)"
        " if random else torch.arange(640.0).view(64, 10))\n    def forward(self, x):\n       "
        " return x.flatten(1) @ self.w\ndef fixed():\n    return Own(False)\ndef fresh():\n   "
        " return Own(True)\ndef bare(split, shuffle=False):\n    return [torch.zeros(8, 1, 8,"
        " 8)]\ndef many(split, shuffle=False):\n    return [(torch.zeros(8, 1, 8, 8),"
        " torch.arange(8) + 90)]\ndef wide(split, shuffle=False):\n    return [(torch.zeros(8, 3,"
        " 8, 8), torch.arange(8))]\ndef ordered(split):\n    return [(torch.zeros(8, 1, 8, 8),"
        " torch.arange(8))]\ndef late(split, shuffle=False):\n    return [(torch.zeros(8, 1, 8, 8),"
        " torch.arange(8)), torch.zeros(8, 1, 8, 8)]\n"
    )
    place = f"{tmp_path / 'own.py'}:"
    for model, data, message in (
        (place + "fixed", "sklearn:digits", "has no reset_parameters"),
        (MODEL, place + "bare", "has no labels to train with"),
        (MODEL, place + "many", "but the network has 10 classes, numbered 0 to 9"),
        (MODEL, place + "wide", "cannot run on batch 0"),
        (MODEL, place + "ordered", "takes no argument shuffle"),
        (MODEL, place + "late", "Batch 1 of the training data has no labels"),
    ):
        result = refused(
            "subspace", "--model", model, "--data", data, "--epochs", "1", "-o", tmp_path / "run"
        )
        assert message in result
        assert not (tmp_path / "run").exists()
    scored = refused("subspace", *RUN, "--eval-data", place + "many", "-o", tmp_path / "run")
    assert "but the network has 10 classes" in scored
    assert not (tmp_path / "run").exists()
    fresh = onefold(
        "subspace", "--model", place + "fresh", *DATA[2:], "--epochs", "1", "-o", tmp_path / "run"
    )
    assert fresh.status == 0, fresh.err


def test_places_that_cannot_be_written(refused: Callable, tmp_path: Path) -> None:
    missing = refused("subspace", *RUN, "-o", tmp_path / "no" / "run")
    assert "does not exist; create it first" in missing
    (tmp_path / "file").write_text("mine")
    assert "it is a file" in refused("subspace", *RUN, "--force", "-o", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    for left_out in ("--model", "--data", "--epochs", "-o"):
        call = [*RUN, "-o", tmp_path / "run"]
        at = call.index(left_out)
        result = refused("subspace", *call[:at], *call[at + 2 :])
        assert (
            f"needs {left_out.replace('-o', '--output') if left_out == '-o' else left_out}"
            in result
        )


def test_recipes_are_for_their_own_command(
    onefold: Callable, refused: Callable, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert onefold("subspace", *RUN, "-o", folder).status == 0
    wrong = refused("merge", folder / "recipe.yaml", "-o", tmp_path / "x.safetensors")
    assert "is one of onefold subspace; run: onefold subspace" in wrong
    (tmp_path / "merge.yaml").write_text("model: digits\nmembers: [a, b]\n")
    assert "is one of onefold merge" in refused(
        "subspace", tmp_path / "merge.yaml", "-o", tmp_path / "x"
    )
    text = (folder / "recipe.yaml").read_text()
    (tmp_path / "bad.yaml").write_text(text.replace("momentum:", "momentun:"))
    assert "unknown key 'training.momentun'; did you mean 'momentum'?" in refused(
        "subspace", tmp_path / "bad.yaml", "-o", tmp_path / "x"
    )
    (tmp_path / "other.yaml").write_text(text.replace("skip: 0", "skip: 1", 1))
    assert "gives other batches than the recipe was made with" in refused(
        "subspace", tmp_path / "other.yaml", "-o", tmp_path / "x"
    )
    assert "so it takes no --" in refused(
        "subspace", folder / "recipe.yaml", "--seed", "1", "-o", tmp_path / "x"
    )
    assert not (tmp_path / "x").exists()


def test_a_missing_package_and_a_foreign_launcher(
    onefold: Callable, refused: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as changed:
        changed.setenv("WORLD_SIZE", "2")
        assert "run it without torchrun" in refused("subspace", *RUN, "-o", tmp_path / "run")
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    result = onefold("subspace", *RUN, "-o", tmp_path / "run")
    assert (result.status, result.err) == (
        2,
        (
            "error: Training needs the package lightning-fabric; install it with: pip install"
            ' "onefold[train]".\n'
        ),
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits of the system")
def test_a_disk_that_refuses_is_one_sentence_and_leaves_what_was_kept(
    onefold: Callable, refused: Callable, tmp_path: Path
) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        result = refused("subspace", *RUN, "-o", tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "training.pt cannot be written: the file would be larger than allowed here" in result
    assert list((tmp_path / "run").iterdir()) == []
    assert onefold("subspace", *RUN, "--resume", "-o", tmp_path / "run").status == 0


def test_help(onefold: Callable) -> None:
    result = onefold("subspace", "--help")
    assert result.status == 0
    for flag in ("--shape", "--resume", "--devices", "--draws", "--eval-split"):
        assert flag in result.out
