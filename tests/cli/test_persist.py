"""`onefold persist`: end to end, killed runs that end in the same bits, several processes, one
sentence for every mistake.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from process_groups import fork_instead
from trained_folders import check_killed_at_every_moment, killed_runs, sums

import onefold as of
from onefold.recipe.persist.document import PersistRecipe
from onefold.recipe.persist.networks import build_network, divided
from onefold.recipe.reading import read_as
from onefold.result_reports import persistent_rounds
from onefold.sources import ImageBatches, build_data, build_model

MODEL = "digits?width=4"
DATA = ["--model", MODEL, "--data", "sklearn:digits", "--samples", "300"]
RUN = [*DATA, "--rounds", "2", "--batch-size", "50", "--epochs", "2"]
FILES = {"best.safetensors", "recipe.yaml", "report.json", "report.html"}


@pytest.fixture(scope="module")
def runs() -> Iterator[Callable[[str, list[str]], str]]:
    with killed_runs() as call:
        yield call


def network_in(file: Path) -> torch.nn.Module:
    network = build_model(MODEL)
    network.load_state_dict(of.load(file))
    return network.eval()


def test_rounds_and_baselines_leave_networks_report_and_a_recipe_that_makes_them_again(
    onefold: Callable, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    call = [
        *DATA,
        "--rounds",
        "3",
        "--batch-size",
        "50",
        "--epochs",
        "4",
        "--seed",
        "3",
        "--strength",
        "5",
        "--mirror",
        "--eval-samples",
        "100",
    ]
    result = onefold("persist", *call, "--baselines", "-o", folder)
    assert result.status == 0, result.err
    names = [
        *(f"round-{k}" for k in range(3)),
        *(f"{kind}-{k}" for kind in ("restart", "rerun") for k in (1, 2)),
    ]
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.safetensors" for name in names
    } | FILES
    assert (
        len(
            {
                json.dumps(of.load(folder / f"{name}.safetensors")["conv1.weight"].tolist())
                for name in names
            }
        )
        == 7
    )
    recipe = read_as(PersistRecipe, folder / "recipe.yaml")
    assert recipe.record is not None
    assert recipe.record.result_sha256 == sums(folder)["best.safetensors"]

    report = json.loads((folder / "report.json").read_text())
    table = report["sections"][0]["blocks"][0]
    spoken = [name.replace("-", " ") for name in names]
    assert [row[0] for row in table["rows"]] == [
        *spoken,
        "ensemble of 3 rounds",
        "ensemble of 3 restarts",
        "ensemble of 3 reruns",
    ]
    data = report["data"]
    test = build_data("sklearn:digits", split="test", limit=100)
    for name, said in zip(names, spoken, strict=True):
        assert (
            of.evaluate(network_in(folder / f"{name}.safetensors"), test).accuracy
            == data["scores"][said]["accuracy"]
        )
    chosen = {name: score for name, score in data["validation"].items() if name.startswith("round")}
    assert data["best"] == max(chosen, key=chosen.__getitem__)
    best, own = (
        of.load(folder / f"{name}.safetensors") for name in ("best", data["best"].replace(" ", "-"))
    )
    assert all(torch.equal(best[name], own[name]) for name in own)
    compared = data["compared"]
    assert len(compared["plain"]["distances"]) == 3
    assert compared["aligned"] is not None
    first, second = (of.load(folder / f"round-{k}.safetensors") for k in range(2))
    parameters = [name for name, _ in build_model(MODEL).named_parameters()]
    by_hand = sum(float((first[n] - second[n]).double().square().sum()) for n in parameters) ** 0.5
    assert compared["plain"]["distances"][0][1] == pytest.approx(by_hand, rel=1e-6)
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 4  # the chart, wide and narrow, and the lines of two ways
    assert "Are the rounds different networks" in page
    assert "The best of the rounds" in result.out

    again = onefold("persist", folder / "recipe.yaml", "-o", tmp_path / "again")
    assert again.status == 0, again.err
    assert "other bits" not in again.err
    assert sums(tmp_path / "again") == sums(folder)


def test_rounds_are_those_of_a_plain_loop(onefold: Callable, tmp_path: Path) -> None:
    """The command does what docs/guides/persistent_rounds.md tells one to do by hand."""
    from onefold.explore.epochs import Epochs
    from onefold.explore.training import Training

    result = onefold(
        "persist",
        *RUN,
        "--strength",
        "3",
        "--momentum",
        "0.5",
        "--lr",
        "0.02",
        "-o",
        tmp_path / "run",
    )
    assert result.status == 0, result.err
    recipe = read_as(PersistRecipe, tmp_path / "run" / "recipe.yaml")
    whole = build_data("sklearn:digits", limit=300, batch_size=50)
    data, validation = divided(recipe, whole)
    assert isinstance(data, ImageBatches)
    model = build_network(recipe)
    run = of.PersistentTraining(model, steps_per_round=2 * len(data), strength=3.0)
    plan = Training(2, len(data), 0.02, 0.5)
    threads = torch.get_num_threads()
    for number in range(2):
        optimiser = torch.optim.SGD(model.parameters(), 0.02, momentum=0.5, weight_decay=1e-4)
        model.train()
        for epoch in range(2):
            for step, batch in enumerate(Epochs(data, 0).epoch(epoch)):
                optimiser.param_groups[0]["lr"] = plan.rate(epoch * len(data) + step)
                loss = (
                    torch.nn.functional.cross_entropy(model(*batch.args), batch.labels)
                    + run.penalty()
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                run.step()
        found = of.load(tmp_path / "run" / f"round-{number}.safetensors")
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)
        run.record(of.evaluate(model, validation).accuracy)
        run.restart()
    assert torch.get_num_threads() == threads
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert list(report["data"]["validation"].values()) == run.scores
    assert report["data"]["scored on"] == "validation data"
    assert "flatters it" in (tmp_path / "run" / "report.html").read_text()


def test_training_and_validation_data_are_apart(tmp_path: Path) -> None:
    recipe = PersistRecipe.model_validate(
        {
            "model": MODEL,
            "data": {"source": "sklearn:digits", "samples": 300},
            "training": {"epochs": 1},
            "held_out": 0.2,
        }
    )
    data, validation = divided(recipe, build_data("sklearn:digits", limit=300))
    assert isinstance(data, ImageBatches)
    assert isinstance(validation, ImageBatches)
    assert (len(data.images), len(validation.images)) == (240, 60)
    rows = {image.numpy().tobytes() for image in data.images.inputs}
    assert not rows & {image.numpy().tobytes() for image in validation.images.inputs}


def test_options_reach_the_rounds(
    onefold: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds are not compared with each other here, which takes far longer than to train them."""
    monkeypatch.setattr(persistent_rounds, "_compared", lambda *_: (None, "They are not compared."))
    ways = {
        "plain": [],
        "strong": ["--strength", "20"],
        "head": ["--scope", "head", "--strength", "20"],
        "control": ["--control", "--strength", "20"],
        "order": ["--order", "new"],
        "kernel": ["--kernel", "inverse", "--strength", "20"],
        "late": ["--anneal", "0.9,1", "--strength", "20"],
        "function": ["--kernel", "function", "--reference", "32", "--strength", "20"],
        "kept": ["--solutions", "bfloat16", "--strength", "20"],
        "seed": ["--seed", "1"],
    }
    found = {}
    for name, more in ways.items():
        result = onefold("persist", *RUN, *more, "-o", tmp_path / name)
        assert result.status == 0, result.err
        found[name] = sums(tmp_path / name)
    assert len({one["round-1.safetensors"] for one in found.values()}) == len(ways)
    assert (
        len({one["round-0.safetensors"] for one in found.values()}) == 2
    )  # only the seed decides on the first


