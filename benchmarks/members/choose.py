"""Choose the learning rate of every network: short trainings, judged on the part "choices".

    python benchmarks/members/choose.py vgg11 vgg11-plain smallcnn resnet20

Each rate trains the network for a few epochs of 8,000 images. The figures go to choice.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.common.data import Data, Part, load_data
from benchmarks.common.networks import NETWORKS
from benchmarks.members.roster import SETTINGS, Member
from benchmarks.members.training import Training, accuracy

RATES = (0.025, 0.05, 0.1, 0.2, 0.4)
IMAGES = 8_000
RECORD = Path(__file__).resolve().parent / "choice.json"


def main() -> None:
    """Read the arguments and carry them out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", choices=sorted(NETWORKS))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.nice(10)
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for name in arguments.networks:
        network = NETWORKS[name]
        data = load_data(network.data)
        few = Part(data.seen.images[:IMAGES], data.seen.labels[:IMAGES])
        small = Data(few, data.unlabelled, data.choices, data.test)
        for lr in arguments.rates:
            torch.manual_seed(0)
            model = network.build()
            with tempfile.TemporaryDirectory() as folder:
                member = Member(f"{name} {lr}", name, arguments.epochs)
                settings = replace(SETTINGS[name], lr=lr)
                Training(member, model, small, Path(folder) / "state.pt", settings).run(
                    lambda _: None
                )
            key = f"{arguments.epochs} epochs of {IMAGES} images"
            found = round(accuracy(model, small.choices), 2)
            record.setdefault(name, {}).setdefault(key, {})[str(lr)] = found
            RECORD.write_text(json.dumps(record, indent=1) + "\n")
            print(f"{name}, rate {lr}: {found} %", flush=True)


if __name__ == "__main__":
    main()
