"""Complaint 19 of users of mergekit: files beside the weights.

Source: the issues of github.com/arcee-ai/mergekit; the numbers stand with each test.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_checkpoints as tiny
import torch
from fine_tunes import family, put, ties, written

import onefold as of

CODE = '''"""A network that stands in the folder of its weights."""

import torch
from transformers import PretrainedConfig, PreTrainedModel


class TinyConfig(PretrainedConfig):
    model_type = "tiny_remote"


class TinyModel(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(4, 4)
        self.post_init()

    def forward(self, x):
        return self.layer(x)
'''


# 275
def test_the_config_of_generation_comes_along(tmp_path: Path) -> None:
    """Complaint 19: the result ends its texts elsewhere, as its config of generation is missing."""
    paths = family(tmp_path, tiny.llama)
    told = {"eos_token_id": [2, 7], "temperature": 0.6, "do_sample": True}
    (Path(paths[0]) / "generation_config.json").write_text(json.dumps(told))
    made = of.merge_checkpoints(written(tmp_path / "c.yml", ties(paths)), tmp_path / "o")
    assert json.loads((made.path / "generation_config.json").read_text()) == told
    network = tiny.transformers().AutoModelForCausalLM.from_pretrained(made.path)
    assert network.generation_config.eos_token_id == [2, 7]
    record = json.loads((made.path / "onefold_merge.json").read_text())
    assert "generation_config.json" in record["copied_files"]
    assert "`generation_config.json`" in (made.path / "README.md").read_text()
    assert f"config and tokenizer of {paths[0]}" in str(made)


# 105
def test_code_in_the_folder_comes_along_and_the_result_loads_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Complaint 19: a model with code of its own does not load after the merge."""
    config = {
        "model_type": "tiny_remote",
        "architectures": ["TinyModel"],
        "auto_map": {
            "AutoConfig": "modeling_tiny.TinyConfig",
            "AutoModel": "modeling_tiny.TinyModel",
        },
    }
    generator = torch.Generator().manual_seed(0)
    paths = []
    for i in range(2):
        state = {
            "layer.weight": torch.randn(4, 4, generator=generator),
            "layer.bias": torch.randn(4, generator=generator),
        }
        paths.append(put(tmp_path / f"m{i}", state, config))
        (tmp_path / f"m{i}" / "modeling_tiny.py").write_text(CODE)
    document = written(tmp_path / "c.yml", ties(paths, parameters={"lambda": 0.1}))
    with pytest.warns(UserWarning, match="does not stem"):
        made = of.merge_checkpoints(document, tmp_path / "o")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    network = tiny.transformers().AutoModel.from_pretrained(made.path, trust_remote_code=True)
    merged = tiny.stored(made.path)
    assert torch.equal(network.layer.weight, merged["layer.weight"])
    record = json.loads((made.path / "onefold_merge.json").read_text())
    assert "modeling_tiny.py" in record["copied_files"]
    assert "`modeling_tiny.py`" in (made.path / "README.md").read_text()


# 275, 105
def test_without_a_base_the_donor_is_the_first_model_and_is_told(tmp_path: Path) -> None:
    """Complaint 19: config and tokenizer are those of a model by chance."""
    paths = family(tmp_path, tiny.llama)
    for number, path in enumerate(paths):
        (Path(path) / "generation_config.json").write_text(json.dumps({"top_k": number}))
    for order in (paths, paths[::-1]):
        content = {
            "merge_method": "linear",
            "models": [{"model": path, "parameters": {"weight": 1.0}} for path in order],
        }
        document = written(tmp_path / "c.yml", content)
        made = of.merge_checkpoints(document, tmp_path / "o", force=True)
        assert made.donor == order[0]
        told = json.loads((made.path / "generation_config.json").read_text())
        assert told == {"top_k": paths.index(order[0])}