def test_validation_data_can_be_named(onefold: Callable, tmp_path: Path) -> None:
    result = onefold(
        "persist", *RUN, "--val-skip", "400", "--val-samples", "50", "-o", tmp_path / "run"
    )
    assert result.status == 0, result.err
    validation = build_data("sklearn:digits", skip=400, limit=50)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (
        of.evaluate(network_in(tmp_path / "run" / "round-1.safetensors"), validation).accuracy
        == report["data"]["validation"]["round 1"]
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize(
    "more", [["--baselines"], ["--kernel", "function", "--control", "--order", "new"]]
)
def test_a_run_killed_at_any_moment_ends_in_the_same_bits(
    runs: Callable, tmp_path: Path, more: list[str]
) -> None:
    call = ["persist", *RUN, *more, "--augment", "flip-crop", "--eval-samples", "60"]
    check_killed_at_every_moment(runs, call, tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_rounds_that_are_over_lie_in_the_folder_while_others_are_trained(
    runs: Callable, refused: Callable, tmp_path: Path
) -> None:
    folder, call = (
        tmp_path / "run",
        [*DATA, "--batch-size", "50", "--epochs", "1", "--rounds", "12"],
    )
    assert runs("kept2", ["persist", *call, "-o", folder]) == "killed"
    assert network_in(folder / "round-0.safetensors") is not None
    assert not (folder / "best.safetensors").exists()
    told = refused("persist", *call, "--strength", "2", "--resume", "-o", folder)
    assert "cannot be resumed with other settings: --strength is 2.0 now and was 1.0" in told
    other = refused("subspace", *DATA, "--epochs", "1", "--resume", "-o", folder)
    assert "is not what a run of `onefold subspace` left" in other


@pytest.mark.slow
def test_two_processes_share_the_work_and_end_in_the_same_bits_again(
    onefold: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without norms, two processes take the steps of one, up to rounding."""
    fork_instead(monkeypatch)
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64,"
        " 16), nn.ReLU(), nn.Linear(16, 10))\n"
    )
    call = [
        "--model",
        f"{tmp_path / 'net.py'}:make",
        *DATA[2:],
        "--rounds",
        "2",
        "--batch-size",
        "90",
        "--epochs",
        "3",
        "--baselines",
    ]
    for name, more in (("one", []), ("two", ["--devices", "2"])):
        result = onefold("persist", *call, *more, "-o", tmp_path / name)
        assert result.status == 0, result.err
    for file in ("round-1", "restart-1", "rerun-1"):
        states = [of.load(tmp_path / name / f"{file}.safetensors") for name in ("one", "two")]
        for key, value in states[0].items():
            torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-5)
    recipe = tmp_path / "two" / "recipe.yaml"
    again = onefold("persist", recipe, "--trust", "-o", tmp_path / "again")
    assert again.status == 0, again.err
    assert sums(tmp_path / "again") == sums(tmp_path / "two")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "digit"], "did you mean 'digits'?"),
        (["--data", "sklearn:digit"], "did you mean 'sklearn:digits'?"),
        (["--rounds", "0"], "--rounds: "),
        (["--rounds", "1", "--baselines"], "one round has nothing to be compared with"),
        (["--strength", "-1"], "--strength: "),
        (["--width", "0"], "--width: "),
        (["--anneal", "0.8,0.5"], "0 <= a <= b <= 1"),
        (["--memory", "0"], "--memory: "),
        (["--kernel", "gausian"], "did you mean 'gaussian'?"),
        (["--scope", "hed"], "did you mean 'head'?"),
        (["--exclude", "nothing"], "matches no part"),
        (["--order", "random"], "--order: "),
        (["--solutions", "int8"], "--solutions: "),
        (["--held-out", "1"], "--held-out: "),
        (["--held-out", "0.001"], "are too few to hold out 0.001 of them"),
        (["--val-samples", "50"], "validation examples are among those trained on"),
        (["--val-skip", "299"], "validation examples are among those trained on"),
        (["--val-data", "sklearn:digit"], "did you mean 'sklearn:digits'?"),
        (["--epochs", "0"], "--epochs: "),
        (["--device", "tpu9"], "There is no device 'tpu9'"),
        (["--seed", "-1"], "--seed: "),
    ],
)
def test_mistakes_are_found_before_training_and_told_in_one_sentence(
    refused: Callable, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = refused("persist", *RUN, *arguments, "-o", tmp_path / "run", before="Training")
    assert message in result
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_diverges_and_data_that_cannot_be_divided(
    onefold: Callable, refused: Callable, tmp_path: Path
) -> None:
    result = refused("persist", *RUN, "--lr", "1e30", "-o", tmp_path / "run")
    assert "The loss is not finite (Round 0, epoch " in result
    (tmp_path / "own.py").write_text(
        "import torch\ndef some(split, shuffle=False):\n    return [(torch.zeros(8, 1, 8, 8),"
        " torch.arange(8)) for _ in range(4)]\nfrom torch import nn\nclass Own(nn.Module):\n    def"
        " __init__(self):\n        super().__init__()\n        self.w ="
        " nn.Parameter(torch.arange(640.0).view(64, 10) / 640)\n    def forward(self, x):\n       "
        " return x.flatten(1) @ self.w\n"
    )
    place = f"{tmp_path / 'own.py'}:"
    call = ["--model", MODEL, "--data", place + "some", "--epochs", "1"]
    assert "name validation data with --val-data" in refused("persist", *call, "-o", tmp_path / "x")
    named = onefold(
        "persist",
        *call,
        "--rounds",
        "2",
        "--val-data",
        place + "some",
        "--val-split",
        "test",
        "-o",
        tmp_path / "named",
    )
    assert named.status == 0, named.err
    fixed = refused(
        "persist",
        "--model",
        place + "Own",
        *DATA[2:],
        "--epochs",
        "1",
        "--rounds",
        "2",
        "--baselines",
        "-o",
        tmp_path / "y",
    )
    assert "always begins from the same weights" in fixed


def test_recipes_are_for_their_own_command(
    onefold: Callable, refused: Callable, tmp_path: Path
) -> None:
    assert onefold("persist", *RUN, "-o", tmp_path / "run").status == 0
    wrong = refused("subspace", tmp_path / "run" / "recipe.yaml", "-o", tmp_path / "x")
    assert "is one of onefold persist; run: onefold persist" in wrong
    for left_out in ("--model", "--data", "--epochs"):
        call = [*RUN, "-o", tmp_path / "y"]
        at = call.index(left_out)
        assert f"needs {left_out}" in refused("persist", *call[:at], *call[at + 2 :])
    assert "takes no --control" in refused(
        "persist", tmp_path / "run" / "recipe.yaml", "--control", "-o", tmp_path / "x"
    )
