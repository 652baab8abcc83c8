"""What an unknown name of a model or a data set may have been meant for, as an error's end.

A name may be a file, a folder, or a network of another package. Nothing of a file is run.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path

from onefold.errors import nearest
from onefold.weights import check_ordinary

WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".gguf", ".h5")
DATA_FILES = (".json", ".jsonl", ".txt", ".zip", ".tar", ".gz", ".h5")
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")
# The usual names of a function that returns batches or a network, the most telling first.
FUNCTIONS = {
    "data source": ("load", "data", "make", "loader", "get", "batches", "dataset"),
    "model source": ("build", "model", "make", "net", "create", "get"),
}


def meant(bare: str, kind: str, known: Iterable[str]) -> str:
    """The end of the message on a name that is unknown, as "did you mean 'timm:resnet18'?".

    Args:
        bare: the name without options.
        kind: "model source" or "data source"; of other kinds the nearest name is told alone.
        known: the known names.
    """
    path = Path(bare).expanduser()
    found = None
    if kind == "model source":
        found = _weights(path) or _folder_of_model(path, bare) or _in_packages(bare)
    elif kind == "data source":
        found = _folder_of_data(path, bare) or _file_of_data(path)
    if found:
        return found
    head, colon, place = bare.partition(":")
    if colon:
        near = nearest(head + colon, known)
        return near.replace(":'?", f":{place}'?") if near.startswith("did") else near
    return nearest(bare, known)


def function_in(bare: str, kind: str) -> str:
    """The name of a Python file with a function in it, as "data.py:load"."""
    try:
        check_ordinary(Path(bare).expanduser())
        body = ast.parse(Path(bare).expanduser().read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return f"{bare}:name_of_the_function"
    makers = (ast.FunctionDef, ast.ClassDef)
    names = [one.name for one in body if isinstance(one, makers) and one.name[0] != "_"]
    usual = [name for part in FUNCTIONS.get(kind, ()) for name in names if part in name.lower()]
    return f"{bare}:{[*usual, *names, 'name_of_the_function'][0]}"


def _did(name: str) -> str:
    return f"did you mean '{name}'?"


def _weights(path: Path) -> str | None:
    if path.suffix.lower() not in WEIGHTS:
        return None
    return (
        "a file of weights is a member, so give it where the members go, and name here the"
        " architecture that it is of, as file.py:build or timm:resnet18."
    )


def _folder_of_model(path: Path, bare: str) -> str | None:
    if bare.count("/") == 1 and ":" not in bare and not _exists(path):
        return "nothing is downloaded here; get its folder, and name it as hf:FOLDER."
    return None


def _in_packages(bare: str) -> str | None:
    """A network of that name in a package that is installed."""
    named: tuple[tuple[str, Callable[[], Iterable[str]]], ...] = (
        ("timm", lambda: importlib.import_module("timm").list_models()),
        ("torchvision", lambda: importlib.import_module("torchvision.models").list_models()),
    )
    for package, names in named:
        try:
            if importlib.util.find_spec(package) is None:
                continue
            if bare.lower() in names():
                return _did(f"{package}:{bare.lower()}")
        except Exception:  # one that does not fit this torch fails in any way
            continue
    return None


def _folder_of_data(path: Path, bare: str) -> str | None:
    """An existing folder, by what it holds."""
    if not _exists(path) or not path.is_dir():
        return None
    inner = sorted(path.iterdir())[:1000]
    files = [entry.name for entry in (*inner, *(path / "data").glob("*"))]
    if "dataset_dict.json" in files or "dataset_info.json" in files:
        return (
            f"a data set of the library datasets is named as hfdata:{bare}?text=COLUMN and so on."
        )
    if any(name.endswith(".parquet") for name in files):
        return _did(f"parquet:{bare}")
    if any(name.endswith(TABLES) for name in files):
        return _table(bare)
    if any("-ubyte" in name for name in files):
        return _did(f"idx:{bare}")
    if any(name.endswith(".npy") for name in files):
        return _did(f"numpy:{bare}")
    if any(one.is_dir() for place in (path, path / "train") for one in place.glob("masks")):
        return _did(f"masks:{bare}")
    if any(entry.is_dir() for entry in inner):
        return _did(f"imagefolder:{bare}")
    return (
        "the folder holds no data that a source knows; give imagefolder:DIR, parquet:DIR, idx:DIR,"
        " or file.py:load for a function of your own."
    )


def _file_of_data(path: Path) -> str | None:
    if path.suffix == ".parquet":
        return _did(f"parquet:{path.parent}")
    if path.suffix in (".npz", ".npy"):
        return _did(f"numpy:{path}")
    if path.suffix.lower() in TABLES:
        return _table(str(path))
    if "-ubyte" in path.name:
        return _did(f"idx:{path.parent}")
    if path.suffix.lower() in (*DATA_FILES, *WEIGHTS):
        return "read such a file in a function of your own, and name it as file.py:load."
    return None


def _table(place: str) -> str:
    """How a table is named, of numbers or of texts."""
    return (
        f"a table of numbers is named as csv:{place}?label=COLUMN, and one of texts as"
        f" text:{place}?text=COLUMN&label=COLUMN&tokenizer=FOLDER."
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a null byte
        return False
