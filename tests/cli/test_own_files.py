"""Files of the user's own: what is wrong with them is one sentence, before anything slow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

MODEL = ["--model", "digits?width=4"]
HEAD = "import torch\nX, Y = torch.randn(64, 1, 8, 8), torch.arange(64) % 10\n"
CHECKED = {  # before anything is read
    "def load(): return [(X, Y)]": "got an unexpected keyword argument 'split'",
    "def laod(split): return [(X, Y)]": "has no function 'load'; did you mean 'laod'?",
    "load = [(X, Y)]": "'load' in the file",
    "def load(split) return": "line 3, is no valid Python",
    "def load(split): return [(X, Y)]\nx = undefined": "failed in line 4 with NameError",
}
CALLED = {  # before the members are
    "def load(split): [(X, Y)]": "returned nothing; return a list of batches",
    "def load(split): return list": "returned the class list; return an object of it",
    "def load(split): return X, Y": "returned inputs and labels as a whole",
    "def load(split): return torch.utils.data.TensorDataset(X, Y)": "the dataset TensorDataset",
    "def load(split): return iter([(X, Y)])": "which can be read only once",
    "def load(split): return {}[split]": "failed in line 3 of data.py with KeyError",
}
LATER = {
    "def load(split): return []": "yielded no batch",
    "class load:\n    def __init__(self, split): pass\n    def __iter__(self):\n"
    "        yield X, Y\n        raise OSError('the disk is gone')": (
        "Your code failed in line 7 of data.py with OSError: the disk is gone; put it right."
    ),
    "def load(split): return [(X[:, 0], Y)]": "cannot run on batch 0",
    "def load(split): return [((X * 9).byte(), Y)]": "divide the images by 255 and normalize them",
    "def load(split): return ['a.png']": "Batch 0 of the",
}


def own(folder: Path, code: str) -> list[str]:
    (folder / "data.py").write_text(HEAD + code + "\n")
    return ["--data", f"{folder / 'data.py'}:load"]


@pytest.mark.parametrize("command", ["merge", "soft"])
@pytest.mark.parametrize("code", [*CHECKED, *CALLED])
def test_a_function_that_will_not_do_is_told_before_the_members_are_read(
    refused: Callable, members: list[Path], tmp_path: Path, command: str, code: str
) -> None:
    flags = [*members[:2], *MODEL, *own(tmp_path, code), "-o", tmp_path / "f.safetensors"]
    told = refused(command, *flags, before="Reading" if code in CHECKED else "Reading 2 members")
    assert {**CHECKED, **CALLED}[code] in told


@pytest.mark.parametrize("command", ["eval", "align", "merge", "soft", "subspace", "inspect"])
@pytest.mark.parametrize("code", [list(CHECKED)[1], next(iter(CALLED)), list(LATER)[1]])
def test_every_command_tells_it_in_one_sentence(
    refused: Callable, members: list[Path], tmp_path: Path, command: str, code: str
) -> None:
    data = own(tmp_path, code.replace("(split)", "(split, shuffle=False)"))
    files = {"subspace": [], "inspect": ["digits?width=4"]}.get(command, members[:2])
    more = [] if command == "inspect" else [*MODEL]
    more += ["-o", tmp_path / "f.safetensors"] if command in ("merge", "soft") else []
    more += ["--epochs", "1", "-o", tmp_path / "run"] if command == "subspace" else []
    if command == "inspect" and code in LATER:
        return  # it reads one batch alone
    code_of = code.replace("self, split", "self, split, shuffle=False")
    (tmp_path / "data.py").write_text(HEAD + code_of.replace("(split)", "(split, shuffle=False)"))
    assert {**CHECKED, **CALLED, **LATER}[code] in refused(command, *files, *more, *data)


@pytest.mark.parametrize("code", LATER)
def test_batches_that_will_not_do(
    refused: Callable, members: list[Path], tmp_path: Path, code: str
) -> None:
    flags = [*MODEL, *own(tmp_path, code), "-o", tmp_path / "f.safetensors"]
    assert LATER[code] in refused("merge", *members[:2], *flags)


BUILD = {
    "def build(width): return nn.Linear(width, 1)": "missing a required argument: 'width'",
    "def build():\n    nn.Linear(3, 1)": "returned nothing; let it end with return",
    "def build(): return nn.Linear": "returned the class Linear; return a network of it",
    "def build(): return nn.Linear(3, 1).state_dict()": "returned weights; return the network",
    "def build():\n    return nn.Linear(3)": "failed in line 3 of model.py with TypeError",
    "def bild(): return nn.Linear(3, 1)": "has no function 'build'; did you mean 'bild'?",
    "def build(: pass": "line 2, is no valid Python",
}


@pytest.mark.parametrize("code", BUILD)
@pytest.mark.parametrize("command", ["merge", "inspect", "subspace"])
def test_an_architecture_that_will_not_do(
    refused: Callable, members: list[Path], tmp_path: Path, command: str, code: str
) -> None:
    (tmp_path / "model.py").write_text(f"from torch import nn\n{code}\n")
    name = f"{tmp_path / 'model.py'}:build"
    flags = {
        "merge": [*members[:2], "--model", name, "-o", tmp_path / "f.safetensors"],
        "inspect": [name, "--shape", "1,8,8"],
        "subspace": ["--model", name, "--epochs", "1", "-o", tmp_path / "run"],
    }[command]
    data = [] if command == "inspect" else ["--data", "sklearn:digits"]
    assert BUILD[code] in refused(command, *flags, *data, before="Training")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "resnet18"], "did you mean 'timm:resnet18'?"),
        (["--model", "member.pt"], "a file of weights is a member"),
        (["--data", "{folder}/pictures"], "did you mean 'imagefolder:{folder}/pictures'?"),
        (["--data", "{folder}/data.py"], "data.py:load'."),
        (["--align", "permutaton"], "did you mean 'permutation'?"),
        (["--fold", "Average"], "did you mean 'average'?"),
        (
            ["--regularisation", "1"],
            "There is no option --regularisation of onefold merge; did you",
        ),
        (["--ridge", "0.1"], "--ridge: it is a setting of auto or least_squares; give --fold too."),
        (["--fold", "least_squares", "--ridge", "-1"], "--ridge: the fold 'least_squares' refuses"),
        (["--polish", "many"], "Invalid value for '--polish': it takes a whole number; see"),
        (["--seed"], "The option --seed takes a value; see"),
    ],
)
def test_suggestions_name_options_and_the_other_kinds(
    refused: Callable, members: list[Path], tmp_path: Path, flags: list[str], message: str
) -> None:
    if "timm" in message:
        pytest.importorskip("timm")
    own(tmp_path, "def load(split): pass")
    (tmp_path / "pictures" / "train" / "cat").mkdir(parents=True)
    given = [flag.format(folder=tmp_path) for flag in flags]
    call = [*members[:2], *MODEL, "--data", "sklearn:digits", "-o", tmp_path / "f.safetensors"]
    told = refused("merge", *call, *given, before="Reading 2")
    assert message.format(folder=tmp_path) in told
