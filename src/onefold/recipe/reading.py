"""Documents as files: read, checked, written; relative paths in files, absolute ones in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from onefold.documents.part import InputFile, Part, told_by
from onefold.documents.problems import Source
from onefold.documents.reading import checked, read_yaml
from onefold.documents.texts import with_texts
from onefold.documents.yaml_text import text_from
from onefold.errors import RecipeError
from onefold.recipe.document import DataPart, Document, Request
from onefold.recipe.named_files import check_below
from onefold.recipe.own_tokenizer import with_tokenizer
from onefold.sources.models import folder_as_name
from onefold.sources.names import in_name
from onefold.sources.trust import check_trusted, python_files
from onefold.sources.user_code import run_file

HEADER = """\
# A recipe of onefold. Make its result again with:
#   onefold {command} {name}{trust} -o {again}
"""
LONGEST_PATH = 4096  # characters
COMMANDS = {  # keys that only the recipes of these commands have
    "soft": ["soft"],
    "subspace": ["subspace"],
    "rounds": ["persist"],
    "training": ["subspace", "persist"],
    "width": ["prune"],
    "budget": ["prune"],
}

Asked = TypeVar("Asked", bound=Request)


def read_as(
    kind: type[Asked],
    path: str | Path,
    *,
    trust: bool = False,
    known: Request | None = None,
    outputs: Mapping[str, str | None] | None = None,
) -> Asked:
    """The recipe of this kind in the YAML file `path`, with absolute paths.

    Args:
        kind: the class of the recipe.
        path: the file.
        trust: the Python files that it names may be run.
        known: a document of the user's own, whose Python files may be run anyway.
        outputs: the absolute paths that are written, by the keys `output` and `html`, in place of
            those of the file, which must lie below its folder.

    Raises:
        RecipeError: the file cannot be read, is not YAML, names Python files without `trust`, or
            does not hold a valid recipe; the message names the file and the key.
        OutputError: it would write elsewhere than below its own folder.
    """
    path = Path(path)
    found = read_yaml(path, f"The recipe {path}")
    if isinstance(found.content, Mapping):
        owners = next((own for key, own in COMMANDS.items() if key in found.content), ["merge"])
        if kind.command not in owners:
            raise RecipeError(
                f"The recipe {path} is one of onefold {owners[0]}; run: onefold {owners[0]} {path}"
            )
    if not trust:
        check_trusted(found.content, path, known)
    source = Source(f"The recipe {path}", found.lines)
    recipe = check_as(kind, found.content, source, path.resolve().parent)
    check_below(recipe, path, outputs or ())
    return recipe.model_copy(update=dict(outputs or {}))


def check_as(
    kind: type[Asked], content: object, source: str | Source, folder: str | Path | None = None
) -> Asked:
    """`content`, as parsed from YAML or built from flags, as a recipe with absolute paths.

    The files under `use` are run first, so that what they register is known.

    Args:
        kind: the class of the recipe.
        content: keys and values.
        source: where it is from, or the beginning of the messages alone.
        folder: that relative paths are relative to; None: the working folder.

    Raises:
        RecipeError: it is no such recipe; the message names the key.
        MembersError: texts are read, and the members have different tokenizers.
        SettingError: a file under `use` is missing or fails.
    """
    load_used(content, source, folder)
    return with_tokenizer(absolute(checked(kind, _with_model(content, folder), source), folder))


def _with_model(content: object, folder: str | Path | None) -> object:
    """The content with the name of the network that members which are folders tell.

    A folder that is named as the network gets its source.
    """
    if not isinstance(content, Mapping):
        return content
    base, model = Path(folder or ".").resolve(), content.get("model")
    if isinstance(model, str):
        return {**content, "model": folder_as_name(model, base)}
    if model is None and (first := told_by(content.get("members"), base)) is not None:
        return {**content, "model": f"hf:{first}"}
    return content


def load_used(content: object, source: str | Source, folder: str | Path | None = None) -> None:
    """Run the files that `content` names under `use`, each once; errors as `check_as`."""
    if not isinstance(content, Mapping) or not content.get("use"):
        return
    named = checked(_Used, {"use": content["use"]}, source)
    base = Path(folder or ".").resolve()
    for file in named.use:
        load_file(file.model_copy(update={"path": _joined(base, file.path)}))


class _Used(Part):
    use: tuple[InputFile, ...] = ()


def load_file(file: InputFile) -> None:
    """Run a Python file that registers methods; once for every version of it.

    Raises:
        RecipeError: it is not the file that the recipe was made with, or it is missing.
        SettingError: it fails.
    """
    path = Path(file.path).resolve()
    if not os.path.isfile(path):
        raise RecipeError(f"The file {file.path} of methods does not exist; check its path.")
    file.verify()
    run_file(path, path.stat().st_mtime_ns)


def text_of(recipe: Document, path: str | Path, again: str | None = None) -> str:
    """The YAML text of `recipe` for a file at `path`: the same recipe gives the same bytes.

    Paths are relative to the file's folder. again: an example of another output.
    """
    path = Path(path)
    content = relative(recipe, path.resolve().parent).model_dump(mode="json")
    trust = " --trust" if python_files(content) else ""
    head = HEADER.format(
        command=recipe.command, name=path.name, again=again or recipe.again, trust=trust
    )
    return head + text_from(content)


def absolute(recipe: Asked, folder: str | Path | None = None) -> Asked:
    """`recipe` with its relative paths taken as relative to `folder`, or the working folder."""
    base = Path(folder or ".").resolve()
    return _renamed(recipe, lambda name: _joined(base, name))


def relative(recipe: Asked, folder: str | Path) -> Asked:
    """`recipe` with its absolute paths as seen from `folder`."""
    return _renamed(recipe, lambda name: os.path.relpath(name, folder))


def _joined(base: Path, name: str) -> str:
    """A path from `base`. Raises RecipeError if no file can have it."""
    try:
        if len(name) > LONGEST_PATH:
            raise ValueError("it is too long")
        path = os.path.normpath(base / Path(name).expanduser())
        if b"\0" in os.fsencode(path):
            raise ValueError("it holds a null byte")
    except (RuntimeError, ValueError) as error:  # an unknown ~user, half a character
        raise RecipeError(
            f"{name[:40]!r} can be no file's path ({str(error).rstrip('.')}); check it."
        ) from error
    return path


def _renamed(asked: Asked, rename: Callable[[str], str]) -> Asked:
    """A document with every path in it, also those in names of models and data, renamed."""

    def change(part: Part, key: str, text: str) -> str:
        own = isinstance(part, Request)
        if (own and key in ("output", "html")) or (isinstance(part, InputFile) and key == "path"):
            return rename(text)
        if (own and key == "model") or (isinstance(part, DataPart) and key == "source"):
            return in_name(text, rename)
        return text

    return with_texts(asked, change)
