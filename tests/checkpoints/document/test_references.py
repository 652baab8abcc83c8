"""Where models are: folders, the local cache, and a server that is asked only with download."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from onefold.checkpoints.document.cache import cache_folder, is_name, snapshot
from onefold.checkpoints.document.content import Document, Place, Reference
from onefold.checkpoints.document.fetching import wanted
from onefold.checkpoints.document.reading import parse_documents
from onefold.checkpoints.document.references import locate
from onefold.errors import RecipeError

COMMIT = "0123456789abcdef0123456789abcdef01234567"

FILES = {
    "config.json": b'{"model_type": "tiny"}',
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"the same weights again",
    "onnx/model.onnx": b"and again",
    "tokenizer.json": b"{}",
}


def document(model: str) -> Document:
    text = f"merge_method: linear\nmodels:\n  - model: {model}\nparameters: {{weight: 1}}\n"
    return parse_documents(text, "The document c.yml")[0]


def reference(model: str) -> Reference:
    return document(model).modules[0].inputs[0].model


def located(model: str, download: bool = False) -> Path:
    found = locate(document(model), download)
    return found[reference(model)].path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home" / "hub"


def stored(cache: Path, name: str, files: dict[str, bytes], commit: str = COMMIT) -> Path:
    model = cache / f"models--{name.replace('/', '--')}"
    folder = model / "snapshots" / commit
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    (model / "refs").mkdir(exist_ok=True)
    (model / "refs" / "main").write_text(commit)
    return folder


def test_a_folder_comes_before_the_cache(cache: Path, tmp_path: Path) -> None:
    stored(cache, "org/name", FILES)
    assert located("org/name") == cache / "models--org--name" / "snapshots" / COMMIT
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert located("org/name") == Path("org/name")


@pytest.mark.parametrize("revision", ["main", COMMIT, "v1", "refs/pr/3"])
def test_a_revision_is_a_branch_a_tag_or_a_commit(cache: Path, revision: str) -> None:
    folder = stored(cache, "org/name", FILES)
    refs = cache / "models--org--name" / "refs"
    for name in ("v1", "refs/pr/3"):
        (refs / name).parent.mkdir(parents=True, exist_ok=True)
        (refs / name).write_text(f"{COMMIT}\n")
    found = locate(document(f"org/name@{revision}"))[reference(f"org/name@{revision}")]
    assert (found.path, found.commit) == (folder, COMMIT)


TWICE = """name: half
merge_method: linear
models: [{{model: a}}]
parameters: {{weight: 1}}
---
merge_method: linear
models: [{{model: {}}}]
parameters: {{weight: 1}}
{}
"""


@pytest.mark.parametrize(
    ("model", "more", "sentence"),
    [
        ("halv", "", "line 7, key 'models.0.model': there is no 'halv'; did you mean 'half'?"),
        ("Half", "", "there is no 'Half'; did you mean 'half'?"),
        ("half", "tokenizer_source: unoin", "there is no 'unoin'; did you mean 'union'?"),
        ("half", "tokenizer: {source: Bases}", "there is no 'Bases'; did you mean 'base'?"),
        ("half", "tokenizer: {source: hal}", "there is no 'hal'; did you mean 'half'?"),
        ("half", "tokenizer: {tokens: {x: {source: unoin}}}", "'unoin' is no folder, and is not"),
        ("unoin", "", "'unoin' is no folder, and is not"),
    ],
)
def test_a_misspelt_word_or_result_is_told(
    cache: Path, model: str, more: str, sentence: str
) -> None:
    Path("a").mkdir()
    documents = parse_documents(TWICE.format(model, more), "The document c.yml")
    with pytest.raises(RecipeError) as caught:
        locate(documents[-1], results={"half": Path("out-half")})
    assert sentence in str(caught.value)


def test_what_is_there_is_taken_however_it_is_spelt(cache: Path) -> None:
    for name in ("halv", "unoin"):
        Path(name).mkdir()
    stored(cache, "hal", FILES)
    for model, source in (("halv", "unoin"), ("hal", "hal"), ("half", "half")):
        text = TWICE.format(model, f"tokenizer_source: {source}")
        document = parse_documents(text, "The document c.yml")[-1]
        found = locate(document, results={"half": Path("out-half")})
        assert {one.place.path for one in found} == {model, source}


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("org/nothing", "'org/nothing' is no folder, and is not in the cache in "),
        ("nothing", "'nothing' is no folder, and is not in the cache in "),
        ("./nothing", "there is no './nothing'; check the path"),
        ("a/b/c", "there is no 'a/b/c'; check the path"),
        ("org/name@v2", "has 'org/name' as main, not as v2; let it be fetched with --download"),
        ("org/name@../../x", "has 'org/name' as main, not as ../../x"),
        ("org/part", "a part of 'org/part', without b.safetensors; let it be fetched"),
        ("org/empty", "a part of 'org/empty', without weights; let it be fetched"),
        ("here@v1", "'here' is a folder here, which has no revision 'v1'"),
        ("org/name+org/adapter", "adds the adapter 'org/adapter', and adapters are not merged"),
        ("x" * 5000, "check the path"),
    ],
)
def test_what_is_nowhere_is_told_with_its_line(cache: Path, model: str, sentence: str) -> None:
    stored(cache, "org/name", FILES)
    index = {"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}
    parts = {"model.safetensors.index.json": json.dumps(index).encode(), "a.safetensors": b"a"}
    stored(cache, "org/part", parts)
    stored(cache, "org/empty", {"config.json": b"{}"})
    Path("here").mkdir()
    with pytest.raises(RecipeError) as caught:
        located(model)
    assert str(caught.value).startswith("The document c.yml, line 3, key 'models.0.model': ")
    assert sentence in str(caught.value)


def test_the_result_of_another_document_is_its_folder(cache: Path, tmp_path: Path) -> None:
    found = locate(document("first"), results={"first": tmp_path / "made"})
    assert found[reference("first")].path == tmp_path / "made"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HF_HUB_CACHE": "/h", "HF_HOME": "/x"}, "/h"),
        ({"HUGGINGFACE_HUB_CACHE": "/h"}, "/h"),
        ({"HF_HOME": "/x"}, "/x/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/me"}, "/me/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_environment_says(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


def test_a_name_never_leads_out_of_the_cache(cache: Path) -> None:
    assert not any(is_name(name) for name in ("../x", "a/..", "/a", "a--b", "", "a b", "~a"))
    stored(cache, "org/name", FILES)
    refs = cache / "models--org--name" / "refs"
    (refs / "odd").write_text("../../../x")
    assert snapshot("org/name", "odd", cache) is None
    assert snapshot("org/name", "../refs/main", cache) is None


def test_one_format_of_weights_is_fetched() -> None:
    assert wanted(list(FILES)) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert wanted(["pytorch_model.bin", "tf_model.h5", "a.json"]) == ["pytorch_model.bin", "a.json"]
    assert wanted(list(FILES), weights=False) == ["config.json", "tokenizer.json"]
    assert wanted(["modeling_x.py", "pytorch_model.bin.index.json", "m.safetensors"]) == [
        "modeling_x.py",
        "m.safetensors",
    ]


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as a download needs, for one model."""

    asked: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        self.asked.append(path)
        start = "/api/models/org/name"
        if path in (start, f"{start}/revision/main", f"{start}/revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in FILES]
            return self._send(200, _json({"id": "org/name", "sha": COMMIT, "siblings": siblings}))
        if path.startswith(f"{start}/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": _etag(content)}
                for name, content in FILES.items()
            ]
            return self._send(200, _json(tree))
        for name, content in FILES.items():
            if path in (f"/org/name/resolve/{at}/{name}" for at in ("main", COMMIT)):
                return self._send(200, content, body)
        kind = "RevisionNotFound" if path.startswith(start) else "RepoNotFound"
        return self._send(404, _json({"error": kind}), headers={"X-Error-Code": kind})

    def _send(
        self, status: int, content: bytes, body: bool = True, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        found = {"Content-Length": str(len(content)), "ETag": f'"{_etag(content)}"'}
        for key, value in {**found, "X-Repo-Commit": COMMIT, **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(content)


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    pytest.importorskip("huggingface_hub")
    asked: list[str] = []
    handler = type("Handler", (Hub,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    server.server_close()


def test_nothing_is_asked_without_download(hub: list[str]) -> None:
    with pytest.raises(RecipeError, match="let it be fetched with --download"):
        located("org/name")
    assert hub == []


def test_a_model_is_fetched_once(hub: list[str], cache: Path) -> None:
    folder = located("org/name", download=True)
    assert folder == cache / "models--org--name" / "snapshots" / COMMIT
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    asked = len(hub)
    assert located("org/name", download=True) == folder
    assert located("org/name") == folder
    assert len(hub) == asked


def test_what_a_part_lacks_is_fetched(hub: list[str], cache: Path) -> None:
    stored(cache, "org/name", {"config.json": FILES["config.json"]})
    assert (located("org/name", download=True) / "model.safetensors").read_bytes() == b"weights"


def test_of_a_tokenizer_no_weights_are_needed(hub: list[str], cache: Path) -> None:
    text = "{merge_method: linear, models: [{model: org}], parameters: {weight: 1}, %s}"
    (asked,) = parse_documents(text % "tokenizer_source: org/name", "It")
    for _ in range(2):
        found = locate(asked, download=True, results={"org": Path("made")})
        folder = found[Reference(Place("org/name"))].path
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "tokenizer.json"]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("org/none", "'org/none' cannot be fetched: the server has no such model, or keeps it"),
        ("org/name@v9", "'org/name@v9' cannot be fetched: org/name has no revision 'v9'"),
    ],
)
def test_what_the_server_has_not_is_told(hub: list[str], model: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        located(model, download=True)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("The document c.yml, line 3")


def test_a_server_that_does_not_answer_is_told(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RecipeError, match=r"cannot be fetched: .*check the connection\.$"):
        located("org/name", download=True)


def test_a_download_without_the_package_says_what_to_install(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RecipeError, match="pip install huggingface_hub"):
        located("org/name", download=True)


def test_documents_are_checked_without_torch(root: Path) -> None:
    code = (
        "import sys\n"
        "from onefold.checkpoints.document import parse_documents, locate\n"
        "parse_documents('{merge_method: linear, models: [{model: a}], parameters: {weight: 1}}',"
        " 'It')\n"
        "print([name for name in ('torch', 'numpy', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(root / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_place_is_told_with_its_revision() -> None:
    assert str(Reference(Place("a", "b"), Place("c"))) == "a@b+c"


def test_of_a_model_whose_row_is_named_the_weights_are_needed(hub: list[str], cache: Path) -> None:
    content = {
        "merge_method": "linear",
        "models": [{"model": "org"}],
        "parameters": {"weight": 1},
        "tokenizer": {"source": "org/name", "tokens": {"<x>": {"source": "org/name"}}},
    }
    (asked,) = parse_documents(json.dumps(content), "It")
    assert asked.row_models() == (Reference(Place("org/name")),)
    found = locate(asked, download=True, results={"org": Path("made")})
    folder = found[Reference(Place("org/name"))].path
    assert (folder / "model.safetensors").read_bytes() == b"weights"
