"""The encoder, the head of a task, and what they answer.

A sentence is the mean of the encoder's last states over its tokens; a head is linear. The encoder
lies in a folder that `from_pretrained` reads, the head in `head.safetensors` beside it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.common.data import REPOSITORY
from benchmarks.finetunes.texts import Parts, sorted_batches
from benchmarks.tasks.examples import Examples

HEAD = "head.safetensors"
SCORED = 128  # sentences of one batch that is scored


def bert() -> Any:
    """The class of the encoder; torchvision is imported first, as the tests do."""
    path = str(REPOSITORY / "tests")
    if path not in sys.path:
        sys.path.append(path)
    importlib.import_module("tvshim").import_torchvision()
    logging = importlib.import_module("transformers.utils.logging")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return importlib.import_module("transformers").BertModel


def load_encoder(folder: Path) -> nn.Module:
    """The encoder of a folder in evaluation mode, float32."""
    encoder: nn.Module = bert().from_pretrained(
        folder, add_pooling_layer=False, local_files_only=True, attn_implementation="sdpa"
    )
    return encoder.eval()


def load_head(folder: Path) -> nn.Linear:
    """The head beside an encoder."""
    state = load_file(folder / HEAD)
    head = nn.Linear(state["weight"].shape[1], state["weight"].shape[0])
    head.load_state_dict(state)
    return head.eval()


def pooled(encoder: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """(n, width) means over tokens, float32; the encoder itself works in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(input_ids=input_ids, attention_mask=attention_mask)
    mask = attention_mask.unsqueeze(2).float()
    mean: Tensor = (found.last_hidden_state.float() * mask).sum(1) / mask.sum(1)
    return mean


@torch.inference_mode()
def features(encoder: nn.Module, examples: Examples) -> Tensor:
    """(n, width) of all examples, in their order."""
    width = encoder.config.hidden_size  # type: ignore[union-attr]
    found = torch.empty(len(examples), width)
    for index in sorted_batches(examples, SCORED):
        batch = examples[index].batch(labels=False)
        found[index] = pooled(encoder, **batch)
    return found


@torch.inference_mode()
def right(encoder: nn.Module, head: nn.Module, examples: Examples) -> Tensor:
    """(n,) bool, which examples are answered rightly."""
    answers: Tensor = head(features(encoder, examples)).argmax(1) == examples.labels
    return answers


def linear_probe(encoder: nn.Module, parts: Parts, classes: int) -> nn.Linear:
    """A head on the frozen encoder: logistic regression, its penalty chosen on held-out ones."""
    seen, held = features(encoder, parts.seen), features(encoder, parts.held)
    centre, spread = seen.mean(0), seen.std(0).clamp(min=1e-6)
    best, most = None, -1.0
    for penalty in (1e-4, 1e-3, 1e-2):
        head = _fitted((seen - centre) / spread, parts.seen.labels, classes, penalty)
        with torch.no_grad():  # on plain features
            head.weight.div_(spread)
            head.bias.sub_(head.weight @ centre)
            share = float((head(held).argmax(1) == parts.held.labels).float().mean())
        if share > most:
            best, most = head, share
    assert best is not None
    return best


def _fitted(inputs: Tensor, labels: Tensor, classes: int, penalty: float) -> nn.Linear:
    head = nn.Linear(inputs.shape[1], classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(inputs), labels)
        loss = loss + penalty * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return head
