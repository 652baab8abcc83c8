"""torch.export of a network, in eval mode, quiet, with its errors turned into one sentence.

The graph is kept undecomposed and not functionalised: it makes the very calls that the network
makes, so that a replay gives the same bits, takes the same time and accepts any memory format.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.utils import _pytree as pytree

from onefold.caches import return_no_caches, without_returned_caches
from onefold.copying import copied
from onefold.errors import TraceError
from onefold.symmetry.leftovers import break_cycle, forgotten
from onefold.symmetry.sizes import tidy

_log = logging.getLogger(__name__)


def export(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic: bool,
    axes: Collection[tuple[int, int]] = (),
) -> ExportedProgram:
    """The exported program of `model(*args, **kwargs)`.

    Args:
        model: the network; it is left as it was.
        args: positional inputs.
        kwargs: keyword inputs.
        dynamic: whether the program takes any length of the first axes, and of `axes`.
        axes: (number of the input, axis) of further axes of any length.

    Raises:
        TraceError: torch.export cannot trace the network.
    """
    shapes: Any = ShapesCollection()  # type: ignore[no-untyped-call]
    # Export marks the open axes on the tensors that it is given, where a later export finds them.
    args, kwargs = pytree.tree_map_only(Tensor, lambda x: x.detach(), (args, kwargs))
    leaves = pytree.tree_leaves((args, kwargs), is_leaf=lambda x: x is None)
    for number, value in enumerate(leaves):
        if isinstance(value, Tensor) and value.dim():
            open_axes = [0, *(axis for k, axis in axes if k == number)]
            shapes[value] = dict.fromkeys(open_axes, Dim.AUTO)
    try:
        with _quiet(), forgotten(), torch.no_grad():
            program = torch.export.export(
                _twin(model), args, kwargs, strict=False, dynamic_shapes=shapes if dynamic else None
            )
        tidy(program)
        break_cycle(program)
        return program
    # torch.export raises nearly anything, from inside the network and from inside torch
    except Exception as raised:
        error = raised
        if isinstance(raised, _NetworkError):
            error = raised.error
            _log.debug("The graph of %s until it failed:%s", type(model).__name__, raised.graph)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        cause = type(error).__name__
        if lines:
            cause = f"{cause}: {lines[0]}"[:300].rstrip(".")
        raise TraceError(
            f"torch.export cannot trace {type(model).__name__} ({cause}), so its symmetries are"
            ' unknown; plain averaging without alignment still works with fold="average" and'
            ' align="none" (--fold average --align none).'
        ) from error


class _NetworkError(RuntimeError):
    """An error from inside the network.

    If an error speaks of data, torch hangs the graph so far on it, and then prints the graph on
    standard error if it finds it there. This one keeps the graph under another name.

    Args:
        error: as it was raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error, self.graph = error, ""

    @property
    def partial_fx_graph(self) -> str:
        """Nothing: the graph is in `graph`."""
        raise AttributeError("partial_fx_graph")

    @partial_fx_graph.setter
    def partial_fx_graph(self, text: str) -> None:
        self.graph = text


def _twin(model: nn.Module) -> nn.Module:
    """The network in eval mode, in modules of its own that hold the same tensors.

    While torch.export runs, the modules that it is given hold tensors without numbers, which
    another thread could meet in the network itself. Its errors are _NetworkError. It returns no
    caches.
    """
    tensors = (*model.parameters(), *model.buffers())
    twin = copied(model, {id(tensor): tensor for tensor in tensors}).eval()
    if isinstance(twin, torch.jit.ScriptModule):
        return twin
    return_no_caches(twin)
    forward = twin.forward

    @functools.wraps(forward)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return without_returned_caches(forward(*args, **kwargs))
        except Exception as error:
            raise _NetworkError(error) from error

    vars(twin)["forward"] = guarded
    return twin


def doubled(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any], bool]]:
    """Yield the inputs with every first axis of length 1 doubled, and True for `dynamic`.

    Export never makes an axis of length 1 a dynamic one. Nothing is yielded if some first axis is
    longer.
    """

    def double(x: Tensor) -> Tensor:
        return torch.cat([x, x]) if x.dim() else x

    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.dim()]
    if tensors and all(len(x) == 1 for x in tensors):
        twice_args, twice_kwargs = pytree.tree_map_only(Tensor, double, (args, kwargs))
        yield twice_args, twice_kwargs, True


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set every module to eval mode in this block; each flag is restored on its own."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _quiet() -> Iterator[None]:
    """Run torch.export without its messages: problems are raised, or shown by the spec.

    They are left alone if somebody listens to the debug messages of this module.
    """
    if _log.isEnabledFor(logging.DEBUG):
        yield
        return
    names = ("torch.export", "torch.fx", "torch._export", "torch._dynamo", "torch._subclasses")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def shape_of(value: Tensor) -> list[int]:
    """The shape of a traced value, with the sizes of the example for dynamic axes.

    Raises:
        TraceError: an axis has no size in the example, as the values of the data tell it.
    """
    sizes = [d.node.hint if isinstance(d, torch.SymInt) else int(d) for d in value.shape]
    if None in sizes:
        raise TraceError(
            "The values of the data tell how long an axis inside the network is, as after"
            " x[mask] or nonzero(), so its symmetries are unknown; plain averaging without"
            ' alignment still works with fold="average" and align="none" (--fold average --align'
            " none)."
        )
    return [int(size) for size in sizes]
