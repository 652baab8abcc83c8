"""`onefold merge` of folders: by options, by a document, and its refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tiny_checkpoints as tiny
import torch
from refusals import Result, sentence_of
from safetensors.torch import save_file

from onefold.checkpoints.engine.journal import staging_folder
from onefold.cli import run
from onefold.cli.merge_checkpoints import is_wanted, options

# Runs the program, and tells whether it imported torch.
TELLING = (
    "import sys; from onefold.cli import run; status = run(sys.argv[1:]);"
    "print('torch' in sys.modules, status)"
)


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    network = tiny.llama()
    return [str(tiny.write(tmp_path / f"m{i}", network, i)) for i in range(3)]


def refusal(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    capfd.readouterr()
    status = run([str(one) for one in ("merge", *arguments)])
    told = capfd.readouterr()
    return sentence_of(Result(status, told.out, told.err))


def test_options_and_the_document_that_they_leave_give_the_same(
    folders: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    how = ["--method", "task_arithmetic", "--base", folders[0], "--lambda", "0.5"]
    weights = ["--weight", "1", "--weight", "0,1"]
    assert run(["merge", *folders[1:], *how, *weights, "-o", str(out), "--threads", "1"]) == 0
    assert f"Merged 29 tensors by task_arithmetic and copied 0 into {out}" in capfd.readouterr().out
    again = tmp_path / "again"
    assert run(["merge", str(out / "mergekit_config.yml"), "-o", str(again)]) == 0
    states = [tiny.stored(Path(folder)) for folder in folders]
    merged, same = tiny.stored(out), tiny.stored(again)
    name = "model.layers.2.mlp.up_proj.weight"  # where the gradient is 1
    base, first, second = (state[name] for state in states)
    torch.testing.assert_close(merged[name], base + 0.5 * (first - base) + 0.5 * (second - base))
    assert all(torch.equal(merged[name], same[name]) for name in merged)


def test_a_dry_run_and_refusals_import_no_torch(folders: list[str], tmp_path: Path) -> None:
    how = ["--method", "linear", "-o", str(tmp_path / "out")]
    for more, status in ((["--dry-run"], 0), (["--weight", "a"], 2), (["--densty", "1"], 2)):
        program = [sys.executable, "-c", TELLING, "merge", *folders, *how, *more]
        told = subprocess.run(program, capture_output=True, text=True, check=True)
        assert told.stdout.endswith(f"False {status}\n"), told.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_gets_one_sentence(
    folders: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    told = refusal(capfd, *folders, "--method", "linaer", "-o", out)
    assert "did you mean 'linear'" in told
    assert "--output" in refusal(capfd, *folders, "--method", "linear")
    assert "--method" in refusal(capfd, *folders, "--base", folders[0], "-o", out)
    file = tmp_path / "a.yml"
    file.write_text(
        f"merge_method: linear\nmodels: [{{model: {folders[0]}}}]\nparameters:\n  wieght: 1\n"
    )
    assert "line 4" in refusal(capfd, file, "-o", out)
    assert "stands alone" in refusal(capfd, file, folders[0], "-o", out)
    assert "takes no --dtype" in refusal(capfd, file, "--dtype", "float32", "-o", out)
    assert "--as-mergekit" in refusal(capfd, *folders, "--as-mergekit", "-o", out)
    assert run(["merge", *folders, "--method", "linear", "-o", str(out)]) == 0
    assert "exists already" in refusal(capfd, *folders, "--method", "linear", "-o", out)
    assert run(["merge", *folders, "--method", "linear", "-o", str(out), "--force"]) == 0


def test_recipes_of_networks_are_not_taken_for_documents(tmp_path: Path) -> None:
    recipe, document = tmp_path / "a.yaml", tmp_path / "b.yaml"
    recipe.write_text("members: [a, b]\nfold: average\n")
    document.write_text("base_model: x\nmerge_method: ties\n")
    assert not is_wanted([str(recipe), "-o", "out"])
    assert not is_wanted(["a.safetensors", "--model", "digits"])
    assert not is_wanted([str(tmp_path / "none.yaml")])
    assert is_wanted([str(document)])
    assert is_wanted(["a", "b", "--method=ties"])


def test_an_interrupt_says_that_finished_files_are_kept(
    folders: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"

    def interrupted(*given: object, **more: object) -> None:
        staging_folder(out).mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("onefold.cli.merge_checkpoints.merge_checkpoints", interrupted)
    assert run(["merge", *folders, "--method", "linear", "-o", str(out)]) == 130
    assert "the same command goes on from there" in capfd.readouterr().err


MULTI = """name: half
merge_method: linear
models: [{{model: {0}}}, {{model: {1}}}]
parameters: {{weight: 1}}
---
merge_method: {3}
models: [{{model: half}}, {{model: {2}}}]
parameters: {{weight: 1}}
"""


def test_a_dry_run_tells_of_all_documents_and_of_the_disk(
    folders: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "c.yml", tmp_path / "out"
    file.write_text(MULTI.format(*folders, "linear"))
    assert run(["merge", str(file), "-o", str(out), "--dry-run"]) == 0
    told = capfd.readouterr()
    assert told.out.count("Would merge 29 tensors by linear and copy 0 into") == 2
    assert f"{out}-half, in 1 file of weights" in told.out.replace("\n", " ")
    assert "half is not there yet" in told.err.replace("\n", " ")
    assert "It needs up to 100 MB of disk, and" in told.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.yml", "m0", "m1", "m2"]
    file.write_text(MULTI.format(*folders, "linaer"))
    assert "did you mean 'linear'" in refusal(capfd, file, "-o", out)


def test_a_misspelt_document_is_no_recipe(
    folders: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yml"
    file.write_text(f"merge_metod: linear\nmodels: [{{model: {folders[0]}}}]\n")
    assert "did you mean 'merge_method'?" in refusal(capfd, file, "-o", tmp_path / "out")
    file.write_text(f"models: [{{model: {folders[0]}}}]\n")
    assert "lacks the key 'merge_method'" in refusal(capfd, file, "-o", tmp_path / "out")


def test_seed_and_sizes_of_files(
    folders: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    how = ["--base", folders[0], "--density", "0.5", "--dry-run"]
    dare = ["merge", *folders[1:], "--method", "dare_ties", *how, "-o", str(tmp_path / "out")]
    assert run([*dare, "--seed", "4"]) == 0
    assert "Random masks are drawn by the seed 4." in capfd.readouterr().err
    assert "--seed is -1; give" in refusal(capfd, *dare[1:], "--seed", "-1")
    assert "--threads is 0; give" in refusal(capfd, *dare[1:], "--threads", "0")
    assert "--max-memory is '1XB'; give" in refusal(capfd, *dare[1:], "--max-memory", "1XB")
    files = [f"{folder}/model.safetensors" for folder in folders]
    single = ["merge", *files, "--method", "linear", "-o", str(tmp_path / "o.safetensors")]
    assert run([*single, "--dry-run", "--max-shard-size", "1MB"]) == 0
    told = " ".join(capfd.readouterr().err.split())
    assert "warning: The greatest size of a file has no effect, as o.safetensors is a" in told
    assert run([*single, "--dry-run"]) == 0
    assert "greatest size" not in capfd.readouterr().err


def test_the_help_tells_parameters_of_one_name_apart(capfd: pytest.CaptureFixture[str]) -> None:
    (t,) = [one for one in options() if one.name == "t"]
    assert "Greatest change of an element. For nearswap." in t.help
    assert "0 is the base, 1 the other model. For slerp." in t.help
    for one in options():
        assert one.help.count("For ") <= 3
        assert ".." not in one.help


def test_one_tensor_is_told_in_the_singular(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for name in "ab":
        (tmp_path / name).mkdir()
        paths.append(str(tmp_path / name))
        save_file({"layers.0.w": torch.ones(2, 2)}, tmp_path / name / "model.safetensors")
    for more, begin in ((["--dry-run"], "Would merge 1 tensor by"), ([], "Merged 1 tensor by")):
        assert run(["merge", *paths, "--method", "linear", "-o", str(tmp_path / "o"), *more]) == 0
        told = capfd.readouterr()
        assert begin in told.out
        assert "1 tensors" not in told.out + told.err
