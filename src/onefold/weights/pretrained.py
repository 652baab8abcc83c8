"""Networks of transformers in their own folders, read and written by their own class.

The class may store its tensors under other names, or in other parts, than those that the network
has in memory. It knows both.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onefold.weights.checks import check_state
from onefold.weights.file_writers import errors_of_system
from onefold.weights.folders import CONFIG
from onefold.weights.selection import Selection


def is_transformer(module: nn.Module) -> bool:
    """Whether a network has a config, and can be written as a folder with it."""
    return hasattr(module, "config") and callable(getattr(module, "save_pretrained", None))


def state_by_class(folder: Path, module: nn.Module, selection: Selection) -> dict[str, Tensor]:
    """The state that the class of a network reads from a folder; empty if that does not fit.

    Args:
        folder: the folder.
        module: the network, which stays as it is.
        selection: what is asked for; only a prefix can be taken into account.
    """
    asked = (selection.entry, selection.keys, selection.drop)
    if asked != (None, None, None) or not (folder / CONFIG).is_file() or not is_transformer(module):
        return {}
    kind: Any = type(module)
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            found, told = kind.from_pretrained(
                str(folder),
                config=copy.deepcopy(module.config),
                dtype=next((p.dtype for p in module.parameters()), torch.float32),
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception:  # it fails in any way on files that do not fit
        return {}
    left = [
        name
        for name in told.get("unexpected_keys", ())
        if selection.prefix is None or name.startswith(selection.prefix)
    ]
    wrong = [*left, *told.get("missing_keys", ()), *told.get("mismatched_keys", ())]
    return {} if wrong or told.get("error_msgs") else dict(found.state_dict())


def sizes_beside_config(module: nn.Module) -> list[str]:
    """The tensors that have other sizes in a network than its class makes by its config."""
    kind: Any = type(module)
    try:
        with quiet(), torch.random.fork_rng(devices=[]), torch.device("meta"):
            made = kind(copy.deepcopy(module.config))
    except Exception:  # a class that is not made of its config alone
        return []
    wanted = {name: tensor.shape for name, tensor in made.state_dict().items()}
    own = {name: tensor.shape for name, tensor in module.state_dict().items()}
    return [name for name in {**wanted, **own} if wanted.get(name) != own.get(name)]


def write_by_class(
    module: Any, folder: Path, max_shard_bytes: int | None = None, *, check_finite: bool = True
) -> None:
    """Write a network into a folder that is there, as its class does: config and safetensors.

    Tied weights are stored once, and what the class generates text with is written as well. The
    network is left as it is.

    Args:
        module: a network of transformers.
        folder: the folder.
        max_shard_bytes: the bytes of a file at most; None: as the class does.
        check_finite: refuse NaN and infinity.

    Raises:
        WeightsError: it is not finite, or has quantised weights.
        OSError: the disk refuses.
    """
    what = f"The network {type(module).__name__}"
    check_state(module.state_dict(), what, module, check_finite=check_finite)
    config, before = module.config, dict(vars(module.config))
    size = {} if max_shard_bytes is None else {"max_shard_size": max_shard_bytes}
    try:
        with quiet(), errors_of_system():
            module.save_pretrained(folder, **size)
        usual = next((file.stat().st_mode for file in folder.glob(CONFIG)), None)
        for file in folder.glob("*.safetensors"):  # the library makes them its user's alone
            if usual is not None:
                file.chmod(usual)
    finally:  # the class enters its own name and dtype
        vars(config).clear()
        vars(config).update(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice of transformers, which says what callers say themselves."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
