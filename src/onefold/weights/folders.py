"""Folders of one network, as `save_pretrained` writes them: the file of weights in them.

Nothing here imports torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from onefold.errors import WeightsError

CONFIG = "config.json"
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
ADAPTER_CURE = "add it to its base first, as with merge_and_unload of peft"
CURE = "merge the model in float32, bfloat16 or float16, and quantise the result"
FIRST = (
    "model.safetensors.index.json",
    "model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)  # files of weights that libraries write, in the order in which they are looked for
NO_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")  # of a training run
ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


def is_pretrained(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder with the config of a network of transformers."""
    try:
        return (Path(path).expanduser() / CONFIG).is_file()
    except (OSError, RuntimeError, ValueError):  # no path at all, or an unknown ~user
        return False


def all_pretrained(paths: Sequence[str | os.PathLike[str]]) -> bool:
    """Whether there are paths, and each of them is such a folder."""
    return bool(paths) and all(map(is_pretrained, paths))


def weights_in(folder: Path) -> Path | list[Path]:
    """The file, the index or the shards to read in a folder.

    Raises:
        WeightsError: there are no weights, several files of them, or what is no whole network.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise WeightsError(f"{folder} cannot be read ({error.strerror}).") from error
    for name in FIRST:
        if name in names:
            return folder / name
    names = [name for name in names if not name.startswith(NO_WEIGHTS)]
    if "model_index.json" in names:
        raise WeightsError(
            f"{folder} is a pipeline of several networks; give the folder of one of them, as"
            f" {folder / 'unet'}."
        )
    if "adapter_config.json" in names:
        raise WeightsError(f"{folder} holds an adapter and no whole model; {ADAPTER_CURE}.")
    if indices := [name for name in names if name.endswith(".safetensors.index.json")]:
        return _only(folder, indices)
    shards = [name for name in names if SHARD.fullmatch(name) and name.endswith(ENDINGS)]
    if shards:
        return [folder / name for name in shards]
    single = [name for name in names if name.endswith(".safetensors")]
    single = single or [name for name in names if name.endswith(ENDINGS[1:])]
    if any(name.endswith(".gguf") for name in names) and not single:
        raise WeightsError(f"{folder} holds GGUF files, which are quantised; {CURE}.")
    return _only(folder, single)


def _only(folder: Path, names: Sequence[str]) -> Path:
    if not names:
        raise WeightsError(
            f"{folder} holds no weights (safetensors, or torch files); give a folder that does."
        )
    if len(names) > 1:
        listed = ", ".join(names[:3])
        raise WeightsError(f"{folder} holds several files of weights ({listed}); name one of them.")
    return folder / names[0]
