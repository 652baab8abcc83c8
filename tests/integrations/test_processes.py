"""The Trainer of transformers in two processes, with both callbacks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

SCRIPT = """
import json, pathlib, sys
from tvshim import import_torchvision
import_torchvision()
import torch
import test_transformers as loops
from onefold.integrations.transformers import AveragingCallback, SubspaceCallback

class Own(loops.transformers.Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        space = self.accelerator.unwrap_model(model)
        loss = outputs["loss"] + (space.diversity_penalty() if model.training else 0)
        return (loss, outputs) if return_outputs else loss

folder = pathlib.Path(sys.argv[1])
own, by_callback = loops.model_of("simplex"), loops.model_of("simplex")
loops.trainer_of(own, folder, kind=Own).train()
trainer = loops.trainer_of(by_callback, folder, eval_strategy="epoch", save_strategy="epoch")
averaging = AveragingCallback(trainer)
trainer.add_callback(SubspaceCallback(trainer))
trainer.add_callback(averaging)
trainer.train()
torch.testing.assert_close(dict(own.state_dict()), dict(by_callback.state_dict()))
midpoint = averaging.averaged().midpoint(loops.loader())
facts = [midpoint.last.weight.sum().item(), midpoint.norm.running_mean.sum().item()]
facts += [each["eval_vertex_1_nll"] for each in trainer.kept.values if "eval_vertex_1_nll" in each]
rank = torch.distributed.get_rank()
(folder / f"rank_{rank}").write_text(json.dumps(facts))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_train_and_score_alike(root: Path, tmp_path: Path) -> None:
    """As a trainer that adds the penalty itself does; both ranks have the same average, scores."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tests = root / "tests"
    places = (root / "src", tests, tests / "networks", tests / "integrations")
    launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = ((tmp_path / f"rank_{k}").read_text() for k in range(2))
    assert first == second
    assert len(json.loads(first)) == 4  # two networks' facts, and the scores of two epochs
