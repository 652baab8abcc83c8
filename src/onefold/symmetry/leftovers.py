"""What torch keeps of every trace as long as the process runs, and how it is let go.

Three things would grow from merge to merge. Symbolic sizes refer to their environment from inside
of torch, where the garbage collector does not look. Methods of environments remember their answers
in caches of the class, some without a bound, which keep the environments. The source of every
generated `forward` stays for tracebacks.
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.fx import graph_module
from torch.fx.experimental.symbolic_shapes import ShapeEnv

GENERATED = "<eval_with_key>"  # the file names of generated code begin so


def break_cycle(program: ExportedProgram) -> None:
    """Let Python free the program's symbolic sizes once nobody uses it.

    Its shape environment lists tensors for guards, which were made by now.
    """
    for node in program.graph.nodes:
        if _break(getattr(node.meta.get("val"), "fake_mode", None)):
            return


def _break(mode: Any) -> bool:
    """Let go of the tensors that the environment of a mode lists; False if it has none."""
    environment = getattr(mode, "shape_env", None)
    if environment is None:
        return False
    environment.tracked_fakes = []
    environment.fake_tensor_cache.clear()
    return True


@contextmanager
def forgotten() -> Iterator[None]:
    """Forget, after this block, what torch remembers of the traces that were made in it.

    An answer of an environment that is forgotten is worked out again. A traceback through generated
    code shows no line of it.
    """
    before = _sources()
    try:
        yield
    except Exception as error:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            for value in list(frame.f_locals.values()):
                if isinstance(value, FakeTensorMode):
                    _break(value)
        raise
    finally:
        for method in vars(ShapeEnv).values():
            _clear(method)
        kept = getattr(getattr(graph_module, "_loader", None), "eval_cache", {})
        for name in _sources() - before:
            linecache.cache.pop(name, None)
            kept.pop(name, None)


def _sources() -> set[str]:
    return {name for name in list(linecache.cache) if name.startswith(GENERATED)}


def _clear(function: Any) -> None:
    """Clear the cache of a function, or of one that it wraps, if there is one."""
    while function is not None:
        clear = getattr(function, "cache_clear", None)
        if callable(clear):
            clear()
        function = getattr(function, "__wrapped__", None)
