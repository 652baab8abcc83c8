"""Folders of results, as `save_pretrained` of transformers writes them, with a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from onefold.arguments import checked
from onefold.checkpoints.layouts import Layout
from onefold.checkpoints.plan.companions import NAMES as COMPANIONS
from onefold.checkpoints.plan.companions import PATTERNS, copy_companions
from onefold.checkpoints.vocabulary import files, tokenizer_files
from onefold.checkpoints.vocabulary.writing import FURTHER
from onefold.errors import SettingError
from onefold.finite import finite
from onefold.fold.merge_report import MergeReport, MergeResult
from onefold.integrations.model_card import model_card
from onefold.measure import Scores
from onefold.weights import atomic_directory
from onefold.weights.pretrained import is_transformer, sizes_beside_config, write_by_class

CARD, REPORT = "README.md", "onefold_report.json"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin*")
# What an earlier folder of the name may hold, and a new one has of its own, or lacks on purpose.
REPLACED = (
    *WEIGHTS,
    "config.json",
    *COMPANIONS,
    *PATTERNS,
    *files.ALL,
    *files.MODELS,
    files.MORE_TEMPLATES,
    *FURTHER,
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
    member is a folder, the files of its tokenizer or image processor and its generation config are
    copied, and its setting `use_cache` is kept. The folder appears when it is complete.

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
        SettingError: the network is not one of transformers, its tensors have other sizes than its
            config says, or there are not as many names as members.
        WeightsError: the network is not finite.
        OutputError: the folder exists, or cannot be written.
    """
    network, report = (
        (result, None) if isinstance(result, nn.Module) else (result.model, result.report)
    )
    check_writable(network)
    if members and report is not None and len(members) != report.members:
        raise SettingError(
            f"There are {len(members)} names of members, but {report.members} networks were"
            " merged; name each of them once."
        )
    names = [_public(member) for member in members]
    first = Path(members[0]) if members else None
    told = () if report is None else (f"`{REPORT}` holds the whole report of the merge.",)
    with atomic_directory(folder, force=force, replaces=REPLACED) as place:
        card = Card(Path(folder).resolve().name, names, report, scores or {}, told)
        fill_folder(place, network, first, card)
        if report is not None:
            (place / REPORT).write_text(_json(report, scores or {}), encoding="utf-8")
    return Path(folder)


@dataclass(frozen=True)
class Card:
    """What the card of a folder tells.

    Attributes:
        title: of the card.
        members: their names, in the order of the merge; may be empty.
        report: of the merge; None: there is none.
        scores: by what was scored; may be empty.
        beside: sentences on further files in the folder.
    """

    title: str
    members: Sequence[str] = ()
    report: MergeReport | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)
    beside: Sequence[str] = ()


def check_writable(network: nn.Module) -> None:
    """Refuse a network that `from_pretrained` would not read from its folder.

    Raises:
        SettingError: it is not one of transformers, or its tensors have not the sizes that its
            config says.
    """
    name = type(network).__name__
    if not is_transformer(network):
        raise SettingError(
            f"{name} has no save_pretrained, as networks of transformers have; save its weights"
            " with onefold.save."
        )
    different = sizes_beside_config(network)
    if different:
        raise SettingError(
            f"{name} has other sizes than its config says, as those of '{different[0]}', so that"
            " from_pretrained could not read it; save its weights with onefold.save."
        )


def fill_folder(place: Path, network: nn.Module, first: Path | None, card: Card) -> None:
    """Write a network, what belongs to it, and its card into a folder that is there.

    Args:
        place: the folder.
        network: as `check_writable` takes it; it is left as it is.
        first: the folder of the first member, whose tokenizer or image processor is copied, if it
            is one.
        card: what the card tells.

    Raises:
        WeightsError: the network is not finite.
        OSError: the disk refuses.
    """
    write_by_class(network, place)
    copied = [] if first is None else _copy_beside(first, place)
    _keep_cache(first, place)
    text = model_card(
        card.title, network, card.report, card.members, card.scores, copied, card.beside
    )
    (place / CARD).write_text(text, encoding="utf-8")


def _copy_beside(first: Path, place: Path) -> list[str]:
    """Copy what lies beside the weights of a folder: tokenizer, processor, generation config."""
    copied = copy_companions(Layout(first, (), {}), place)
    for path in tokenizer_files(first) if first.is_dir() else ():
        if path.is_dir():
            shutil.copytree(path, place / path.name, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, place / path.name)
        copied.append(path.name)
    return sorted(copied)


def _public(member: str | Path) -> str:
    """A name as it is; of a path its last part, as paths of a machine say nothing elsewhere."""
    path = Path(member)
    return path.name if path.is_absolute() or path.exists() else str(member)


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
