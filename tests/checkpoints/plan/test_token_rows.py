"""Which tensors follow the tokens, where they are not those that are merged row by row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints as tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

import onefold
from onefold.checkpoints.layouts import read_layout
from onefold.checkpoints.plan.token_rows import rows_in
from onefold.errors import MembersError

PLAIN = {f"t{i}": i for i in range(296)}
EMBEDDING = "model.embed_tokens.weight"


def model(folder: Path, state: dict[str, Tensor], tokens: dict[str, int], **config: Any) -> str:
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"vocab_size": 300, **config}))
    tiny.with_tokenizer(folder, {**PLAIN, **tokens})
    return str(folder)


def state(seed: int, **more: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        EMBEDDING: (300, 4),
        "lm_head.weight": (300, 4),
        "model.layers.0.w": (4, 4),
        "model.layers.1.w": (4, 4),
        **more,
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def document(paths: list[str], method: str = "linear", **more: Any) -> Any:
    weight = {"parameters": {"weight": 0.5}} if method == "linear" else {}
    listed = [{"model": path, **weight} for path in paths]
    return tiny.document({"merge_method": method, "models": listed, **more})


@pytest.mark.parametrize(
    ("names", "config", "rows"),
    [
        ({"a.embed_tokens.weight": 10}, {}, 10),
        ({"talker.embed_tokens.weight": 10, "thinker.embed_tokens.weight": 20}, {}, 10),
        ({"a.embed_tokens.weight": 10, "b.embed_tokens.weight": 20}, {"vocab_size": 20}, 20),
        ({"table.weight": 400}, {"text_config": {"vocab_size": 400}}, 400),
        ({"positions.weight": 400, "layers.0.w": 400}, {"vocab_size": 400}, None),
        ({"wpe.weight": 400, "layers.0.w": 4}, {"vocab_size": 400}, None),
        ({"head.weight": 4}, {"vocab_size": 4}, None),
    ],
)
def test_the_rows_of_an_embedding(
    tmp_path: Path, names: dict[str, int], config: dict[str, Any], rows: int | None
) -> None:
    save_file({n: torch.ones(k, 2) for n, k in names.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert rows_in(read_layout(tmp_path)) == rows


def test_a_second_embedding_with_other_rows_is_left_and_told(tmp_path: Path) -> None:
    more = {"talker.embed_tokens.weight": (7, 4)}
    paths = [
        model(tmp_path / "a", state(0, **more), {"x": 296}),
        model(tmp_path / "b", state(1, **more), {"y": 296}),
    ]
    with pytest.warns(UserWarning, match="piece"):
        made = onefold.merge_checkpoints(
            document(paths, tokenizer_source="union"), tmp_path / "out"
        )
    name = "talker.embed_tokens.weight"
    one, two, found = (tiny.stored(Path(path))[name] for path in (*paths, made.path))
    torch.testing.assert_close(found, (one + two) / 2)
    assert "left as it is, as it has another number of rows" in " ".join(made.notes)


def test_an_embedding_that_does_not_fit_its_tokens_is_refused(tmp_path: Path) -> None:
    paths = [
        model(tmp_path / "a", state(0), {"x": 296}),
        model(tmp_path / "b", state(1, **{"lm_head.weight": (200, 4)}), {"y": 296}),
    ]
    with pytest.raises(MembersError, match=r"'lm_head.weight' is 300 x 4 in .* rows of tokens"):
        onefold.merge_checkpoints(document(paths, tokenizer_source="union"), tmp_path / "out")


def test_rows_are_filled_in_what_is_copied_too(tmp_path: Path) -> None:
    """A tensor in no module, and one that a method of two models cannot merge."""
    first = model(tmp_path / "a", state(0), {"x": 296})
    lacking = {name: t for name, t in state(1).items() if name != "lm_head.weight"}
    second = model(tmp_path / "b", lacking, {"y": 296})
    content = {
        "merge_method": "linear",
        "tokenizer_source": "union",
        "modules": {
            "model.layers": {
                "models": [
                    {"model": path, "parameters": {"weight": 0.5}} for path in (first, second)
                ]
            }
        },
    }
    with pytest.warns(UserWarning, match="piece"):
        made = onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    one, two, found = (tiny.stored(Path(path)) for path in (first, second, made.path))
    assert torch.equal(found[EMBEDDING][:297], one[EMBEDDING][:297])
    assert torch.equal(found[EMBEDDING][297], two[EMBEDDING][296])
    assert torch.equal(found["lm_head.weight"][297], torch.zeros(4))
    assert torch.equal(found["lm_head.weight"][298:], one["lm_head.weight"][298:])

    content = {
        "merge_method": "slerp",
        "base_model": first,
        "models": [{"model": second}],
        "parameters": {"t": 0.5},
        "tokenizer_source": "union",
    }
    with pytest.warns(UserWarning, match="piece"):
        made = onefold.merge_checkpoints(tiny.document(content), tmp_path / "slerp")
    head = tiny.stored(made.path)["lm_head.weight"]
    assert torch.equal(head[:297], one["lm_head.weight"][:297])
    assert torch.equal(head[297], torch.zeros(4))


def test_layers_of_models_with_different_tokens(tmp_path: Path) -> None:
    """The embedding is that of the first slice, the head that of the last; both in one order."""
    first = model(tmp_path / "a", state(0), {"x": 296, "y": 297}, num_hidden_layers=2)
    second = model(tmp_path / "b", state(1), {"y": 296, "x": 297}, num_hidden_layers=2)
    slices = [
        {"sources": [{"model": first, "layer_range": [0, 2]}]},
        {"sources": [{"model": second, "layer_range": [1, 2]}]},
    ]
    content = {"merge_method": "passthrough", "slices": slices, "tokenizer_source": first}
    made = onefold.merge_checkpoints(tiny.document(content), tmp_path / "out")
    one, two, found = (tiny.stored(Path(path)) for path in (first, second, made.path))
    assert torch.equal(found[EMBEDDING], one[EMBEDDING])
    order = [*range(296), 297, 296, 298, 299]
    assert torch.equal(found["lm_head.weight"], two["lm_head.weight"][order])


def test_plans_and_refusals_import_no_torch(tmp_path: Path) -> None:
    paths = [
        model(tmp_path / "a", state(0), {"x": 296}),
        model(tmp_path / "b", state(1), {"y": 296}),
    ]
    listed = ", ".join(f"{{model: {path}, parameters: {{weight: 1}}}}" for path in paths)
    text = f"merge_method: linear\nmodels: [{listed}]\n"
    (tmp_path / "refused.yml").write_text(text)
    (tmp_path / "planned.yml").write_text(text + "tokenizer_source: union\n")
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "import onefold\n"
        "made = onefold.merge_checkpoints('planned.yml', 'out', dry_run=True)\n"
        "assert made.rows and made.tokenizer\n"
        "try:\n"
        "    onefold.merge_checkpoints('refused.yml', 'out')\n"
        "except onefold.errors.MembersError as error:\n"
        "    assert 'nothing says which to keep' in str(error)\n"
        "else:\n"
        "    raise SystemExit('not refused')\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
