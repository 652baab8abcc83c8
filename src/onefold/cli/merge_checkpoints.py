"""Merge checkpoints of one base, file by file: by a document of mergekit's, or by options.

    onefold merge config.yml -o out/
    onefold merge A B --method ties --base BASE --density 0.5 -o out/

No network is built and no data are needed. A model is a folder, a file, or a name in the cache of
Hugging Face. The document has the key merge_method; other documents are recipes that fold networks
(see `onefold merge --help`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onefold.checkpoints.document import Document, document_of, is_merge_document, read_documents
from onefold.checkpoints.engine import MergedCheckpoint, merge_checkpoints
from onefold.checkpoints.engine.journal import staging_folder
from onefold.checkpoints.methods import methods, settings_of
from onefold.checkpoints.plan.sizes import MEMORY, SHARD, bytes_of, shown_bytes
from onefold.cli.console import note, say, warn
from onefold.cli.given import YAML
from onefold.documents.commands import command_of
from onefold.documents.options import Option
from onefold.documents.part import Flag, InputFile
from onefold.documents.reading import text_of_file
from onefold.errors import RecipeError
from onefold.printable import counted
from onefold.progress import waiting

NAME = "merge"
# Options that folding networks does not have: by them this command is meant.
OWN = (
    "--method",
    "--base",
    "--as-mergekit",
    "--download",
    "--dry-run",
    "--max-memory",
    "--max-shard-size",
    "--out-dtype",
    "--finish",
)
RUN = "How it runs"
Texts = tuple[str, ...]
Files = tuple[InputFile, ...]
FIXED = (
    Option(
        "models",
        ("models",),
        Files,
        "The models to merge, or one document (.yml) that says everything.",
        Flag(metavar="MODELS..."),
    ),
    Option(
        "output",
        ("output",),
        str,
        "The folder of the result, or of single files NAME.safetensors.",
        Flag(short="-o"),
    ),
    Option(
        "method",
        ("method",),
        str,
        "How they are merged; see `onefold methods checkpoint*`.",
        Flag(),
    ),
    Option("base", ("base",), str, "The model that the others stem from.", Flag()),
    Option("dtype", ("dtype",), str, "The dtype that inputs are rounded to first.", Flag()),
    Option("out-dtype", ("out_dtype",), str, "The dtype of the result.", Flag()),
    Option("finish", ("finish",), str, "What is done with merged tensors, such as svc.", Flag()),
    Option("tokenizer", ("tokenizer",), str, "union, base, or a model.", Flag()),
    Option("chat-template", ("chat_template",), str, "auto, or a template.", Flag()),
    Option(
        "as-mergekit",
        ("as_mergekit",),
        bool,
        "Ignore in a document what mergekit ignores, with a warning each; else it is refused.",
        Flag(),
        False,
    ),
    Option(
        "trust",
        ("trust",),
        bool,
        "Run the Python file that a document names as its method.",
        Flag(),
        False,
    ),
    Option("download", ("download",), bool, "Fetch models that are not here.", Flag(), False),
    Option(
        "dry-run",
        ("dry_run",),
        bool,
        "Check everything, say what it takes, and write nothing.",
        Flag(panel=RUN),
        False,
    ),
    Option("force", ("force",), bool, "Replace an existing output.", Flag(panel=RUN), False),
    Option(
        "threads", ("threads",), int, "How many tensors are in work at a time.", Flag(panel=RUN)
    ),
    Option(
        "seed",
        ("seed",),
        int,
        "The seed of random masks, as of dare_ties; 0 without it.",
        Flag(panel=RUN),
    ),
    Option(
        "max-memory",
        ("max_memory",),
        str,
        f"Memory that tensors in work take at most, such as 500MB; {MEMORY} without it.",
        Flag(panel=RUN),
    ),
    Option(
        "max-shard-size",
        ("max_shard_size",),
        str,
        f"Bytes of a file of weights at most; {SHARD} without it.",
        Flag(panel=RUN),
    ),
)
BESIDE = (
    "models",
    "output",
    "as_mergekit",
    "trust",
    "download",
)  # of a document, with all of `RUN`


def is_wanted(arguments: Sequence[str]) -> bool:
    """Whether the arguments of `merge` are for files of checkpoints, not for networks."""
    if any(argument.split("=")[0] in OWN for argument in arguments):
        return True
    for argument in arguments:
        if argument.endswith(YAML) and not argument.startswith("-"):
            try:  # what cannot be read is told where recipes are read
                text = text_of_file(Path(argument).expanduser(), argument)
            except RecipeError:
                return False
            return is_merge_document(text)
    return False


def options() -> list[Option]:
    """All options: the fixed ones, and one for each parameter of any method."""
    found: dict[str, dict[str, list[str]]] = {}  # parameter -> what it does -> in which methods
    for entry in methods:
        for one in (*entry.value.per_model, *settings_of(entry.value)):
            if one.used:
                found.setdefault(one.name, {}).setdefault(one.help, []).append(entry.name)
    more = [
        Option(
            name.replace("_", "-"),
            ("parameters", name),
            Texts,
            " ".join(f"{text} For {', '.join(owners)}." for text, owners in texts.items()),
            Flag(panel="Parameters: one value for all models, or one for each in their order"),
        )
        for name, texts in found.items()
    ]
    return [*FIXED, *more]


def build() -> Any:
    """The command of typer's."""
    known = options()

    def call(context: Any, given: dict[str, Any]) -> None:
        values = {
            option.keys: given[option.variable]
            for option in known
            if given.get(option.variable) not in (None, [])
        }
        run(values, context.obj)

    return command_of(NAME, __doc__ or "", known, call)


