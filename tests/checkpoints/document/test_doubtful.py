"""Values that most likely are mistakes get a warning, and are carried out all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from fine_tunes import put

import onefold
from onefold.checkpoints.document import document_of, parse_documents
from onefold.checkpoints.engine.doubts import DoubtfulSetting
from onefold.errors import RepeatedMembers

START = "base_model: a\nmodels:\n  - model: b\n  - model: c\n"
BASE = "so that the result is the base."


def doubts(text: str, as_mergekit: bool = False) -> tuple[str, ...]:
    return parse_documents(text, "It", as_mergekit)[0].doubts


DOUBTFUL = {
    "weights": (
        START + "merge_method: ties\nparameters: {weight: 0}\n",
        f"It, line 6, key 'parameters.weight': every weight is 0, {BASE}",
    ),
    "gradient": (
        START + "merge_method: dare_ties\nparameters: {weight: [0, 0.0]}\n",
        f"every weight is 0, {BASE}",
    ),
    "filters": (
        START + "merge_method: ties\nparameters: {weight: [{filter: mlp, value: 0}, {value: 0}]}\n",
        f"every weight is 0, {BASE}",
    ),
    "sums without a base": (
        "merge_method: linear\nmodels: [{model: b}, {model: c}]\n"
        "parameters: {weight: 0, normalize: false}\n",
        "every weight is 0, so that every merged number is 0.",
    ),
    "density": (
        START + "merge_method: ties\nparameters: {weight: 1, density: 0}\n",
        "the density of b is 0, so that nothing of its changes is kept.",
    ),
    "lambda": (
        START + "merge_method: task_arithmetic\nparameters: {weight: 1, lambda: 0}\n",
        f"key 'parameters.lambda': it is 0, {BASE}",
    ),
    "select_topk": (
        START + "merge_method: sce\nparameters: {select_topk: 0}\n",
        "it is 0, so that no element is kept and the result is the base.",
    ),
    "t above": (
        "base_model: a\nmerge_method: slerp\nmodels: [{model: a}, {model: b}]\n"
        "parameters: {t: [0, 1.5]}\n",
        "1.5 lies beyond both models, as 0 is the base and 1 the other model.",
    ),
    "t below": (
        "base_model: a\nmerge_method: slerp\nmodels: [{model: a}, {model: b}]\n"
        "parameters: {t: [{filter: mlp, value: -0.25}, {value: 0.5}]}\n",
        "-0.25 lies beyond both models",
    ),
    "scale": (
        "merge_method: passthrough\nmodels: [{model: a}]\nparameters: {scale: 0}\n",
        "the scale is 0, so that every merged number is 0.",
    ),
}


@pytest.mark.parametrize("as_mergekit", [False, True])
@pytest.mark.parametrize("kind", DOUBTFUL)
def test_doubtful_values_are_told_in_both_ways_of_reading(kind: str, as_mergekit: bool) -> None:
    text, sentence = DOUBTFUL[kind]
    assert any(sentence in told for told in doubts(text, as_mergekit)), doubts(text, as_mergekit)


@pytest.mark.parametrize(
    "text",
    [
        START + "merge_method: ties\nparameters: {weight: [0, 1]}\n",
        START + "merge_method: ties\nparameters: {weight: 1, density: [0, 0.5]}\n",
        START + "merge_method: ties\nparameters: {weight: [{filter: mlp, value: 0}, {value: 1}]}\n",
        "base_model: a\nmerge_method: ties\nmodels:\n  - {model: b, parameters: {weight: 0}}\n"
        "  - {model: c, parameters: {weight: 1}}\n",
        "base_model: a\nmerge_method: slerp\nmodels: [{model: a}, {model: b}]\n"
        "parameters: {t: [0, 1, 0.5]}\n",
        "merge_method: passthrough\nmodels: [{model: a}]\n"
        "parameters: {scale: [{filter: o_proj, value: 0}, {value: 1}]}\n",
    ],
)
def test_values_that_have_an_effect_are_none(text: str) -> None:
    assert doubts(text) == ()


def test_a_listed_base_is_told_and_by_options_in_doubt() -> None:
    text = START.replace("model: b", "model: a") + "merge_method: ties\nparameters: {weight: 1}\n"
    (document,) = parse_documents(text, "It")
    assert document.doubts == ()
    assert any("a is the base, so that the others are compared" in n for n in document.notes)
    made = document_of(["a", "b", "c"], "ties", "a")
    assert made.doubts[0].startswith("onefold merge, the models: a is the base")
    assert document_of(["a", "b"], "slerp", "a", {"t": 0.5}).doubts == ()
    assert document_of(["a", "b"], "linear", "a").doubts == ()


def test_they_are_warned_of_and_carried_out(tmp_path: Path) -> None:
    state = {f"layers.{i}.w.weight": torch.full((4, 4), 1.0 + i) for i in range(2)}
    paths = [
        put(tmp_path / name, {k: v * (1 + 0.01 * i) for k, v in state.items()})
        for i, name in enumerate("abc")
    ]
    document = document_of(paths[1:], "ties", paths[0], {"weight": 0.0})
    with pytest.warns(DoubtfulSetting, match="every weight is 0"):
        made = onefold.merge_checkpoints(document, tmp_path / "out")
    assert any("every weight is 0" in one for one in made.warned)
    merged = tiny.stored(made.path)
    assert all(torch.equal(merged[name], state[name]) for name in state)


def test_one_folder_under_two_names_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state: Any = {"layers.0.w.weight": torch.ones(4, 4)}
    for name in "ab":
        put(tmp_path / name, state)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    for other in ("./a", "a/", str(tmp_path / "a"), "link", "b/../a"):
        document = document_of(["a", "b", other], "linear")
        with pytest.warns(RepeatedMembers, match="are one and the same, which counts twice"):
            onefold.merge_checkpoints(document, "out", dry_run=True)
    made = onefold.merge_checkpoints(document_of(["a", "b"], "linear"), "out", dry_run=True)
    assert made.warned == ()
