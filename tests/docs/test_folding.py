"""The code of the guides on folding runs as it stands there, and does what the pages say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from doc_pages import Small, text_of
from fold_guides import given, row_transformers, text_classifiers
from guide_pages import commands, run_page, write_demo
from pretrained_folders import answer, inputs_of, loaded, write_network

import onefold as of
from onefold.fold.auto import IN_WORDS

GUIDES = (
    "fold_networks",
    "the_default",
    "classes_in_shares",
    "polish",
    "partial_merges",
    "budgets",
    "many_members",
    "transformers",
    "text",
)
COMMANDS = ("fold_networks", "the_default", "partial_merges", "budgets")


@pytest.fixture
def run(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a guide in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda page, names=None: run_page(root, f"guides/{page}.md", names or given())


def best_of(names: dict[str, Any]) -> float:
    """The accuracy of the better member."""
    return max(of.evaluate(model, names["test"]).accuracy for model in names["models"])


def test_folding(run: Callable[..., Any], tmp_path: Path) -> None:
    names = run("fold_networks")
    folded = of.evaluate(names["result"].model, names["test"]).accuracy
    assert folded > best_of(names) + 0.1
    assert type(names["result"].model) is type(names["models"][0])
    assert (tmp_path / "folded.safetensors").exists()


def test_the_default(run: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    names = run("the_default")
    assert of.evaluate(names["result"].model, names["test"]).accuracy > best_of(names) + 0.1
    said = capsys.readouterr().out
    assert "The default took" in said
    assert "These networks know different classes" in said


def test_classes_in_shares(run: Callable[..., Any]) -> None:
    names = run("classes_in_shares")
    test, pool = names["test"], names["pool"]
    assert pool.seen[0, :3].sum() < 0.05
    assert pool.seen[1, 7:].sum() < 0.05
    assert of.evaluate(names["models"], test, ensemble=names["counted"]).accuracy > 0.95
    pooled = of.evaluate(names["result"].model, test).accuracy
    alone = of.evaluate(names["models"][:1], test, ensemble=names["alone"]).accuracy
    assert pooled > alone
    plain = of.merge(names["models"], names["data"], fold="least_squares")
    assert pooled > of.evaluate(plain.model, test).accuracy


def test_polish(run: Callable[..., Any]) -> None:
    names = run("polish")
    polished, test = names["polished"], names["test"]
    assert polished.divergence[-1] < 0.9 * polished.divergence[0]
    assert of.evaluate(polished.model, test).nll < of.evaluate(names["models"][0], test).nll - 0.2
    assert names["result"].report.polished["passes"] == 10


def test_partial_merges(run: Callable[..., Any], tmp_path: Path) -> None:
    names = run("partial_merges")
    mean = of.partial_merge(names["models"], names["data"], until="norm", align="permutation")
    assert of.evaluate(mean.model, names["test"]).accuracy > best_of(names)
    first, second = names["partial"](names["x"])
    assert torch.equal(first, names["partial"].heads[0](*names["features"]))
    again = names["again"](names["x"])
    assert torch.equal(again[0], first)
    assert torch.equal(again[1], second)
    assert (tmp_path / "partial.safetensors").exists()


ROW = r"^ *(g\d) +(\d+) +(\w+) +(-?[\d.]+) "  # of an alignment's table


def test_budgets(run: Callable[..., Any], tmp_path: Path) -> None:
    names = run("budgets", given() | {"factory": Small})
    scores = [of.evaluate(one.model, names["test"]).accuracy for one in names["folds"]]
    assert min(scores) > best_of(names)
    assert 1.3 < names["fold"].report.folded["factors"]["multiply-adds"] <= 1.5
    assert names["pruned"].report.factors["multiply-adds"] <= 0.5
    assert (tmp_path / "small.safetensors").exists()
    x = names["data"][0]
    assert torch.equal(names["again"].eval()(x), names["pruned"].model(x))
    with pytest.raises(of.OnefoldError, match="load_resized"):
        of.load("small.safetensors", Small())


def test_transformers(
    run: Callable[..., Any], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, site in enumerate(("site_a", "site_b")):
        write_network(Path(site), seed=seed)
    names = run("transformers", {**row_transformers(), "texts": [inputs_of("classifier")]})
    for folder in ("weights_and_config", "with_card_and_tokenizer"):
        saved = answer(loaded(Path(folder)), "classifier")
        assert torch.equal(saved, answer(names["done"].model, "classifier"))
    models, data, test = (names[name] for name in ("models", "data", "test"))
    solved, rotated = (
        of.evaluate(names[name].model, test).accuracy for name in ("result", "average")
    )
    plain = of.merge(models, data, align="none", fold="average", repair="none")
    assert rotated > of.evaluate(plain.model, test).accuracy + 0.2
    assert solved > best_of(names) - 0.03
    shown = capsys.readouterr().out
    page = text_of(root, "guides/transformers.md")
    told, found = (re.findall(ROW, text, flags=re.MULTILINE) for text in (page, shown))
    assert len(told) == 9
    assert [row[:3] for row in told] == [row[:3] for row in found]
    for row, other in zip(told, found, strict=True):
        assert abs(float(row[3]) - float(other[3])) < 0.1


def test_text(
    run: Callable[..., Any], root: Path, onefold: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    names = run("text", text_classifiers())
    labelled = names["labelled"]
    best = max(of.evaluate(model, labelled).accuracy for model in names["models"])
    assert of.evaluate(names["result"].model, labelled).accuracy > best + 0.05
    assert type(names["result"].model) is type(names["models"][0])
    assert (tmp_path / "folded" / "config.json").exists()
    for name, model in zip("ab", names["models"], strict=True):
        model.save_pretrained(name)
    Path("my_texts.py").write_text(
        "import torch\n\n\ndef load(split):\n    ids = torch.arange(1, 97).view(6, 16)\n"
        "    return [{'input_ids': ids, 'attention_mask': torch.ones_like(ids)}] * 3\n"
    )
    (command,) = commands(root, "guides/text.md")
    result = onefold(*command[1:])
    assert result.status == 0, result.err
    assert (tmp_path / "folded.safetensors").exists()


@pytest.mark.parametrize("page", COMMANDS)
def test_the_commands(
    page: str,
    root: Path,
    onefold: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_demo(tmp_path)
    found = commands(root, f"guides/{page}.md")
    assert found
    for command in found:
        assert command[0] == "onefold"
        result = onefold(*command[1:])
        assert result.status == 0, result.err
        assert (tmp_path / command[command.index("-o") + 1]).exists()


@pytest.mark.parametrize("page", GUIDES)
def test_a_guide_is_short_and_holds_no_table_of_results(page: str, root: Path) -> None:
    from benchmarks.evidence.markers import unmarked

    text = text_of(root, f"guides/{page}.md")
    assert len(text.split()) < 900
    assert unmarked(text, page) == []
    assert text.count("\n# ") == 0
    assert text.startswith("# ")


def test_the_default_is_told_in_the_same_words_everywhere(
    root: Path, onefold: Callable[..., Any]
) -> None:
    """In the code, the README, the guide, and the help of the command."""
    for page in ("README.md", "docs/guides/the_default.md"):
        assert IN_WORDS in " ".join((root / page).read_text().split()), page
    helped = " ".join(onefold("merge", "--help").out.replace("│", " ").split())
    assert IN_WORDS in helped
