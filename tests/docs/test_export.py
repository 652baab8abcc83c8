"""The code of docs/guides/export.md runs, and what it exports computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from doc_pages import pattern_images
from guide_pages import run_page, trained
from short_texts import text_batches

import onefold as of


def text_network(seed: int) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.DistilBertConfig(
        vocab_size=100, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=8
    )
    torch.manual_seed(seed)
    return transformers.DistilBertForSequenceClassification(config).eval()


def test_the_guide_on_export(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx", reason="torch.onnx.export needs the package onnx")
    pytest.importorskip("onnxscript", reason="torch.onnx.export needs the package onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="what is exported is run by onnxruntime")
    monkeypatch.chdir(tmp_path)
    loader, labelled = pattern_images()
    models = [trained(loader, k, without=(2 * k, 2 * k + 1)) for k in range(2)]
    names = run_page(
        root,
        "guides/export.md",
        {
            "models": models,
            "data": loader,
            "text_models": [text_network(0), text_network(1)],
            "texts": text_batches(64, 0),
            "held_out": text_batches(32, 1),
        },
    )
    network, ensemble = names["network"], names["ensemble"]
    program = torch.export.load("folded.pt2").module()
    session = runtime.InferenceSession("folded.onnx")
    for x in (next(iter(labelled))[0][:4], next(iter(labelled))[0][:17]):
        wanted = network(x).detach()
        torch.testing.assert_close(program(x), wanted, rtol=0, atol=1e-5)
        (logits,) = session.run(None, {"images": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(names["program"].module()(x), ensemble(x), rtol=0, atol=1e-5)
        assert (program(x) - models[0](x)).abs().max() > 1e-3  # it is not a member
    assert "0. `site_a`" in Path("folded/README.md").read_text()
    transformers = pytest.importorskip("transformers")
    loaded = transformers.DistilBertForSequenceClassification.from_pretrained("folded").eval()
    assert of.evaluate(loaded, text_batches(32, 1)).accuracy == names["scores"]["result"].accuracy
