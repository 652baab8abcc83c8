"""The command line: one program, one file per command.

Commands parse, call the library and print; torch is imported only by those that need it.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Annotated, Any

import typer

from onefold._version import __version__
from onefold.cli.align import align
from onefold.cli.console import error, say
from onefold.cli.demo import demo
from onefold.cli.eval import evaluate
from onefold.cli.inspect import inspect
from onefold.cli.merge import merge
from onefold.cli.methods import methods
from onefold.cli.persist import persist
from onefold.cli.report import report
from onefold.cli.soft import soft
from onefold.cli.subspace import subspace
from onefold.errors import OnefoldError, RepeatedMembers

app = typer.Typer(
    name="onefold",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("demo")(demo)
app.command("inspect")(inspect)
app.command("align")(align)
app.command("merge")(merge)
app.command("soft")(soft)
app.command("subspace")(subspace)
app.command("persist")(persist)
app.command("eval")(evaluate)
app.command("report")(report)
app.command("methods")(methods)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"onefold {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Use so many CPU threads (default: as many as torch likes)."),
    ] = None,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the whole traceback of an error; may stand anywhere."),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and stop."
        ),
    ] = False,
) -> None:
    """onefold folds several trained networks into one better network. Begin with: onefold demo"""
    context.obj = threads
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported, later
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line on `arguments` (default: those of the process) and return its exit
    status: 0, 1, 2 or 130.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RepeatedMembers)  # commands say so themselves
            app([a for a in arguments if a != "--debug"], prog_name="onefold")
    except SystemExit as stop:
        if stop.code == 130:
            error("interrupted; no output was written.")
        return _status(stop.code)
    except OnefoldError as problem:
        if debug:
            raise
        error(str(problem))
        return 2
    except Exception as problem:
        if debug:
            raise
        text = " ".join(str(problem).split())[:300]
        error(
            f"something unexpected went wrong ({type(problem).__name__}: {text}); run again with"
            " --debug to see where."
        )
        return 1
    return 0


def main() -> None:
    """The `onefold` program.

    A request to end is taken like Ctrl-C, so that nothing half-written stays behind.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run())


def _status(code: Any) -> int:
    return code if isinstance(code, int) else 0 if code is None else 1
