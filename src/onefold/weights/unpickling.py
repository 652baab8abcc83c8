"""Read a pickle without running anything that it names.

A pickle is a program for a stack machine (Python's module `pickletools` lists its instructions).
The machine here makes containers, numbers and texts. Whatever else the pickle names is not
imported: a class or function becomes a `Named`, and an object a `Made`. A file can therefore hold
anything and nothing of it runs. Memory grows with the pickle alone.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import IO, Any

from onefold.weights.pickled_names import DICTIONARIES

Stack = list[Any]
LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}
LONGEST_KEY = 16  # parts of a tuple that is a key
IDLE = {"PROTO", "FRAME", "READONLY_BUFFER", "STOP"}


class DamagedPickleError(ValueError):
    """The bytes are no pickle, or one that contradicts itself."""


class Named:
    """A class, function or constant that a pickle names by module and name; it is not imported."""

    def __init__(self, name: str) -> None:
        self.name = name


class Made:
    """An object that a pickle describes; it is not made.

    Args:
        kind: the class or function that would make it.
        given: what that would be called with.
    """

    def __init__(self, kind: str, given: tuple[Any, ...] = ()) -> None:
        self.kind = kind
        self.given = given
        self.state: Any = None


Build = Callable[[str, tuple[Any, ...]], Any]


def unpickle(stream: IO[bytes], build: Build, stored: Callable[[Any], Any]) -> tuple[Any, set[str]]:
    """The object of the pickle that begins at the stream's position, and all that it names.

    Args:
        stream: a file in memory; it stands behind the pickle afterwards.
        build: the object for the name of a class or function and what it is called with.
        stored: the object for a persistent id.

    Raises:
        DamagedPickleError: the bytes are no whole pickle, or contradict themselves.
    """
    machine = _Machine(build, stored)
    try:
        for code, argument, _ in pickletools.genops(stream):
            machine.step(code.name, argument)
        return machine.result(), machine.names
    except DamagedPickleError:
        raise
    # Whatever the module or the machine stumbles over is a contradiction in the pickle.
    except Exception as error:
        raise DamagedPickleError(str(error).split("\n")[0][:100] or type(error).__name__) from error


class _Machine:
    def __init__(self, build: Build, stored: Callable[[Any], Any]) -> None:
        self.build, self.stored = build, stored
        self.stack: Stack = []
        self.below: list[Stack] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}
        self.names: set[str] = set()
        self.steps = self.copied = 0

    def step(self, code: str, argument: Any) -> None:
        """Carry out one instruction."""
        self.steps += 1
        if code in IDLE:
            return
        if code in LITERALS:
            self.stack.append(LITERALS[code])
        elif code in EMPTY:
            self.stack.append(EMPTY[code]())
        elif code in TUPLES:
            self.stack.append(tuple(self._popped(TUPLES[code])))
        elif handler := getattr(self, f"_do_{code.lower()}", None):
            handler(argument)
        elif argument is not None and not code.startswith(("EXT", "PERSID")):
            self.stack.append(argument)
        else:
            raise DamagedPickleError(f"the instruction {code} is not known here")

    def result(self) -> Any:
        """The only object left on the stack."""
        if len(self.stack) != 1 or self.below:
            raise DamagedPickleError("it does not end with one object")
        return self.stack[0]

    def _popped(self, count: int) -> Stack:
        if len(self.stack) < count:
            raise DamagedPickleError("an instruction lacks its operands")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _to_mark(self) -> Stack:
        taken, self.stack = self.stack, self.below.pop()
        return taken

    def _do_mark(self, _: None) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _do_pop(self, _: None) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._to_mark()

    def _do_pop_mark(self, _: None) -> None:
        self._to_mark()

    def _do_dup(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def _do_put(self, place: int) -> None:
        self.memo[int(place)] = self.stack[-1]

    _do_binput = _do_long_binput = _do_put

    def _do_memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _do_get(self, place: int) -> None:
        self.stack.append(self.memo[int(place)])

    _do_binget = _do_long_binget = _do_get

    def _do_list(self, _: None) -> None:
        items = self._to_mark()  # this changes the stack
        self.stack.append(items)

    def _do_append(self, _: None) -> None:
        owner, item = self._popped(2)
        _extend(owner, [item])
        self.stack.append(owner)

    def _do_appends(self, _: None) -> None:
        items = self._to_mark()
        _extend(self.stack[-1], items)

    _do_additems = _do_appends

    def _do_tuple(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append(tuple(items))

    def _do_empty_set(self, _: None) -> None:
        self.stack.append(Made("builtins.set"))

    def _do_frozenset(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append(Made("builtins.frozenset", tuple(items)))

    def _do_dict(self, _: None) -> None:
        table: dict[Any, Any] = {}
        _enter(table, self._to_mark())
        self.stack.append(table)

    def _do_setitem(self, _: None) -> None:
        owner, key, value = self._popped(3)
        _enter(owner, [key, value])
        self.stack.append(owner)

    def _do_setitems(self, _: None) -> None:
        items = self._to_mark()
        _enter(self.stack[-1], items)

    def _do_global(self, name: str) -> None:
        self._name(name.replace(" ", "."))

    def _do_stack_global(self, _: None) -> None:
        module, name = self._popped(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise DamagedPickleError("a name is no text")
        self._name(f"{module}.{name}")

    def _name(self, name: str) -> None:
        self.names.add(name)
        self.stack.append(Named(name))

    def _do_reduce(self, _: None) -> None:
        function, given = self._popped(2)
        self._make(function, given)

    _do_newobj = _do_reduce

    def _do_newobj_ex(self, _: None) -> None:
        kind, given, _named = self._popped(3)
        self._make(kind, given)

    def _do_obj(self, _: None) -> None:
        kind, *given = self._to_mark()
        self._make(kind, tuple(given))

    def _do_inst(self, name: str) -> None:
        given = tuple(self._to_mark())
        self._name(name.replace(" ", "."))
        self._make(self.stack.pop(), given)

    def _make(self, kind: Any, given: Any) -> None:
        if not isinstance(kind, Named) or not isinstance(given, tuple):
            raise DamagedPickleError("it calls what is no class or function")
        if kind.name in DICTIONARIES:
            pairs = given[0] if len(given) == 1 else {}  # what a Counter counts, or a list of pairs
            self.stack.append(pairs if isinstance(pairs, dict) else self._from_pairs(pairs))
            return
        self.stack.append(self.build(kind.name, given))

    def _from_pairs(self, pairs: Any) -> dict[Any, Any]:
        table: dict[Any, Any] = {}
        if isinstance(pairs, list):
            self.copied += len(pairs)
            if self.copied > self.steps:  # the same list again and again
                raise DamagedPickleError("it unpacks to far more than its own size")
            _enter(table, [part for key, value in pairs for part in (key, value)])
        return table

    def _do_build(self, _: None) -> None:
        state = self._popped(1)[0]
        if isinstance(self.stack[-1], Made):
            self.stack[-1].state = state

    def _do_binpersid(self, _: None) -> None:
        self.stack.append(self.stored(self._popped(1)[0]))


def _extend(owner: Any, items: Stack) -> None:
    if isinstance(owner, list):
        owner.extend(items)
    elif not isinstance(owner, Made):  # what would be in it is of no use
        raise DamagedPickleError("it appends to what is no list")


def _enter(owner: Any, items: Stack) -> None:
    if isinstance(owner, Made):
        return
    if not isinstance(owner, dict) or len(items) % 2:
        raise DamagedPickleError("it has keys without values")
    for key, value in zip(items[::2], items[1::2], strict=True):
        owner[_key(key)] = value


def _key(key: Any) -> Any:
    """The key of a dictionary.

    Tuples in tuples are refused, since their hashes are found in a recursion without end, and so
    are long tuples and numbers, whose hashes are found anew each time.
    """
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts[:LONGEST_KEY]:
        if isinstance(part, tuple | list | dict):
            raise DamagedPickleError("a key is a container")
        if isinstance(part, int) and part.bit_length() > 64:
            raise DamagedPickleError("a key is a huge number")
    if len(parts) > LONGEST_KEY:
        raise DamagedPickleError("a key is a long tuple")
    return key
