"""Documents from files and texts: read, checked, in the order in which they are carried out.

A text may hold several documents. One that is named can stand for a model in the others, and its
result is then that model. At most one has no name: the last result.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onefold.checkpoints.document.checks import Check
from onefold.checkpoints.document.content import Document
from onefold.checkpoints.document.findings import Findings
from onefold.checkpoints.document.order import in_order
from onefold.checkpoints.document.structure import COMPANIONS, document_from
from onefold.documents.problems import Source
from onefold.documents.reading import text_of_file, yaml_documents
from onefold.errors import RecipeError, warn

MOST = 500  # documents in one text
METHOD = re.compile(r"""(^|[{,])\s*["']?merge_method["']?\s*:""", re.MULTILINE)

KEY = re.compile(r"""(?:^|[{,])\s*["']?([A-Za-z_-]+)["']?\s*:""", re.MULTILINE)
MARKS = ("models", "slices", "modules", "base_model")  # keys that no recipe has
OF_RECIPES = ("members", "fold", "data")  # keys that no document has
COMPANION = re.compile(rf"^({'|'.join(COMPANIONS)})\s*:", re.MULTILINE)


class IgnoredSetting(UserWarning):
    """A setting of a document has no effect, as in mergekit."""


def is_merge_document(text: str) -> bool:
    """Whether a text in YAML is a document for checkpoints, which names a `merge_method`.

    Documents of mergekit's other programs are taken for such, and refused when they are read. So
    are documents whose `merge_method` is misspelt or missing, told by their other keys.
    """
    if METHOD.search(text) is not None or COMPANION.search(text) is not None:
        return True
    keys = {key.replace("-", "_") for key in KEY.findall(text)}
    if keys.intersection(OF_RECIPES):
        return False
    misspelt = difflib.get_close_matches("merge_method", keys, 1, 0.8)
    return bool(misspelt or keys.intersection(MARKS))


def read_documents(
    path: Path | str, as_mergekit: bool = False, *, trust: bool = False
) -> tuple[Document, ...]:
    """The documents of a file, checked, in the order in which they are carried out.

    Each setting that is ignored is warned of, as IgnoredSetting, and is told in
    `Document.ignored`.

    Args:
        path: a file in YAML.
        as_mergekit: ignore what mergekit ignores; False: refuse it.
        trust: a Python file that the document names as its method may be run.

    Raises:
        RecipeError: a document is wrong, refers to itself, or names a Python file without `trust`;
            the message names the line.
    """
    what = f"The document {path}"
    found = parse_documents(text_of_file(Path(path), what), what, as_mergekit, trust=trust)
    _warn(found)
    return found


def documents_from(
    contents: Sequence[Document | Mapping[str, Any]],
    as_mergekit: bool = False,
    *,
    trust: bool = False,
) -> tuple[Document, ...]:
    """Documents, some of them as keys and values, in the order in which they are carried out.

    Args:
        contents: documents, or what a document in YAML holds. Paths and tuples may stand in it for
            texts and lists.
        as_mergekit: ignore what mergekit ignores; False: refuse it.
        trust: a Python file that the document names as its method may be run.

    Raises:
        RecipeError: a document is wrong, or refers to itself; the message names the key.
    """
    found = []
    for one in contents:
        if not isinstance(one, Document):
            findings = Findings(Source("The document"), as_mergekit, trust=trust)
            one = checked_document(_plain(one), findings, alone=len(contents) == 1)
            _warn([one])
        found.append(one)
    return in_order(found)


def _warn(documents: Sequence[Document]) -> None:
    for document in documents:
        for sentence in document.ignored:
            warn(IgnoredSetting(sentence))


def _plain(content: Any) -> Any:
    """The same with texts for paths, and lists for tuples."""
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(one) for one in content]
    return os.fspath(content) if isinstance(content, os.PathLike) else content


def parse_documents(
    text: str, what: str, as_mergekit: bool = False, *, trust: bool = False
) -> tuple[Document, ...]:
    """As `read_documents`, of a text, without warnings.

    Args:
        text: one or several documents in YAML.
        what: the beginning of the messages.
        as_mergekit: ignore what mergekit ignores; False: refuse it.
        trust: a Python file that the document names as its method may be run.

    Raises:
        RecipeError: a document is wrong, or refers to itself; the message names the line.
    """
    twice: list[tuple[str, int]] = []
    told = (lambda name, line: twice.append((name, line))) if as_mergekit else None
    parts = yaml_documents(text, what, told)
    if not parts:
        raise RecipeError(f"{what} holds nothing; write a 'merge_method' and 'models'.")
    if len(parts) > MOST:
        raise RecipeError(f"{what} holds {len(parts)} documents; {MOST} are the most.")
    documents = []
    for part in parts:
        findings = Findings(Source(what, part.lines), as_mergekit, trust=trust)
        documents.append(checked_document(part.content, findings, alone=len(parts) == 1))
    again = tuple(
        f"{what}, line {line}, key '{name[:60]}': it is given twice, and the last value counts, as"
        " in mergekit."
        for name, line in twice
    )
    documents[0] = replace(documents[0], ignored=(*again, *documents[0].ignored))
    return in_order(documents)


def checked_document(content: object, findings: Findings, alone: bool = True) -> Document:
    """Plain data as a document that fits its method.

    Args:
        content: keys and values.
        findings: how it is read, and where what is ignored is told.
        alone: there are no other documents that could refer to it.

    Raises:
        RecipeError: it is no such document.
    """
    document = document_from(content, findings)
    if alone and document.name is not None:
        findings.ignore(
            ("name",),
            "a name is for other documents to refer to, and there are none",
            document.name,
        )
    Check(document, findings).all()
    return replace(
        document,
        ignored=tuple(findings.ignored),
        notes=tuple(findings.notes),
        doubts=tuple(findings.doubts),
    )
