"""Processes that train, started through lightning-fabric: one on each device, told apart by rank.

The processes are spawned here and run one function, so that no launcher is needed and none may be
used. The first process, which started them, waits. If one process fails, all end, and the caller
gets the same error.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from onefold import errors
from onefold.errors import OnefoldError, RanksError, RecipeError, SettingError
from onefold.lost_processes import MEMORY, ending, lost_peer, workers_named

NOISY = (
    "lightning_fabric.utilities.distributed",
    "lightning_fabric.utilities.rank_zero",
    "lightning_utilities.core.rank_zero",
)
VARIABLES = ("LOCAL_RANK", "MASTER_PORT")  # a launcher's; Fabric sets the second


def fabric_package() -> Any:
    """The package lightning_fabric.

    Raises:
        SettingError: it is not installed.
    """
    try:
        import lightning_fabric
    except ImportError:
        raise SettingError(
            "Training needs the package lightning-fabric; install it with: pip install"
            ' "onefold[train]".'
        ) from None
    _quiet()
    return lightning_fabric


def check_processes(device: torch.device, devices: int) -> None:
    """Check that so many processes can be started here.

    Raises:
        SettingError: a launcher started this process, one device is named for several processes, or
            there are fewer CUDA devices, or far fewer CPU cores.
    """
    fabric_package()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or "LOCAL_RANK" in os.environ:
        raise SettingError(
            "The processes are started by onefold itself; run it without torchrun or another"
            " launcher, and give --devices."
        )
    if devices > 1 and device.index is not None:
        raise SettingError(
            f"The device '{device}' is a single one, but {devices} were asked for; give the device"
            " as cuda."
        )
    most = max(64, 4 * (os.cpu_count() or 1))
    if device.type != "cuda" and devices > most:
        raise SettingError(
            f"{devices} processes are more than the {most} that make sense here; give fewer"
            " --devices."
        )
    if device.type == "cuda" and devices > torch.cuda.device_count():
        raise SettingError(
            f"There are {torch.cuda.device_count()} CUDA devices here, not {devices}; give fewer"
            " --devices."
        )


def launch(
    function: Callable[..., None],
    arguments: tuple[Any, ...],
    device: torch.device,
    devices: int = 1,
    precision: str = "32-true",
    *,
    again: str = "give the same command again",
) -> None:
    """Call `function(fabric, *arguments)` on one device or on several.

    With one device the function runs in this process, with several in as many new processes, one on
    each.

    Args:
        function: function of the fabric and the arguments; for several devices it must be
            picklable.
        arguments: its further arguments.
        device: kind of device; with an index only for one device.
        devices: number of devices.
        precision: precision as lightning-fabric names it.
        again: clause of an error message that says how to go on if a process is lost.

    Raises:
        OnefoldError: as the function does, in whatever process.
        RanksError: a process ended without an error, as one that is killed.
    """
    fabric_package()
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    before = {name: os.environ.get(name) for name in VARIABLES}
    children = set(multiprocessing.active_children())
    single = device.index is not None and devices == 1 and device.type != "cpu"
    where: Any = [device.index] if single else devices
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning_fabric")
            fabric: Any = Fabric(
                accelerator=device.type,
                devices=where,
                precision=precision,  # type: ignore[arg-type]
                strategy="ddp_spawn" if devices > 1 else "auto",
                plugins=LightningEnvironment(),
            )
            if devices > 1:
                fabric.launch(_Entry(function, os.getpid()), *arguments)
            else:
                fabric.launch(function, *arguments)
    except ProcessRaisedException as error:
        if lost_peer(error):
            raise _lost(f"One of {devices} processes", "has ended", again) from error
        raise _translated(error, devices) from error
    except ProcessExitedException as error:
        which = f"Rank {error.error_index} of {devices} processes"
        raise _lost(which, ending(error.exit_code), again) from error
    finally:
        for child in set(multiprocessing.active_children()) - children:
            child.terminate()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@dataclass(frozen=True)
class _Entry:
    """The first and the last steps of a new process, which must not outlive its parent.

    If the parent ends, torch interrupts the process.

    Attributes:
        function: function that the process runs.
        parent: process id of the parent.
    """

    function: Callable[..., None]
    parent: int

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # unpickled before the processes connect to each other, which would be logged
        _quiet()

    def __call__(self, fabric: Any, *arguments: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if os.getppid() != self.parent:
            raise KeyboardInterrupt
        with workers_named():
            self.function(fabric, *arguments)
        fabric.barrier()
        # if it is left to the end of the interpreter, its threads may abort the process
        torch.distributed.destroy_process_group()


def _lost(which: str, how: str, again: str) -> RanksError:
    less = "; fewer --devices or smaller batches need less" if how == MEMORY else ""
    return RanksError(f"{which} {how}; {again}{less}.")


def _quiet() -> None:
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _translated(error: ProcessRaisedException, devices: int) -> OnefoldError:
    """The error of a process as it was raised there, read from the last line of its traceback.

    An error that is not of this library is one sentence.
    """
    last = str(error).strip().splitlines()[-1]
    name, _, message = last.partition(": ")
    kind = getattr(errors, name.rpartition(".")[2], None)
    if isinstance(kind, type) and issubclass(kind, OnefoldError):
        return kind(message)
    return RanksError(
        f"Rank {error.error_index} of {devices} processes failed with {last[:200].rstrip('.')};"
        " the same with --debug, or in one process, shows where."
    )


def check_device(name: str) -> torch.device:
    """The device of that name. Raises RecipeError if there is none here."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RecipeError(f"There is no device '{name}'; use cpu, cuda or cuda:N.") from None
    if device.type == "cuda" and (
        not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()
    ):
        raise RecipeError(
            f"The device '{name}' is not there: torch sees {torch.cuda.device_count()} CUDA"
            " devices; use --device cpu."
        )
    return device
