"""Carries out documents with mergekit; runs in mergekit's environment, once for all of them.

    python mergekit_driver.py TASKS.json

The file lists {"folder", "text", "out", "seed", "stable"}; the models that a document names are in
`folder`. Names become full paths, since mergekit keeps open files by the names of models. With
`stable` torch's sorts leave equal elements in their order, which they do not promise otherwise.
What came of each document is printed as one line of JSON, behind a line of versions and of what
mergekit's methods declare. Only names that mergekit exports are called.
"""

import contextlib
import json
import logging
import os
import sys
import time
import traceback
from importlib.metadata import version

import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge
from mergekit.merge_methods.registry import registered_methods


def with_paths(content, folder):
    """Plain data with full paths in place of the names of models."""
    if isinstance(content, dict):
        return {key: with_paths(value, folder) for key, value in content.items()}
    if isinstance(content, list):
        return [with_paths(value, folder) for value in content]
    path = os.path.join(folder, content) if isinstance(content, str) else ""
    return path if path and os.path.isfile(os.path.join(path, "config.json")) else content


@contextlib.contextmanager
def stable_sorts():
    """Let torch sort stably: of equal elements the earlier one comes first."""
    sort, argsort, topk = torch.sort, torch.argsort, torch.topk

    def sorted_(values, dim=-1, descending=False):
        return sort(values, dim=dim, descending=descending, stable=True)

    def largest(values, k, dim=-1, largest=True):
        found = sort(values, dim=dim, descending=largest, stable=True)
        return found.values[..., :k], found.indices[..., :k]

    def indices(values, dim=-1, descending=False):
        return sorted_(values, dim, descending).indices

    torch.sort, torch.argsort, torch.topk = sorted_, indices, largest
    try:
        yield
    finally:
        torch.sort, torch.argsort, torch.topk = sort, argsort, topk


def declared():
    """What methods declare: their use of a base, and level and default of each parameter."""
    found = {}
    for method in registered_methods():
        spec = method.spec
        parameters = {}
        for one in spec.parameters:
            plain = one.default is None or isinstance(one.default, (bool, int, float))
            parameters[one.name] = [one.scope.value, one.default if plain else "required"]
        found[spec.name] = {"base": spec.contract.base.value, "parameters": parameters}
    return found


def main() -> None:
    """Carry out all documents of the file."""
    logging.disable(logging.WARNING)
    with open(sys.argv[1], encoding="utf-8") as file:
        tasks = json.load(file)
    versions = {name: version(name) for name in ("mergekit", "torch", "transformers")}
    print(json.dumps({"versions": versions, "methods": declared()}))
    for task in tasks:
        start = time.process_time()
        problem = ""
        try:
            plain = with_paths(yaml.safe_load(task["text"]), task["folder"])
            content = MergeConfiguration.model_validate(plain)
            options = MergeOptions(random_seed=task["seed"], quiet=True, write_model_card=False)
            with stable_sorts() if task["stable"] else contextlib.nullcontext():
                run_merge(content, task["out"], options)
        except Exception as error:
            problem = traceback.format_exception_only(error)[-1].strip()
        seconds = round(time.process_time() - start, 2)
        print(json.dumps({"out": task["out"], "problem": problem, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
