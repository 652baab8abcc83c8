"""What a user's function returns is looked at before it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from onefold.batches import batches
from onefold.errors import DataError, SettingError
from onefold.sources import build_data, build_model, check_source
from onefold.sources.returned import MOST

CODE = """
import itertools
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

X, Y = torch.randn(12, 3), torch.arange(12) % 3


class Examples(Dataset):
    def __init__(self, split="train"):
        self.classes = ["a", "b", "c"]
    def __len__(self):
        return 12
    def __getitem__(self, index):
        return X[index], int(Y[index])


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y)


class Endless:
    def __init__(self, split):
        self.classes = 3
    def __iter__(self):
        while True:
            yield X, Y


class Counting(Endless):
    def __len__(self):
        return 2


class Worn:
    def __init__(self):
        self.inner = iter([(X, Y)])
    def __iter__(self):
        return self.inner


def good(split):
    return [(X, Y), (X, Y)]
def loader(split):
    return DataLoader(Examples(), batch_size=4)
def stream(split):
    return DataLoader(Stream(), batch_size=4)
def named(split):
    return type("Rows", (), {"__getitem__": lambda s, i: (X, Y), "__len__": lambda s: 2,
                             "__iter__": lambda s: iter([(X, Y)] * 2)})()
def nothing(split):
    [(X, Y)]
def a_class(split):
    return Examples
def a_function(split):
    return lambda: [(X, Y)]
def a_dataset(split):
    return Examples()
def a_tensor_dataset(split):
    return TensorDataset(X, Y)
def examples(split):
    return [(x, int(y)) for x, y in zip(X, Y)]
def scalars(split):
    return list(zip(X, Y))
def rows(split):
    return [{"inputs": x, "labels": int(y)} for x, y in zip(X, Y)]
def whole(split):
    return X, Y
def splits(split):
    return {"train": [(X, Y)], "test": [(X, Y)]}
def a_path(split):
    return "folder"
def iterator(split):
    return iter([(X, Y)])
def generator(split):
    yield X, Y
def cycle(split):
    return itertools.cycle([(X, Y)])
def worn(split):
    return Worn()
def a_tensor(split):
    return X
def a_number(split):
    return 5


class Net(nn.Linear):
    def __init__(self):
        super().__init__(3, 3)

def no_network():
    Net()
def class_of_networks():
    return Net
def weights():
    return Net().state_dict()
def pair():
    return Net(), "transform"
def text():
    return "net"
"""


@pytest.fixture
def place(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(CODE)
    return f"{tmp_path / 'own.py'}:"


@pytest.mark.parametrize(
    ("name", "count"), [("good", 2), ("loader", 3), ("stream", 3), ("named", 2)]
)
def test_batches_are_taken_as_they_are(place: str, name: str, count: int) -> None:
    data = build_data(place + name)
    for _ in range(2):
        assert sum(1 for _ in batches(data)) == count


def test_what_batches_know_is_still_there(place: str) -> None:
    assert build_data(f"{place}stream").batch_size == 4
    assert build_data(f"{place}Endless", limit=None).classes == 3
    with pytest.raises(AttributeError):
        _ = build_data(f"{place}stream").nonsense


DATA = {
    "nothing": "returned nothing; return a list of batches, a DataLoader",
    "a_class": "returned the class Examples; return an object of it, as Examples(...).",
    "a_function": "returned the function <lambda>; return what it returns.",
    "a_dataset": "returned the dataset Examples of single examples; return torch.utils.data.Data",
    "a_tensor_dataset": "returned the dataset TensorDataset of single examples; return torch",
    "Examples": "returned the dataset Examples of single examples",
    "examples": "returned single examples; return torch.utils.data.DataLoader(them,",
    "scalars": "returned single examples; return torch.utils.data.DataLoader(them,",
    "rows": "returned single examples; return torch.utils.data.DataLoader(them,",
    "whole": "returned inputs and labels as a whole; return torch.utils.data.DataLoader(torch.ut",
    "splits": "returned a dict with the keys 'train', 'test'; return one split's batches.",
    "a_path": "returned a text; return a list of batches",
    "iterator": "returned a list_iterator, which can be read only once; return a list of batches",
    "generator": "returned a generator, which can be read only once; return a list of batches",
    "cycle": "returned a cycle, which can be read only once",
    "a_tensor": "is a single tensor; pass an iterable of batches",
    "a_number": "is a int; pass an iterable of batches",
}


@pytest.mark.parametrize("name", DATA)
def test_what_are_no_batches_is_refused_at_once(place: str, name: str) -> None:
    with pytest.raises(DataError) as caught:
        build_data(place + name)
    assert DATA[name] in str(caught.value)


@pytest.mark.parametrize("name", ["Endless", "Counting"])
def test_batches_without_an_end_are_refused(place: str, name: str) -> None:
    with pytest.raises(DataError, match=f"did not end after {MOST:,} batches"):
        for _ in build_data(place + name):
            pass
    assert sum(batch.size for batch in batches(build_data(place + name, limit=30))) == 30


def test_batches_that_are_used_up_are_told_on_the_second_pass(place: str) -> None:
    data = build_data(f"{place}worn")
    assert sum(1 for _ in batches(data)) == 1
    with pytest.raises(DataError, match="an iterator that was used up yields nothing"):
        next(batches(data))


NETWORKS = {
    "no_network": "returned nothing; let it end with return and the torch.nn.Module.",
    "class_of_networks": "returned the class Net; return a network of it, as Net().",
    "weights": "returned weights; return the network, and give the weights as a file.",
    "pair": "returned a tuple with more than a network in it; return the torch.nn.Module alone.",
    "text": "returned a str; return a torch.nn.Module.",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_no_network_is_refused(place: str, name: str) -> None:
    with pytest.raises(SettingError) as caught:
        build_model(place + name)
    assert NETWORKS[name] in str(caught.value)


SIGNATURES = {
    "def f(): return []": "unexpected keyword argument 'split'); it takes nothing; it is called",
    "def f(split, path): return []": "missing a required argument: 'path'); it takes split, path",
    "def f(train): return []": "; it is called with split= and what it takes of batch_size=",
    "def f(split, /): return []": "cannot be called so",
    "f = [1]": "'f' in the file",
    "f = None": "is a NoneType, and no function; write one that returns it.",
    "def ff(split): return []": "has no function 'f'; did you mean 'ff'?",
}


@pytest.mark.parametrize("code", SIGNATURES)
def test_a_function_that_does_not_fit_is_refused_before_it_is_called(
    tmp_path: Path, code: str
) -> None:
    (tmp_path / "own.py").write_text(code)
    with pytest.raises(SettingError) as caught:
        check_source(f"{tmp_path / 'own.py'}:f")
    assert SIGNATURES[code] in str(caught.value)
