"""Members that are folders of `save_pretrained`: the network that they tell, and how they differ.

All of them are read into the network of the first one's config. What another config says otherwise
is an error if it changes the shapes of tensors, and a warning if it may change what is computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onefold.errors import MembersError, SettingError
from onefold.sources.models import resolve_model
from onefold.weights.folders import CONFIG, all_pretrained

SOURCE = "hf:"
ABSENT = "nothing"
LABELS = ("id2label", "label2id", "num_labels")
# Keys that say where a network is from, how it was trained, or what generates with it.
IDLE = {
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_name_or_path",
    "architectures",
    "auto_map",
    "dtype",
    "finetuning_task",
    "gradient_checkpointing",
    "initializer_range",
    "problem_type",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}
IDLE_ENDINGS = ("dropout", "dropout_prob", "_pdrop", "_token_id", "dropout_rate")
SHOWN = 4  # keys in a warning


def model_of(paths: Sequence[str | Path]) -> str | None:
    """The name of the network that folders tell; None if one of the paths is no such folder."""
    return f"{SOURCE}{paths[0]}" if all_pretrained(paths) else None


def told_model(paths: Sequence[Any]) -> str:
    """The name of the network that folders tell, once they are sure to be alike.

    Raises:
        MembersError: one of the paths is no such folder, or they differ; see `check_alike`.
        SettingError: as `resolve_model`.
    """
    single = [path for path in paths if isinstance(path, str | Path)]
    name = model_of(single) if len(single) == len(paths) else None
    if name is None:
        raise MembersError(
            "Which network the members are is not known: no model is named, and not all of them are"
            " folders of save_pretrained; name it."
        )
    check_alike(single)
    return name


def check_alike(paths: Sequence[str | Path]) -> None:
    """Refuse folders whose networks have other tensors than that of the first one.

    The networks are built without numbers.

    Args:
        paths: the folders.

    Raises:
        MembersError: they are of different classes, their heads have different numbers of labels,
            or a size differs; the message names it.
        SettingError: as `resolve_model`.
    """
    first, *others = [str(path) for path in paths]
    before = _config(first)
    resolve_model(f"{SOURCE}{first}")
    shapes = None
    for other in others:
        config = _config(other)
        resolve_model(f"{SOURCE}{other}")
        _check_class(first, before, other, config)
        if not _differing(before, config) and _labels(before) == _labels(config):
            continue
        shapes = shapes or _shapes(before)
        if shapes is None or shapes == _shapes(config):
            continue
        _check_labels(first, before, other, config)
        keys = _differing(before, config)
        told = [key for key in keys if _shapes(_with(before, config, key)) != shapes]
        key = (told or keys or [CONFIG])[0]
        raise MembersError(
            f"{first} and {other} are of different sizes: {key} is {_shown(before, key)} in the"
            f" config of the one and {_shown(config, key)} in that of the other; give members of"
            " one architecture."
        )


def differences(paths: Sequence[Any]) -> list[str]:
    """Sentences on what the configs say otherwise than the first, and what may matter."""
    named = [path for path in paths if isinstance(path, str | Path)]
    if len(named) < len(paths) or not all_pretrained(named):
        return []
    first, *others = [str(path) for path in named]
    before, told = _config(first), []
    for other in others:
        config = _config(other)
        keys = _differing(before, config)
        if keys:
            listed = ", ".join(
                f"{key} ({_shown(before, key)}, {_shown(config, key)})" for key in keys[:SHOWN]
            )
            more = f" and {len(keys) - SHOWN} more" * (len(keys) > SHOWN)
            told.append(
                f"{other} has another config than {first} in {listed}{more}, and is run as {first}"
                " says"
            )
        own, theirs = before.get("id2label"), config.get("id2label")
        if isinstance(own, Mapping) and isinstance(theirs, Mapping) and len(own) == len(theirs):
            other_name = next((k for k in own if _otherwise(own[k], theirs.get(k))), None)
            if other_name is not None:
                told.append(
                    f"label {other_name} is '{own[other_name]}' in {first} and"
                    f" '{theirs.get(other_name)}' in {other}; members are folded label by label,"
                    " by number"
                )
    return told


def _otherwise(own: object, other: object) -> bool:
    """Whether two labels have names that differ; transformers calls those without one LABEL_0."""
    return own != other and not any(str(one).startswith("LABEL_") for one in (own, other))


def _home(text: str) -> Path:
    return Path(text).expanduser()


def _config(folder: str) -> dict[str, Any]:
    """The content of a folder's config, with the defaults of its family.

    Raises SettingError if there is none.
    """
    path = _home(folder) / CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no table")
    except (OSError, ValueError, RecursionError) as error:
        raise SettingError(
            f"The config {path} cannot be read ({str(error)[:120]}); write the folder again with"
            " save_pretrained."
        ) from None
    return {**_defaults(content), **content}


def _defaults(content: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a family that its config leaves out; {} of a family that is not known."""
    try:
        import transformers

        config = transformers.CONFIG_MAPPING[content["model_type"]].from_dict(dict(content))
        found: dict[str, Any] = json.loads(json.dumps(config.to_dict(), default=str))
    except Exception:  # building the network tells what is wrong
        return {}
    return {key: value for key, value in found.items() if key not in LABELS}


