"""Peak resident memory in MB of one task, in a process of its own (Linux): each member's forward
pass over one batch, or a whole alignment.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from run import NETWORKS, load_members

from onefold.alignment import align
from onefold.sources import build_data
from onefold.symmetry import trace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("task", choices=("forward", "permutation", "cca"))
    parser.add_argument("--members", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    members = load_members(arguments.members, arguments.network, (0, 1))
    data = list(
        build_data(
            arguments.data, split="train", limit=arguments.images, batch_size=arguments.batch
        )
    )
    traced = trace(
        members[0], (data[0][0],)
    )  # both tasks, since what torch.export imports is larger than all that follows
    with torch.no_grad():
        for member in members:
            member(data[0][0])
    if arguments.task != "forward":
        align(members, data, method=arguments.task, traced=traced)
    # Not getrusage: its maximum survives exec and would tell the size of the parent.
    print(
        next(
            int(line.split()[1]) / 1024
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
    )


if __name__ == "__main__":
    main()
