"""The chat template that a document asks for takes the place of those of the donor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

import onefold
from onefold.errors import SettingError

OWN, OTHER = "{{ messages }} a", "{{ messages }} b"


def model(path: Path, template: str | None) -> str:
    path.mkdir()
    save_file({"layers.0.w": torch.ones(4)}, path / "model.safetensors")
    (path / "config.json").write_text("{}")
    if template is not None:
        settings = {"chat_template": template, "model_max_length": 9}
        (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return str(path)


def merged(folder: Path, template: str | None, models: list[str | None]) -> Path:
    names = [model(folder / f"m{k}", own) for k, own in enumerate(models)]
    content: dict[str, object] = {
        "merge_method": "linear",
        "models": [{"model": name, "parameters": {"weight": 1.0}} for name in names],
    }
    if template is not None:
        content["chat_template"] = template
    (folder / "config.yml").write_text(yaml.safe_dump(content))
    onefold.merge_checkpoints(folder / "config.yml", folder / "out")
    return folder / "out"


def template_in(out: Path) -> str | None:
    path, settings = out / "chat_template.jinja", out / "tokenizer_config.json"
    told = str(json.loads(settings.read_text())["chat_template"])
    if path.is_file():  # programs look into either of them
        assert path.read_text() == told
    return told


@pytest.mark.parametrize(
    ("asked", "models", "found"),
    [
        (None, [OWN, OTHER, OTHER], OWN),
        ("auto", [OWN, OTHER, OTHER], OTHER),
        ("{{ mine }}", [OWN, OTHER], "{{ mine }}"),
    ],
)
def test_as_asked(asked: str | None, models: list[str | None], found: str, tmp_path: Path) -> None:
    out = merged(tmp_path, asked, models)
    assert template_in(out) == found
    assert json.loads((out / "tokenizer_config.json").read_text())["model_max_length"] == 9


def test_an_unknown_template_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="chatml"):
        merged(tmp_path, "chatlm", [OWN, OWN])
    assert not (tmp_path / "out").exists()
