"""A model fetched into the cache of Hugging Face, where that was asked for.

Weights are fetched in one format: safetensors, or .bin where there are none. HF_ENDPOINT names
another server than huggingface.co, and HF_TOKEN the token.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from onefold.checkpoints.document.cache import cache_folder
from onefold.errors import OutputError

INSTALL = "this needs huggingface_hub: pip install huggingface_hub"
OTHER = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".tflite", ".ot")
NEEDLESS = ("onnx/", "openvino/", "coreml/", "original/", "runs/", ".git")


def fetch(name: str, revision: str | None = None, weights: bool = True) -> Path:
    """Fetch a model; what the cache has is not fetched again.

    Args:
        name: the name of the model, as "org/name".
        revision: a branch, a tag or a commit; None: main.
        weights: fetch its weights; False: what stands beside them, such as its tokenizer.

    Returns:
        Its folder in the cache, whose name is the commit.

    Raises:
        ValueError: it cannot be fetched; the message is the end of a sentence.
        OutputError: the cache cannot be written.
    """
    try:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise ValueError(INSTALL) from error
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        about = HfApi(endpoint=endpoint).model_info(name, revision=revision)
        files = [file.rfilename for file in about.siblings or ()]
        folder = snapshot_download(
            name,
            revision=revision,
            cache_dir=cache_folder(),
            allow_patterns=wanted(files, weights),
            endpoint=endpoint,
        )
    except HfHubHTTPError as error:
        raise ValueError(_refused(error, name, revision)) from error
    except LocalEntryNotFoundError as error:
        raise ValueError("the server cannot be reached; check the connection") from error
    except OSError as error:
        if error.filename is not None or error.errno in (28, 122, 13, 30):
            raise OutputError(
                f"The cache {cache_folder()} cannot be written: {error.strerror or error}; make"
                " room, or name another with HF_HUB_CACHE."
            ) from error
        raise ValueError(f"{_first_line(error)}; check the connection") from error
    except Exception as error:  # httpx and requests have errors of their own
        raise ValueError(f"{_first_line(error)}; check the connection") from error
    return Path(folder)


def wanted(files: Sequence[str], weights: bool = True) -> list[str]:
    """The files of a model that are fetched: one format of its weights, and what stands beside.

    Args:
        files: the paths of all files.
        weights: whether its weights are among them.
    """
    found = [file for file in files if not file.startswith(NEEDLESS)]
    if not weights:
        return [file for file in found if not file.endswith((*OTHER, ".safetensors"))]
    safe = [file for file in found if file.endswith((".safetensors", ".safetensors.index.json"))]
    if any(file.endswith(".safetensors") for file in safe):
        indices = tuple(f"{ending}.index.json" for ending in OTHER)
        return [file for file in found if not file.endswith((*OTHER, *indices))]
    return [file for file in found if not file.endswith(OTHER[1:])]


def _refused(error: Exception, name: str, revision: str | None) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind = type(error).__name__
    if kind == "RevisionNotFoundError":
        return f"{name} has no revision '{revision}'; check its name"
    if kind == "GatedRepoError" or status == 403:
        return "the server keeps it for those who asked for access; ask there, and set HF_TOKEN"
    if kind == "RepositoryNotFoundError" or status in (401, 404):
        return "the server has no such model, or keeps it private; check the name, or set HF_TOKEN"
    return f"the server answered {status or _first_line(error)}; try again later"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
