"""The demo: real training, honest figures, and a folder from which its fold can be made again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import onefold as of
from onefold.demo.run import MEMBERS, MODEL, Outcome, run
from onefold.demo.train import train
from onefold.recipe import read
from onefold.report import Report
from onefold.sources import build_data, build_model


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(tmp_path_factory.mktemp("demo") / "out")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that must be the same for the same seed; folded.report.json tells how
    long it took, so it is left out.
    """
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "folded.report.json"
    }


def accuracies(demo: Outcome) -> dict[str, float]:
    return {str(row[0]): float(row[1]) for row in demo.table.rows}  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_default_pays_and_the_other_ways_do_not(demo: Outcome) -> None:
    found = accuracies(demo)
    best = max(found[f"member {k}"] for k in range(MEMBERS))
    assert best < 75, "each member knows half of the digits well"
    assert found["ensemble of 2"] > best + 15
    assert found["the default"] > best + 10
    assert demo.best == "the default"
    for other in ("plain average", "permutation, repaired", "CCA, repaired"):
        assert found[other] < found["the default"] - 5


@pytest.mark.slow
def test_the_members_saw_different_digits(demo: Outcome) -> None:
    test = build_data("sklearn:digits", split="test")
    low = test.labels < 5  # type: ignore[attr-defined]
    for k, own in enumerate((low, ~low)):
        with torch.no_grad():
            answers = torch.cat(
                [loaded(demo.folder / f"member-{k}.safetensors")(x) for x, _ in test]
            )
        right = answers.argmax(-1) == test.labels  # type: ignore[attr-defined]
        assert right[own].float().mean() > right[~own].float().mean() + 0.3


@pytest.mark.slow
def test_the_table_says_what_each_network_costs(demo: Outcome) -> None:
    costs = {row[0]: row[-2] for row in demo.table.rows}
    assert [column.name for column in demo.table.columns][-2] == "inference cost"
    assert (costs["member 0"], costs["ensemble of 2"], costs["CCA, repaired"]) == (1.0, 2.0, 1.0)
    assert demo.best in costs
    assert demo.verdict.startswith(f"The best fold ({demo.best})")


@pytest.mark.slow
def test_the_folder_is_complete(demo: Outcome) -> None:
    expected = {
        "folded.safetensors",
        "folded.recipe.yaml",
        "folded.report.json",
        "report.html",
        *(f"member-{k}.safetensors" for k in range(MEMBERS)),
    }
    assert {path.name for path in demo.folder.iterdir()} == expected
    states = [of.load(demo.folder / f"member-{k}.safetensors") for k in range(MEMBERS)]
    assert not torch.equal(states[0]["conv1.weight"], states[1]["conv1.weight"])
    page = (demo.folder / "report.html").read_text()
    for text in ("plain average", "canonical correlations", "barrier", "NLL", demo.best):
        assert text in page
    Report.from_json((demo.folder / "folded.report.json").read_text())
    assert not re.search(
        r"\.out\.\w+\.tmp", "".join(p.read_text(errors="ignore") for p in demo.folder.iterdir())
    )


@pytest.mark.slow
def test_the_recipe_makes_the_fold_again(demo: Outcome, onefold: Callable, tmp_path: Path) -> None:
    result = onefold(
        "merge", demo.folder / "folded.recipe.yaml", "-o", tmp_path / "again.safetensors"
    )
    assert result.status == 0, result.err
    assert (tmp_path / "again.safetensors").read_bytes() == (
        demo.folder / "folded.safetensors"
    ).read_bytes()
    found = of.evaluate(
        loaded(tmp_path / "again.safetensors"), build_data("sklearn:digits", split="test")
    )
    assert 100 * found.accuracy == pytest.approx(accuracies(demo)[demo.best])


def loaded(path: Path) -> torch.nn.Module:
    model = build_model(MODEL)
    model.load_state_dict(of.load(path))
    return model.eval()


@pytest.mark.slow
def test_test_images_take_no_part(demo: Outcome) -> None:
    recipe = read(demo.folder / "folded.recipe.yaml")
    assert recipe.data is not None
    assert (recipe.data.split, recipe.data.skip, recipe.data.samples) == ("train", 400, 500)


@pytest.mark.slow
def test_an_existing_folder_is_left_alone(demo: Outcome, onefold: Callable) -> None:
    before = digests(demo.folder)
    result = onefold("demo", "-o", demo.folder)
    assert result.status == 2
    assert "exists already" in result.err
    assert digests(demo.folder) == before


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(
    demo: Outcome, onefold: Callable, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = onefold("demo", "-o", tmp_path / "again")
    finally:
        torch.set_num_threads(threads)
    assert result.status == 0, result.err
    assert "cost (×)" in result.out
    assert digests(tmp_path / "again") == digests(demo.folder)


@pytest.mark.slow
def test_training_depends_on_its_seed_and_leaves_eval_mode() -> None:
    def trained(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        model = build_model("digits?width=4")
        train(
            model,
            build_data("sklearn:digits", limit=100, batch_size=50, shuffle=True, seed=seed),
            epochs=1,
        )  # type: ignore[arg-type]
        assert not model.training
        return model.state_dict()["head.weight"]

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))
