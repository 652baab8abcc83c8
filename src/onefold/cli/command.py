"""The form of all commands of networks and data: options make a document, and it is carried out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field

from onefold.cli.console import note, say, show, tell, verdict
from onefold.cli.given import check_needed, recipe_file
from onefold.documents.commands import command_of
from onefold.documents.options import Option, nested, options_of, options_of_dataclass, source_of
from onefold.documents.part import Flag, InputFile
from onefold.documents.problems import Source, at_hand
from onefold.errors import RecipeError
from onefold.progress import waiting
from onefold.recipe.document import Document, Job, NetworkOutputPart, ReadingPart, Request
from onefold.recipe.reading import check_as, read_as
from onefold.recipe.run import Made, Running

D = TypeVar("D", bound=Document)
Q = TypeVar("Q", bound=Request)

KEYS: Any = Job.model_fields
MAPPED = ", mapped"  # the end of the names of members that were mapped, and are used by no one
PATHS = ("output", "html")  # keys of what may be given beside a recipe
RECIPE = Option(
    "recipe", ("recipe",), str, "A recipe (.yaml), instead of options.", Flag(metavar="RECIPE.yaml")
)


class NetworksRequest(Request):
    """What the commands take that look at checkpoints and write none."""

    members: Annotated[tuple[InputFile, ...], Flag(metavar="CHECKPOINTS...")]
    reading: ReadingPart = KEYS["reading"]
    network_output: NetworkOutputPart = KEYS["network_output"]
    device: str = KEYS["device"]
    table: Annotated[bool, Flag(name="json")] = Field(
        default=False, description="Print everything as JSON."
    )

    @property
    def paths(self) -> list[str]:
        """The files of the networks."""
        return [member.path for member in self.members]


@dataclass(frozen=True)
class RequestCommand(Generic[Q]):
    """A command that its options describe in full, and that writes no recipe.

    Attributes:
        kind: the document.
        run: carries it out.
    """

    kind: type[Q]
    run: Callable[[Q], None]

    @property
    def text(self) -> str:
        """The help: the docstring of the module of `run`."""
        return _help(self.run)

    def options(self) -> list[Option]:
        """All options, in their order in the help."""
        return options_of(self.kind)

    def build(self) -> Any:
        """The command of typer's."""
        options = self.options()

        def call(context: Any, given: dict[str, Any]) -> None:
            content = nested(options, given)
            check_needed(options, content, self.kind.noun, self.kind.command)
            source = source_of(f"The {self.kind.noun}", options)
            self.run(check_as(self.kind, content, source))

        return command_of(self.kind.command, self.text, options, call)


@dataclass(frozen=True)
class RecipeCommand(Generic[D]):
    """A command that carries out a recipe: one that its options make, or one in a file.

    Attributes:
        kind: the document.
        running: the dataclass of how it is carried out.
        make: carries it out.
        tell: prints what came of it, and returns the last sentence.
    """

    kind: type[D]
    running: type[Running]
    make: Callable[..., Made[D, Any, Any]]
    tell: Callable[[Any], str]

    @property
    def text(self) -> str:
        """The help: the docstring of the module of `tell`."""
        return _help(self.tell)

    def options(self) -> list[Option]:
        """All options, in their order in the help."""
        return [*self._of_recipe(), *options_of_dataclass(self.running)]

    def _of_recipe(self) -> list[Option]:
        options = options_of(self.kind)
        return options if "members" in self.kind.model_fields else [RECIPE, *options]

    def build(self) -> Any:
        """The command of typer's."""
        options, running = self._of_recipe(), options_of_dataclass(self.running)

        def call(context: Any, given: dict[str, Any]) -> None:
            file = recipe_file(nested(options, given))
            how = self.running(
                threads=context.obj,
                recipe_file=Path(file) if file else None,
                **nested(running, given),
            )
            recipe = self._asked(options, given, how)
            source = Source("") if file else source_of("", options)
            try:
                with at_hand(source), waiting(f"The {self.kind.noun}"):
                    made = self.make(recipe, how, note)
            except KeyboardInterrupt:
                if hasattr(how, "resume") and "members" not in self.kind.model_fields:
                    note(
                        "What was reached after the last whole epoch is kept; the same command"
                        " with --resume goes on from there."
                    )
                raise
            self._told(made)

        return command_of(self.kind.command, self.text, [*options, *running], call)

    def _asked(self, options: list[Option], given: dict[str, Any], how: Running) -> D:
        """The recipe of the file or of the options. Raises RecipeError if both are given."""
        content, file = nested(options, given), how.recipe_file
        if file is None:
            check_needed(options, content, self.kind.noun, self.kind.command)
            return check_as(self.kind, content, source_of(f"The {self.kind.noun}", options))
        for option in options:
            if option.keys[0] in content and not (option.flag.always or option.flag.metavar):
                if given.get(option.variable) in (None, []):
                    continue
                raise RecipeError(
                    f"A recipe says everything, so it takes no --{option.name}; edit a copy of it,"
                    " or give only where it writes and how it runs."
                )
        files: dict[str, str | None] = {
            key: str(Path(content[key]).absolute()) for key in PATHS if key in content
        }
        if "output" in files and "html" in self.kind.model_fields:
            files = {"html": None, **files}
        recipe = read_as(self.kind, file, trust=how.trust, outputs=files)
        added = [InputFile(path=str(Path(path).absolute())) for path in content.get("use", ())]
        known = {used.path for used in recipe.use}
        more = tuple(used for used in added if used.path not in known)
        return recipe.model_copy(update={"use": (*recipe.use, *more)})

    def _told(self, made: Made[D, Any, Any]) -> None:
        if made.finished_before:
            folder = made.files[0].parent
            say(f"The run in {folder} came to its end before; nothing is left to do.")
            return
        tell(made.warnings)
        last = self.tell(made)
        say(last)


def show_scores(made: Made[Any, Any, Any]) -> None:
    """Print the verdict, the table of scores, and the classes by number, if scores were taken."""
    scored = made.scored
    if scored is None:
        return
    verdict(scored.verdict)
    say(f"Scores on {scored.examples:,} examples:")
    mapped = [row.name for row in scored.candidates if row.name.endswith(MAPPED)]
    show(scored.table, told=scored.caption, more=True, hidden=mapped)
    if scored.classes:
        say(f"Classes: {scored.classes}")


def names_of(files: tuple[Path, ...]) -> str:
    """The names of files in words."""
    names = [path.name for path in files]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def short_names(paths: Sequence[str]) -> list[str]:
    """File names, or whole paths if the names alone are not different."""
    names = [Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)


def _help(function: Callable[..., Any]) -> str:
    return sys.modules[function.__module__].__doc__ or ""
