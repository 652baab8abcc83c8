"""Folders of results, as `save_pretrained` of transformers writes them, with a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from onefold.arguments import checked
from onefold.errors import SettingError
from onefold.finite import finite
from onefold.fold.merge_report import MergeReport, MergeResult
from onefold.integrations.model_card import model_card
from onefold.measure import Scores
from onefold.weights import atomic_directory

CARD, REPORT = "README.md", "onefold_report.json"
# Files that make inputs out of texts and images; those of one folder belong together.
PROCESSORS = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "spm.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)


@checked
def save_pretrained(
    result: MergeResult[Any] | nn.Module,
    folder: str | Path,
    *,
    members: Sequence[str | Path] = (),
    scores: Mapping[str, Scores] | None = None,
    force: bool = False,
) -> Path:
    """Write a result of transformers networks as `from_pretrained` reads it, with a model card.

    The card (README.md) tells the members, the method with its settings, the scores that are passed
    and the notes of the report. The whole report lies beside it (onefold_report.json). If the first
    member is a folder, the files of its tokenizer or image processor are copied, and its setting
    `use_cache` is kept. The folder appears when it is complete.

    Args:
        result: of `onefold.merge`, or one network. It is left as it is.
        folder: the folder to write; its own folder must exist.
        members: the folders that the members came from, or any names, in the order of the merge.
            The card has the last part of a path only.
        scores: what `onefold.evaluate` returned, by what was scored.
        force: replace an existing folder.

    Returns:
        The folder.

    Raises:
        SettingError: the network is not one of transformers, or there are not as many names as
            members.
        OutputError: the folder exists, or cannot be written.
    """
    network, report = (
        (result, None) if isinstance(result, nn.Module) else (result.model, result.report)
    )
    write = getattr(network, "save_pretrained", None)
    if write is None or not hasattr(network, "config"):
        raise SettingError(
            f"{type(network).__name__} has no save_pretrained, as networks of transformers have;"
            " save its weights with onefold.save."
        )
    if members and report is not None and len(members) != report.members:
        raise SettingError(
            f"There are {len(members)} names of members, but {report.members} networks were"
            " merged; name each of them once."
        )
    first = Path(members[0]) if members else None
    with atomic_directory(folder, force=force) as place:
        write(place)
        copied = _copy_processor(first, place)
        _keep_cache(first, place)
        names = [Path(member).name or str(member) for member in members]
        title = Path(folder).resolve().name
        text = model_card(title, network, report, names, scores or {}, copied)
        (place / CARD).write_text(text, encoding="utf-8")
        if report is not None:
            (place / REPORT).write_text(_json(report, scores or {}), encoding="utf-8")
    return Path(folder)


def _copy_processor(first: Path | None, place: Path) -> list[str]:
    """Copy the files of the first member's tokenizer or image processor; returns their names."""
    if first is None or not first.is_dir():
        return []
    found = [name for name in PROCESSORS if (first / name).is_file()]
    for name in found:
        shutil.copyfile(first / name, place / name)
    return found


def _keep_cache(first: Path | None, place: Path) -> None:
    """Give the config the first member's `use_cache`, which networks are folded without."""
    if first is None or not (first / "config.json").is_file():
        return
    before = json.loads((first / "config.json").read_text(encoding="utf-8"))
    file = place / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    if "use_cache" in config and config["use_cache"] != before.get("use_cache", True):
        config["use_cache"] = before.get("use_cache", True)
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _json(report: MergeReport, scores: Mapping[str, Scores]) -> str:
    data = {
        "report": report.to_dict(),
        "scores": {name: finite(each.to_dict()) for name, each in scores.items()},
    }
    return json.dumps(data, indent=2, allow_nan=False) + "\n"
