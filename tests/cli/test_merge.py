"""`onefold merge`: flags and recipes say the same, the same recipe gives the same bits, and an
output is there in full or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from killed_commands import kill_at_random

import onefold as of
from onefold.recipe import read
from onefold.sources import build_data, build_model

DATA = ["--model", "digits?width=4", "--data", "sklearn:digits", "--samples", "300"]


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def merged_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the files of `merged`, beside the folders of the tests."""
    return tmp_path_factory.mktemp("merged")


@pytest.fixture
def merged(onefold: Callable, members: list[Path], merged_once: Path, tmp_path: Path) -> Path:
    """The result of a merge of three members, scored, with its report: a copy for each test."""
    if not (merged_once / "f.safetensors").exists():
        merge_and_check(onefold, members, merged_once)
    shutil.copytree(merged_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "f.safetensors"


def merge_and_check(onefold: Callable, members: list[Path], folder: Path) -> None:
    report = [
        "--align",
        "cca",
        "--fold",
        "average",
        "--eval-split",
        "test",
        "--eval-samples",
        "200",
        "--barrier",
        "--report",
        folder / "f.html",
    ]
    result = onefold("merge", *members, *DATA, *report, "-o", folder / "f.safetensors")
    assert result.status == 0, result.err
    assert "member 1, mapped" not in result.out  # a detail, which only --details shows
    assert "plain average" in result.out
    assert "The fold: " in result.out


def test_writes_the_whole_set(merged: Path, members: list[Path]) -> None:
    assert names(merged.parent) == {"f.safetensors", "f.recipe.yaml", "f.report.json", "f.html"}
    recipe = read(merged.with_suffix(".recipe.yaml"))
    assert [member.sha256 for member in recipe.members] == [sha(path) for path in members]
    assert recipe.record is not None
    assert recipe.record.result_sha256 == sha(merged)
    assert recipe.record.torch.split("+")[0] == torch.__version__.split("+")[0]
    report = json.loads(merged.with_suffix(".report.json").read_text())
    assert report["data"]["scores"]["folded"]["n"] == 200
    assert set(report["data"]["barriers"]) == {"as trained", "aligned by cca"}
    assert len(report["data"]["spectra"]) == 3
    assert str(merged.parent) not in merged.with_suffix(".report.json").read_text()


def test_is_what_the_library_gives(merged: Path, members: list[Path]) -> None:
    models = []
    for path in members:
        models.append(build_model("digits?width=4").eval())
        models[-1].load_state_dict(of.load(path))
    result = of.merge(models, build_data("sklearn:digits", limit=300), align="cca", fold="average")
    assert all(
        torch.equal(value, result.model.state_dict()[name])
        for name, value in of.load(merged).items()
    )


def test_a_recipe_makes_the_same_bits_again(
    onefold: Callable, merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = onefold("merge", merged.with_suffix(".recipe.yaml"), "-o", "again.safetensors")
    assert result.status == 0, result.err
    warned = [line for line in result.err.splitlines() if line.startswith("warning")]
    assert all(
        "better than chance" in line for line in warned
    )  # the members are untrained, and nothing else is amiss
    again = tmp_path / "elsewhere" / "again.safetensors"
    assert sha(again) == sha(merged)
    assert names(again.parent) == {"again.safetensors", "again.recipe.yaml", "again.report.json"}
    first, second = (
        read(merged.with_suffix(".recipe.yaml")),
        read(again.with_suffix(".recipe.yaml")),
    )
    assert first.record == second.record


def test_a_recipe_written_by_hand_does_what_the_flags_do(
    onefold: Callable, merged: Path, members: list[Path], tmp_path: Path
) -> None:
    content = {
        "model": "digits?width=4",
        "members": [os.path.relpath(path, tmp_path) for path in members],
        "data": {"source": "sklearn:digits", "samples": 300},
        "align": "cca",
        "fold": "average",
        "output": "h.safetensors",
    }
    (tmp_path / "h.yaml").write_text(yaml.safe_dump(content))
    assert onefold("merge", tmp_path / "h.yaml").status == 0
    assert sha(tmp_path / "h.safetensors") == sha(merged)


def test_a_changed_member_is_noticed(
    refused: Callable, merged: Path, members: list[Path], tmp_path: Path
) -> None:
    text = merged.with_suffix(".recipe.yaml").read_text().replace(sha(members[1]), "f" * 64)
    (tmp_path / "changed.yaml").write_text(text)
    result = refused("merge", tmp_path / "changed.yaml", "-o", tmp_path / "x.safetensors")
    assert f"{members[1]} is not the file that the recipe was made with" in result
    assert not (tmp_path / "x.safetensors").exists()


def test_changed_data_is_noticed(refused: Callable, merged: Path, tmp_path: Path) -> None:
    (tmp_path / "changed.yaml").write_text(
        merged.with_suffix(".recipe.yaml").read_text().replace("skip: 0", "skip: 1", 1)
    )
    result = refused("merge", tmp_path / "changed.yaml", "-o", tmp_path / "x.safetensors")
    assert "gives other batches than the recipe was made with" in result


def test_other_bits_and_versions_are_told(onefold: Callable, merged: Path, tmp_path: Path) -> None:
    text = merged.with_suffix(".recipe.yaml").read_text()
    text = re.sub(
        "torch: .*",
        "torch: 1.0.0",
        re.sub(r"align:\n( +.*\n)+", "align: permutation\n", text, count=1),
    )
    (tmp_path / "changed.yaml").write_text(text)
    err = onefold("merge", tmp_path / "changed.yaml", "-o", tmp_path / "x.safetensors").err
    assert "warning: the recipe was made with torch 1.0.0, now" in err
    assert "warning: the result has other bits" in err


def test_a_recipe_takes_no_other_flags(refused: Callable, merged: Path) -> None:
    result = refused("merge", merged.with_suffix(".recipe.yaml"), "--align", "none")
    assert "A recipe says everything, so it takes no --align" in result


def test_outputs_are_not_overwritten_without_force(
    onefold: Callable, refused: Callable, merged: Path, members: list[Path]
) -> None:
    before = {path.name: path.read_bytes() for path in merged.parent.iterdir()}
    result = refused("merge", *members, *DATA, "--align", "none", "-o", merged)
    assert "exists already; choose another name, or give --force" in result
    assert {path.name: path.read_bytes() for path in merged.parent.iterdir()} == before
    merged.unlink()
    assert "f.recipe.yaml exists already" in refused("merge", *members, *DATA, "-o", merged)
    assert onefold("merge", *members, *DATA, "--align", "none", "--force", "-o", merged).status == 0
    assert read(merged.with_suffix(".recipe.yaml")).align == "none"


def test_a_member_is_never_overwritten(refused: Callable, members: list[Path]) -> None:
    before = sha(members[0])
    assert "is one of the inputs" in refused("merge", *members, *DATA, "--force", "-o", members[0])
    assert sha(members[0]) == before


def test_report_renders_the_same_page_again(
    onefold: Callable, refused: Callable, merged: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.html"
    assert onefold("report", merged.with_suffix(".report.json"), "-o", again).status == 0
    assert again.read_bytes() == (tmp_path / "f.html").read_bytes()
    assert "exists already" in refused("report", merged.with_suffix(".report.json"), "-o", again)
    (tmp_path / "no.json").write_text("{}")
    assert "no onefold report" in refused("report", tmp_path / "no.json")
    assert "cannot be read: No such file" in refused("report", tmp_path / "none.json")


def test_plain_averaging_needs_no_data(
    onefold: Callable, refused: Callable, members: list[Path], tmp_path: Path
) -> None:
    call = ["merge", *members[:2], "--model", "digits?width=4", "-o", tmp_path / "p.safetensors"]
    assert "give --data, or name a fold (--fold average)" in refused(*call)
    call += ["--fold", "average"]
    assert "give --data, or set --align and --repair to none" in refused(*call)
    assert onefold(*call, "--align", "none", "--repair", "none", "--weights", "3,1").status == 0
    a, b = of.load(members[0])["conv1.weight"], of.load(members[1])["conv1.weight"]
    assert torch.allclose(of.load(tmp_path / "p.safetensors")["conv1.weight"], 0.75 * a + 0.25 * b)


def test_a_torch_file_as_output(onefold: Callable, members: list[Path], tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        assert onefold("merge", *members[:2], *DATA, "-o", tmp_path / name).status == 0
    assert sha(tmp_path / "a.pt") == sha(tmp_path / "b.pt")


def test_threads_are_recorded_and_taken_again(
    onefold: Callable, members: list[Path], tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    try:
        assert (
            onefold(
                "--threads", "1", "merge", *members[:2], *DATA, "-o", tmp_path / "t.safetensors"
            ).status
            == 0
        )
        torch.set_num_threads(2)
        assert (
            onefold("merge", tmp_path / "t.recipe.yaml", "-o", tmp_path / "u.safetensors").status
            == 0
        )
        assert read(tmp_path / "u.recipe.yaml").record.threads == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_leaves_nothing_or_everything(
    members: list[Path], tmp_path: Path
) -> None:
    """Most kills are those of a merge that is over soon, as its files take a larger share of it."""
    call, states = ["merge", *map(str, members[:2]), *DATA], {}
    plain = ["--align", "none", "--fold", "average", "--repair", "none"]
    for options, attempts in ([], 8), (plain, 42):
        place = tmp_path / str(attempts)
        place.mkdir()
        states[attempts] = kill_at_random([*call, *options], "f", place, attempts)
    assert states[8]["nothing"] + states[42]["nothing"] > 5, states


def test_members_are_heard_by_what_they_saw(
    onefold: Callable, refused: Callable, members: list[Path], tmp_path: Path
) -> None:
    options = [
        "--align",
        "none",
        "--fold",
        "least_squares",
        "--ensemble",
        "classes",
        "--polish",
        "1",
    ]
    scoring = ["--eval-split", "test", "--eval-samples", "200"]
    result = onefold("merge", *members, *DATA, *options, *scoring, "-o", tmp_path / "f.safetensors")
    assert result.status == 0, result.err
    assert "are taken to be even" in result.out + result.err
    scores = json.loads((tmp_path / "f.report.json").read_text())["data"]["scores"]
    assert {"ensemble of 3", "ensemble of 3, by class", "folded"} < set(scores)
    assert sum(name.endswith(", balanced") for name in scores) == 1
    assert "the ensemble by class" in result.out
    recipe = tmp_path / "f.recipe.yaml"
    assert read(recipe).ensemble.name == "classes"
    again = onefold("merge", recipe, "-o", tmp_path / "g.safetensors")
    assert again.status == 0, again.err
    assert sha(tmp_path / "f.safetensors") == sha(tmp_path / "g.safetensors")
    for flags, message in (
        (["--ensemble", "clases"], "classes"),
        (
            ["--ensemble", "classes", "--class-shares", "0.5,0.5"],
            "shares must be 10 numbers above 0",
        ),
        (["--ensemble", "classes", "--class-shares", "0.5,a"], "--class-shares takes numbers"),
        (["--ensemble", "classes", "--class-shares", "0.5,-1"], "greater than 0"),
        (["--class-shares", "0.5,0.5"], "The merge needs --ensemble."),
    ):
        wrong = refused(
            "merge", *members, *DATA, *options[:4], *flags, "-o", tmp_path / "h.safetensors"
        )
        assert message in wrong
    shares = ",".join(["1"] * 9 + ["3"])
    uneven = onefold(
        "merge",
        *members,
        *DATA,
        *options,
        "--class-shares",
        shares,
        "-o",
        tmp_path / "u.safetensors",
    )
    assert uneven.status == 0, uneven.err
    assert sha(tmp_path / "u.safetensors") != sha(tmp_path / "f.safetensors")
