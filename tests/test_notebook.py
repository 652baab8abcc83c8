"""The short forms of results in a notebook: escaped, without scripts, and of few lines."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_networks import Plain, loader, members

import onefold
from onefold.measure import evaluate_all
from onefold.notebook import ROWS, card
from onefold.report import Report, Table
from onefold.report.blocks import Column


def test_a_card_escapes_and_counts_what_it_leaves_out() -> None:
    rows = [(f"<{k}>", "1") for k in range(ROWS + 3)]
    text = card("a<b", ["x & y", ""], ("name", "number"), rows, "more\x1b")
    assert "a&lt;b" in text
    assert "x &amp; y" in text
    assert "&lt;0&gt;" in text
    assert "and 3 more rows" in text
    assert "\x1b" not in text
    assert text.count("<tr>") == ROWS + 1


def _results() -> dict[str, Any]:
    networks, data = members(Plain, 2), loader(40)
    merged = onefold.merge(networks, data, fold="average", align="permutation")
    report = Report(title="A report", verdict="It is <good>.")
    report.section("Scores")
    return {
        "networks folded into one": merged,
        "mapped to member 0 by permutation": merged.alignment,
        "feature spaces between layers can move": merged.alignment.spec,  # type: ignore[union-attr]
        "Scores on 40 examples": onefold.evaluate(networks[0], data),
        "ensemble of 2": evaluate_all(networks, data),
        "2 networks compared": onefold.compare_networks(networks, data),
        "Of 2 members, the": onefold.fit_gates(
            onefold.SoftMerge(networks, level="model"), loader(60), steps=2
        ),
        "It is &lt;good&gt;.": report,
        "number (%)": Table(columns=(Column(name="number", unit="%"),), rows=((1,),)),
        "networks merged up to": onefold.partial_merge(
            networks, data, until=0.5, align="permutation"
        ),
    }


@pytest.mark.slow
def test_every_result_has_a_short_form() -> None:
    torch.manual_seed(0)
    for words, result in _results().items():
        html = result._repr_html_()
        assert words in html
        assert "<script" not in html
        assert html.startswith("<div")
