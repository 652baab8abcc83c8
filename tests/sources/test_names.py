"""The Python files that names in plain content stand for."""

from __future__ import annotations

from typing import Any

import pytest

from onefold.sources.names import files_in


@pytest.mark.parametrize(
    ("content", "files"),
    [
        ("net.py:build", ["net.py"]),
        (" a/b.py:f?width=4", ["a/b.py"]),
        ({"model": "net.py:build", "data": {"source": "d.py:load"}}, ["net.py", "d.py"]),
        ([["x.py:f"], ("y.py:g", 3, None)], ["x.py", "y.py"]),
        ("timm:resnet18", []),
        ("net.py", []),
        ({"path": "a", "sha256": "net.py:build"}, []),
        (3.5, []),
    ],
)
def test_files_of_names(content: Any, files: list[str]) -> None:
    assert list(files_in(content)) == files


@pytest.mark.parametrize(
    ("content", "files"),
    [
        (["a.py", {"path": "b.py", "sha256": "0"}], ["a.py", "b.py"]),
        ("net.py:build", ["net.py"]),
        (None, []),
    ],
)
def test_files_of_paths(content: Any, files: list[str]) -> None:
    assert list(files_in(content, paths=True)) == files