def _check_class(first: str, before: Mapping[str, Any], other: str, config: Any) -> None:
    own, theirs = before.get("architectures"), config.get("architectures")
    if own and theirs and own[0] != theirs[0]:
        raise MembersError(
            f"{first} is a {own[0]} and {other} a {theirs[0]}; give members of one class, or say"
            f" what to read of them, as with --model '{first}?task=features'."
        )


def _check_labels(first: str, before: Mapping[str, Any], other: str, config: Any) -> None:
    own, theirs = _labels(before), _labels(config)
    if own == theirs:
        return
    prefix = _prefix_below(before)
    cure = (
        f"fold the networks below them, with --model '{first}?task=features' --prefix {prefix}. and"
        " data without labels"
        if prefix
        else "give members of one number of labels"
    )
    raise MembersError(
        f"The head of {first} has {own} labels and that of {other} has {theirs}, and only heads of"
        f" the same labels can be folded; {cure}."
    )


def _labels(config: Mapping[str, Any]) -> int:
    names = config.get("id2label")
    given = config.get("num_labels")
    return len(names) if isinstance(names, Mapping) else given if isinstance(given, int) else 2


def _prefix_below(content: Mapping[str, Any]) -> str:
    """What stands before the names of the network below the head; "" if it is no whole network."""
    import torch
    import transformers

    try:
        config = transformers.CONFIG_MAPPING[content["model_type"]].from_dict(dict(content))
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            auto: Any = transformers.AutoModel
            plain = auto.from_config(config)
    except Exception:  # a family without such a network
        return ""
    named = getattr(transformers, str((content.get("architectures") or [""])[0]), None)
    prefix = str(getattr(named, "base_model_prefix", ""))
    whole = _shapes(content) or {}
    return prefix if all(f"{prefix}.{name}" in whole for name in plain.state_dict()) else ""


def _differing(before: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The keys that may matter and whose values differ."""
    return [
        key
        for key in dict.fromkeys([*before, *config])
        if key not in IDLE
        and key not in LABELS
        and not key.endswith(IDLE_ENDINGS)
        and before.get(key) != config.get(key)
    ]


def _with(before: Mapping[str, Any], config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The first config, with one key of the other."""
    changed = {name: value for name, value in before.items() if name != key}
    return {**changed, key: config[key]} if key in config else changed


def _shown(config: Mapping[str, Any], key: str) -> str:
    return str(config[key])[:60] if key in config else ABSENT


def _shapes(content: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """The shape of every tensor of a config's network; None if it cannot be built so."""
    import torch
    import transformers

    try:
        config = transformers.CONFIG_MAPPING[content["model_type"]].from_dict(dict(content))
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = getattr(transformers, str(content["architectures"][0]))(config)
    except Exception:  # building it in earnest tells what is wrong
        return None
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
