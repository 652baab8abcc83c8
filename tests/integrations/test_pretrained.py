"""Folders of save_pretrained: whole, loadable, and with a card that invents nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import onefold as of
from onefold.errors import OutputError, SettingError
from onefold.integrations import save_pretrained

transformers = pytest.importorskip("transformers")


def network(seed: int, **options: Any) -> Any:
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=3,
        **options,
    )
    torch.manual_seed(seed)
    return transformers.BertForSequenceClassification(config).eval()


def texts(count: int = 4, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    return [
        {
            "input_ids": torch.randint(1, 40, (8, 6), generator=random),
            "attention_mask": torch.ones(8, 6, dtype=torch.long),
            "labels": torch.randint(0, 3, (8,), generator=random),
        }
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def result() -> Any:
    return of.merge([network(0), network(1)], texts(), align="permutation", fold="average")


@pytest.fixture
def member(tmp_path: Path) -> Path:
    folder = tmp_path / "site_a"
    network(0).save_pretrained(folder)
    (folder / "vocab.txt").write_text("[PAD]\nfolding\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    (folder / "private_notes.txt").write_text("not copied")
    return folder


def test_the_folder_loads_as_the_network_that_was_saved(
    result: Any, member: Path, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in result.model.state_dict().items()}
    folder = save_pretrained(result, tmp_path / "folded", members=[member, "site_b"])
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = {name: value for name, value in texts(1, 5)[0].items() if name != "labels"}
    torch.testing.assert_close(loaded(**batch).logits, result.model(**batch).logits)
    torch.testing.assert_close(before, dict(result.model.state_dict()), rtol=0, atol=0)
    assert (folder / "vocab.txt").read_text() == "[PAD]\nfolding\n"
    assert not (folder / "private_notes.txt").exists()
    again = of.evaluate(loaded, texts())
    assert again.accuracy == of.evaluate(result.model, texts()).accuracy


def test_the_card_tells_what_was_done_and_nothing_else(
    result: Any, member: Path, tmp_path: Path
) -> None:
    scores = {"result": of.evaluate(result.model, texts())}
    save_pretrained(result, tmp_path / "folded", members=[member, "site_b"], scores=scores)
    card = (tmp_path / "folded" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    for part in (
        "# folded",
        "folded by onefold",
        "out of 2 networks",
        "0. `site_a`, share 0.5\n1. `site_b`, share 0.5",
        "| aligned by | permutation |",
        "| folded by | average |",
        f"| result | {scores['result'].accuracy:.4f} | {scores['result'].nll:.4f} |",
        "Copied unchanged from the folder of member 0: `tokenizer_config.json`, `vocab.txt`.",
    ):
        assert part in card
    for note in [*result.report.chosen, *result.report.warnings]:
        assert note.split("\n")[0] in card
    for invented in ("license", "language:", "datasets", "intended", str(tmp_path)):
        assert invented not in card
    data = json.loads((tmp_path / "folded" / "onefold_report.json").read_text())
    assert data["report"]["fold"] == "average"
    assert data["scores"]["result"]["accuracy"] == scores["result"].accuracy


def test_without_names_or_scores_the_card_says_so(result: Any, tmp_path: Path) -> None:
    save_pretrained(result, tmp_path / "a")
    card = (tmp_path / "a" / "README.md").read_text()
    assert "Their names were not given to the card." in card
    assert "No scores were given to the card." in card
    assert "No files of a tokenizer or processor were copied." in card
    save_pretrained(result.model, tmp_path / "b")
    card = (tmp_path / "b" / "README.md").read_text()
    assert "saved by onefold" in card
    assert "## Method" not in card
    assert not (tmp_path / "b" / "onefold_report.json").exists()


def test_the_cache_is_as_the_first_member_had_it(member: Path, tmp_path: Path) -> None:
    without = network(0, use_cache=False)
    save_pretrained(without, tmp_path / "c", members=[member])
    assert json.loads((tmp_path / "c" / "config.json").read_text()).get("use_cache", True) is True
    save_pretrained(without, tmp_path / "d", members=["a name"])
    assert json.loads((tmp_path / "d" / "config.json").read_text()).get("use_cache") is not True


def test_a_folder_appears_whole_or_not_at_all(
    result: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pretrained(result, tmp_path / "folded")
    with pytest.raises(OutputError, match="exists"):
        save_pretrained(result, folder)
    save_pretrained(result, folder, force=True)
    monkeypatch.setattr(
        "onefold.integrations.pretrained.model_card", lambda *a: 1 / 0, raising=True
    )
    with pytest.raises(ZeroDivisionError):
        save_pretrained(result, tmp_path / "half")
    assert [path.name for path in tmp_path.iterdir()] == ["folded"]


def test_what_cannot_be_saved_is_refused(result: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"Linear has no save_pretrained.*onefold\.save"):
        save_pretrained(torch.nn.Linear(2, 2), tmp_path / "x")
    with pytest.raises(SettingError, match="There are 3 names of members, but 2 networks"):
        save_pretrained(result, tmp_path / "x", members=["a", "b", "c"])
    assert not (tmp_path / "x").exists()
