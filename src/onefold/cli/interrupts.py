"""An interrupt that Python swallows is raised again.

An interrupt may come while a destructor or a callback of a weak reference runs. Python then prints
"Exception ignored in" with a traceback, and the program goes on as if nobody had asked it to stop
(`sys.unraisablehook`).
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SOON = 0.02  # seconds, in which the destructor comes to its end


def _interrupt() -> None:
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)  # which ends a call that waits, too
    else:
        _thread.interrupt_main()


@contextmanager
def kept_interrupts() -> Iterator[None]:
    """In this block a swallowed interrupt is raised again in the main thread, and not printed."""
    before, waiting = sys.unraisablehook, list[threading.Timer]()

    def told(ignored: Any) -> None:
        if not isinstance(ignored.exc_value, KeyboardInterrupt):
            before(ignored)
            return
        again = threading.Timer(SOON, _interrupt)
        again.daemon = True
        waiting.append(again)
        again.start()

    sys.unraisablehook = told
    try:
        yield
    finally:
        sys.unraisablehook = before
        for again in waiting:  # what is done needs no interrupt
            again.cancel()