# Options that say how a merge is carried out, and are arguments of `merge_checkpoints`.
HOW = ("download", "dry_run", "force", "seed", "threads", "max_memory", "max_shard_size")


def run(values: Mapping[tuple[str, ...], Any], threads: int | None = None) -> MergedCheckpoint:
    """Carry out the command.

    Args:
        values: what was given, by the keys of the options.
        threads: of the program, where the command has none.

    Raises:
        RecipeError: options do not go together, or one lacks.
    """
    plain = {keys[0]: value for keys, value in values.items() if len(keys) == 1}
    if "output" not in plain:
        raise RecipeError("The merge needs --output; see `onefold merge --method ties --help`.")
    documents = _documents(values, plain)
    how = {key: plain[key] for key in HOW if key in plain}
    _check_numbers(how)
    how.setdefault("threads", threads)
    try:
        with waiting("The merge"):
            made = merge_checkpoints(documents, plain["output"], **how)
    except KeyboardInterrupt:
        if staging_folder(Path(plain["output"]).absolute()).exists():
            note("The finished files of weights are kept; the same command goes on from there.")
        raise
    _tell(made)
    return made


def _check_numbers(how: Mapping[str, Any]) -> None:
    """Refuse numbers beyond their limits in the words of the options.

    Raises:
        SettingError: there is one.
    """
    for name in ("max_memory", "max_shard_size"):
        if name in how:
            bytes_of(how[name], f"--{name.replace('_', '-')}")
    for name, least in (("threads", 1), ("seed", 0)):
        if how.get(name, least) < least:
            raise RecipeError(f"--{name} is {how[name]}; give a whole number from {least}.")


def _documents(
    values: Mapping[tuple[str, ...], Any], plain: Mapping[str, Any]
) -> Sequence[Document]:
    models = [str(model) for model in plain["models"]]
    files = [model for model in models if model.endswith(YAML)]
    if files:
        _check_alone(files[0], models, values)
        return read_documents(
            files[0], bool(plain.get("as_mergekit")), trust=bool(plain.get("trust"))
        )
    if "as_mergekit" in plain:
        raise RecipeError("--as-mergekit is a way to read a document; give one, or leave it out.")
    if "method" not in plain:
        raise RecipeError(f"The merge needs --method; known: {', '.join(methods.names())}.")
    settings = {
        keys[1]: value[0] if len(value) == 1 else tuple(value)
        for keys, value in values.items()
        if keys[0] == "parameters"
    }
    document = document_of(
        models,
        plain["method"],
        plain.get("base"),
        settings,
        dtype=plain.get("dtype"),
        out_dtype=plain.get("out_dtype"),
        finish=plain.get("finish"),
        tokenizer=plain.get("tokenizer"),
        chat_template=plain.get("chat_template"),
    )
    return (document,)


def _check_alone(file: str, models: Sequence[str], values: Mapping[tuple[str, ...], Any]) -> None:
    """Refuse a document beside models, and beside options of what it says itself."""
    if len(models) > 1:
        raise RecipeError(
            f"A document says everything, so {file} stands alone; leave the other models out."
        )
    known = {option.keys: option for option in options()}
    for keys in values:
        if keys[0] not in BESIDE and known[keys].flag.panel != RUN:
            raise RecipeError(
                f"A document says everything, so it takes no --{known[keys].name}; edit a copy of"
                " it."
            )


def _tell(made: MergedCheckpoint) -> None:
    """Print what was decided, and what was done."""
    for before in made.before:
        _tell(before)
    for sentence in made.notes:
        if sentence in made.document.ignored or sentence in made.warned:
            warn(sentence)
        else:
            note(sentence)
    if not made.written:
        count = f"{counted(len(made.files), 'file')} of weights"
        say(
            f"Would merge {counted(made.merged, 'tensor')} by {made.document.method} and copy"
            f" {made.copied} into {made.path}, in {count}."
        )
        say(made.estimate.text)
        if made.room is not None:
            say(made.room.text)
        return
    if made.resumed:
        note(f"Went on behind {counted(made.resumed, 'file')} that an earlier run had finished.")
    size = shown_bytes(made.estimate.written)
    say(
        f"Merged {counted(made.merged, 'tensor')} by {made.document.method} and copied"
        f" {made.copied} into {made.path} ({size}) in {made.seconds:.1f} s; {made.donors}."
    )
