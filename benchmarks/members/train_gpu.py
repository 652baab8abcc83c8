"""Train as many members as a time allows on a GPU, several at once.

    python benchmarks/members/train_gpu.py --minutes 9 --at-once 6 --out out
    python benchmarks/members/train_gpu.py --minutes 1 --names digits-tiny --out out

The second command also runs without a GPU.

Each member is trained by a process of its own: images on the GPU, channels last, bfloat16 autocast,
one CUDA graph for a step. Without a GPU the same code runs in float32 and without a graph, which is
how it is tested. `--out` receives files/ (finished members, to be copied to
benchmarks/members/files) and state/ (what an unfinished one goes on from, if the folder is given
again as `--state`).
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common.data import load_data
from benchmarks.common.networks import NETWORKS
from benchmarks.members.roster import ROSTER, TINY, Member
from benchmarks.members.train import FILES, finish, fresh, missing
from benchmarks.members.training import Training

MEMBERS = {**ROSTER, TINY.name: TINY}


class GraphTraining(Training):
    """A training whose step is one CUDA graph, in bfloat16 where the weights stay in float32."""

    graph: torch.cuda.CUDAGraph | None = None

    def step(self, images: Tensor, labels: Tensor, lr: float) -> Tensor:
        """One step of the optimizer; returns the sum of the losses and the number of hits, (2,)."""
        if self.graph is None:
            self._capture(images, labels)
        assert self.graph is not None
        self.images_in.copy_(images)
        self.labels_in.copy_(labels)
        self.lr.fill_(lr)
        self.graph.replay()
        return self.result

    def _capture(self, images: Tensor, labels: Tensor) -> None:
        """Record a step. The steps that warm it up are taken back."""
        self.images_in = images.clone(memory_format=torch.channels_last)
        self.labels_in = labels.clone()
        self.lr = torch.zeros((), device=self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._body()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = self._body()
        self.model.load_state_dict(weights)
        if not self.curve:  # momenta of the warm-up; a training that goes on keeps its own
            for state in self.optimizer.state.values():
                state["momentum_buffer"].zero_()
        else:
            kept = torch.load(self.state, weights_only=True, map_location=self.device)["optimizer"]
            for state, own in zip(
                self.optimizer.state.values(), kept["state"].values(), strict=True
            ):
                state["momentum_buffer"].copy_(own["momentum_buffer"])

    def _body(self) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            logits = self.model(self.images_in).float()
        loss = F.cross_entropy(logits, self.labels_in)
        loss.backward()
        self.optimizer.step()
        hits = (logits.detach().argmax(1) == self.labels_in).sum()
        return torch.stack([loss.detach() * len(self.labels_in), hits.float()])


def work(member: Member, files: Path, state: Path, until: float) -> None:
    """Train one member until it is done or the time is over."""
    cuda = torch.cuda.is_available()
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    model = fresh(member, FILES).to("cuda" if cuda else "cpu")
    data = load_data(NETWORKS[member.network].data)
    kind = GraphTraining if cuda else Training
    training = kind(member, model, data, state / f"{member.name}.pt")
    training.run(lambda line: print(line, flush=True), until)
    if training.done:
        precision = "bfloat16 autocast" if cuda else "float32"
        finish(member, model.cpu(), training.curve, files, precision)


def main() -> None:
    """Read the arguments and carry them out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, required=True, help="no epoch begins after them")
    parser.add_argument("--at-once", type=int, default=6, help="processes")
    parser.add_argument(
        "--names", nargs="+", choices=list(MEMBERS), help="default: all that are missing"
    )
    parser.add_argument("--state", type=Path, help="the folder state/ of an earlier run")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    until = time.time() + 60 * arguments.minutes
    files, state = arguments.out / "files", arguments.out / "state"
    state.mkdir(parents=True, exist_ok=True)
    for kept in arguments.state.glob("*.pt") if arguments.state else ():
        shutil.copy(kept, state)
    names = arguments.names or sorted(missing(FILES), key=lambda member: not member.gpu)
    todo = [MEMBERS[name] if isinstance(name, str) else name for name in names]
    context = multiprocessing.get_context("spawn")
    running: list[multiprocessing.process.BaseProcess] = []
    failed = 0
    while todo or running:
        while todo and len(running) < arguments.at_once and time.time() < until:
            process = context.Process(target=work, args=(todo.pop(0), files, state, until))
            process.start()
            running.append(process)
        if time.time() >= until:
            todo.clear()
        failed += sum(process.exitcode not in (None, 0) for process in running)
        running = [process for process in running if process.exitcode is None]
        time.sleep(0.2)
    sys.exit(f"{failed} trainings failed; see above." if failed else 0)


if __name__ == "__main__":
    main()
