"""The card of a merged checkpoint: what it was made of and how, as people's tools read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onefold._version import __version__
from onefold.checkpoints.document import Document, yaml_of
from onefold.checkpoints.layouts import Layout
from onefold.checkpoints.layouts.pipelines import INDEX, MODULES
from onefold.documents.yaml_text import text_from
from onefold.printable import counted


def card_of(
    title: str,
    document: Document,
    notes: Sequence[str],
    copied: Sequence[str],
    library: str | None = None,
) -> str:
    """The text of README.md: a head in YAML, the models, the method, the document.

    Args:
        title: of the card.
        document: what was carried out.
        notes: what was decided, one sentence each.
        copied: names of the files that were copied from the donor.
        library: the package that loads the result; None: it is not known.
    """
    models = [str(model) for model in document.models()]
    lines = "\n".join(f"- `{model}`" for model in models)
    base = f", with `{document.base}` as the base" if document.base is not None else ""
    parts = [
        f"{head_of(models, library)}\n# {title}",
        f"A merge of {counted(len(models), 'checkpoint')}, made by onefold {__version__} with"
        f" `{document.method}`{base}.",
        f"## Models\n\n{lines}",
        f"## Document\n\n```yaml\n{yaml_of(document)}```",
    ]
    if notes:
        parts.append("## What was decided\n\n" + "\n".join(f"- {note}" for note in notes))
    if copied:
        names = ", ".join(f"`{name}`" for name in copied)
        parts.append(f"## Files\n\nCopied unchanged: {names}.")
    return "\n\n".join(parts) + "\n"


def head_of(models: Sequence[str], library: str | None) -> str:
    """The head of a card in YAML, as people's tools read it.

    Args:
        models: what was merged, in the order of the merge.
        library: the package that loads the result; None: it is not known.
    """
    head: dict[str, Any] = {
        "base_model": [_public(model) for model in models],
        "base_model_relation": "merge",
        "tags": ["merge", "onefold"],
    }
    if library is not None:
        head = {"library_name": library, **head}
    return f"---\n{text_from(head)}---\n"


def library_of(donor: Layout) -> str | None:
    """The package that loads a folder, as sites of models name it; None: it is not known."""
    folder, config = donor.folder, donor.config
    if (folder / INDEX).is_file() or "_class_name" in config:
        return "diffusers"
    if (folder / MODULES).is_file():
        return "sentence-transformers"
    if "pretrained_cfg" in config:
        return "timm"
    return "transformers" if "model_type" in config else None


def _public(model: str) -> str:
    """A name as it is; of a path its last part, as paths of a machine say nothing elsewhere."""
    path = Path(model)
    return path.name if path.is_absolute() or model.startswith((".", "~")) else model
