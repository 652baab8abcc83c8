"""A network of the package transformers, built from a config file (`hf:FOLDER`).

The name is `hf:FOLDER` or `hf:FOLDER/config.json`. Nothing is downloaded. The config names the
family of networks (`model_type`). The option `task` names the head. Without it, the class that the
config names under `architectures` is built. Every other option sets a value of the config. Weights
are initialised at random: give a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from onefold.errors import SettingError, nearest
from onefold.sources.models import model_sources
from onefold.sources.names import Name
from onefold.sources.packages import optional_package
from onefold.weights import check_ordinary

FILE = "look its values up in the file."
TASKS = {  # option `task` -> the class of transformers that finds the network for a config
    "features": "AutoModel",
    "causal-lm": "AutoModelForCausalLM",
    "masked-lm": "AutoModelForMaskedLM",
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "multiple-choice": "AutoModelForMultipleChoice",
    "next-sentence": "AutoModelForNextSentencePrediction",
    "image-classification": "AutoModelForImageClassification",
    "semantic-segmentation": "AutoModelForSemanticSegmentation",
    "depth-estimation": "AutoModelForDepthEstimation",
    "audio-classification": "AutoModelForAudioClassification",
    "video-classification": "AutoModelForVideoClassification",
}


@model_sources.register("hf:")
def transformers_model(name: Name) -> Callable[..., nn.Module]:
    """A network of transformers from a local config (hf:FOLDER?task=causal-lm), not downloaded.

    Raises:
        SettingError: the config is missing, damaged or of an unknown family, the task or an option
            is unknown, or the package is missing.
    """
    content = _read(name)
    transformers = optional_package("transformers", "hf", name)
    family = content.pop("model_type", None)
    if family not in transformers.CONFIG_MAPPING:
        hint = nearest(
            str(family),
            transformers.CONFIG_MAPPING.keys(),
            "use another version of it, or file.py:factory for code of your own.",
        )
        raise SettingError(
            f"The config of '{name.text}' is of the model_type {family!r}, which the package"
            f" transformers does not know; {hint}"
        )
    task = name.options.get("task")
    if task is not None and _dashed(task) not in TASKS:
        raise SettingError(
            f"The source '{name.text}' has no task '{task}'; {nearest(str(task), TASKS)}"
        )

    def build(task: str | None = None, **settings: Any) -> nn.Module:
        config = _config(transformers, family, content, settings, name)
        if task is not None:
            return _for_task(transformers, config, _dashed(task), name)
        return _named(transformers, content, name)(config)

    return build


def _dashed(task: object) -> str:
    """The name of a task as it stands in TASKS, whether its words have lines below or between."""
    return str(task).replace("_", "-")


def _read(name: Name) -> dict[str, Any]:
    """The content of the config file. Raises SettingError if there is none."""
    path: Path = name.path / "config.json" if name.path.is_dir() else name.path
    try:
        check_ordinary(path)
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        missing = (
            f"the folder {name.path} has no config.json"
            if name.path.is_dir()
            else f"{name.path} is no folder or file"
        )
        raise SettingError(
            f"The config of '{name.text}' does not exist: {missing}; nothing is downloaded, so save"
            " it here first."
        ) from None
    except (OSError, ValueError) as error:
        raise SettingError(
            f"The config {path} of '{name.text}' cannot be read ({str(error)[:120]}); it must be a"
            " JSON file."
        ) from None
    if not isinstance(content, dict):
        raise SettingError(
            f"The config {path} of '{name.text}' is a {type(content).__name__}; it must be a JSON"
            " object with the key model_type."
        )
    return content


def _config(
    transformers: Any, family: str, content: dict[str, Any], settings: dict[str, Any], name: Name
) -> Any:
    """The config with the name's options in it.

    Caches of keys and values are off, because they would be outputs, which fix keys and values in
    their basis.
    """
    config = transformers.CONFIG_MAPPING[family].from_dict(dict(content))
    known = {*config.to_dict(), "num_labels", "attn_implementation", "experts_implementation"}
    for option in settings:
        if option not in known:
            raise SettingError(
                f"The config of '{name.text}' has no value '{option}';"
                f" {nearest(option, known, FILE)}"
            )
    if hasattr(config, "use_cache"):
        settings = {"use_cache": False, **settings}
    return transformers.CONFIG_MAPPING[family].from_dict(dict(content), **settings)


def _for_task(transformers: Any, config: Any, task: str, name: Name) -> nn.Module:
    """The network of the config's family for the task. Raises SettingError if it has none."""
    try:
        model: nn.Module = getattr(transformers, TASKS[task]).from_config(config)
    except ValueError as error:
        if not str(error).startswith("Unrecognized configuration class"):
            raise
        kind = (
            f"The package transformers has no network of the kind '{config.model_type}' for the"
            f" task '{task}'"
        )
        raise SettingError(
            f"{kind}; choose another task for '{name.text}': {', '.join(TASKS)}."
        ) from None
    return model


def _named(transformers: Any, content: dict[str, Any], name: Name) -> Callable[[Any], nn.Module]:
    """The class that the config names. Raises SettingError if there is none, or it is unknown."""
    named = content.get("architectures") or []
    if not named:
        raise SettingError(
            f"The config of '{name.text}' names no architecture; say what to build, as in"
            f" ?task=causal-lm: {', '.join(TASKS)}."
        )
    network = getattr(transformers, str(named[0]), None)
    if not (isinstance(network, type) and issubclass(network, nn.Module)):
        raise SettingError(
            f"The package transformers has no network '{named[0]}', which the config of"
            f" '{name.text}' names; say what to build with ?task=: {', '.join(TASKS)}."
        )
    return network
