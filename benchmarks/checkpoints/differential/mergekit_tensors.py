"""Merges single tensors with mergekit, in float32 and in float64; runs in its environment.

    python mergekit_tensors.py TASKS.json INPUTS.safetensors OUTPUTS.safetensors

The file lists {"name", "method", "inputs", "base", "parameters", "rows"}: names of tensors, the
index of the base or null, values, those of models by the names of inputs, and how many rows of the
tensors are taken. Outputs are "name float32" and "name float64". What goes wrong ends the program.
"""

import json
import sys

import torch
from mergekit.merge_methods.api import merge_tensors
from safetensors.torch import load_file, save_file


def main() -> None:
    """Carry out all merges of the file."""
    with open(sys.argv[1], encoding="utf-8") as file:
        tasks = json.load(file)
    tensors, found = load_file(sys.argv[2]), {}
    for task in tasks:
        inputs = [tensors[name][: task["rows"]] for name in task["inputs"]]
        for dtype in (torch.float32, torch.float64):
            torch.manual_seed(0)
            merged = merge_tensors(
                inputs,
                task["method"],
                parameters=task["parameters"],
                ids=task["inputs"],
                base_index=task["base"],
                dtype=dtype,
            )
            name = str(dtype).removeprefix("torch.")
            found[f"{task['name']} {name}"] = merged.contiguous().clone()
    save_file(found, sys.argv[3])


if __name__ == "__main__":
    main()
