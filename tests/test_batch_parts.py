"""What a loader yields: which entry is what, arrays of numpy, images of bytes."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from collections import UserDict, namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

import onefold
from onefold.batch_parts import parted
from onefold.batches import batches, check_reiterable, fingerprint, labels_of
from onefold.errors import DataError, SettingError
from onefold.inference import predictions
from onefold.measure import agreement, triangle

pytestmark = pytest.mark.filterwarnings("ignore")
Item = namedtuple("Item", "image label number")


@dataclasses.dataclass
class Record:
    """A batch as an object with attributes."""

    image: Tensor
    label: Tensor
    number: Any


class Keyed(nn.Module):
    """Takes its input as a keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net(0)

    def forward(self, *, pixel_values: Tensor) -> Tensor:
        return self.body(pixel_values)


class Two(nn.Module):
    """Takes an image and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net(0)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return self.body(image * mask)


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()


def pairs() -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(9)
    return [(torch.randn(12, 6), torch.arange(12) % 3) for _ in range(4)]


def names(count: int) -> list[str]:
    return [f"patient {k}" for k in range(count)]


# How a batch of more entries looks, and what says which entry is what.
FORMS: dict[str, tuple[Callable[[Tensor, Tensor], Any], dict[str, Any]]] = {
    "names last": (lambda x, y: (x, y, names(len(x))), {}),
    "numbers last": (lambda x, y: [x, y, torch.arange(len(x))], {}),
    "numbers first": (lambda x, y: (torch.arange(len(x)), x, y), {"inputs": 1, "labels": 2}),
    "counted from the end": (lambda x, y: (0, x, None, y), {"inputs": -3, "labels": -1}),
    "dict": (
        lambda x, y: {"image": x, "label": y, "id": names(len(x))},
        {"inputs": "image", "labels": "label"},
    ),
    "dict of other keys": (lambda x, y: {0: x, 1: y, 2: 3}, {}),
    "named tuple": (lambda x, y: Item(x, y, 3), {"inputs": "image", "labels": "label"}),
    "object": (lambda x, y: Record(x, y, 3), {"inputs": "image", "labels": "label"}),
    "arrays": (lambda x, y: (x.numpy(), y.numpy(), np.array(names(len(x)))), {}),
}
USES: dict[str, Callable[[Any], Any]] = {
    "merge": lambda d: onefold.merge(
        [net(0), net(1)], d, align="permutation", polish=1, fold="average"
    ),
    "greedy soup": lambda d: onefold.merge([net(0), net(1)], d, fold="greedy_soup", align="none"),
    "validation": lambda d: onefold.merge(
        [net(0), net(1)], pairs(), fold="auto", align="permutation", validation=d
    ),
    "least squares": lambda d: onefold.merge(
        [net(0), net(1)], d, align="permutation", fold="least_squares"
    ),
    "align": lambda d: onefold.align([net(0), net(1)], d, method="permutation").apply(
        [net(0), net(1)]
    )[1],
    "partial": lambda d: onefold.partial_merge([net(0), net(1)], d, until="1"),
    "gates": lambda d: onefold.fit_gates(
        onefold.SoftMerge([net(0), net(1)], align="none", screen=False), d, steps=2
    ),
    "recalibrate": lambda d: onefold.recalibrate(net(0), d),
    "evaluate": lambda d: onefold.evaluate([net(0), net(1)], d),
    "agreement": lambda d: agreement([net(0), net(1)], d),
    "barrier": lambda d: onefold.barrier(net(0), net(1), d, points=3),
    "triangle": lambda d: triangle(net(0), net(1), net(2), d, resolution=1),
    "compare": lambda d: onefold.measure_pairs([net(0), net(1)], d, points=3),
    "pool": lambda d: onefold.class_pool([net(0), net(1)], d),
    "midpoint": lambda d: onefold.Subspace(net(0)).midpoint(d),
    "predictions": lambda d: predictions(net(0), d),
    "fingerprint": lambda d: fingerprint(d, labels=True),
}


def facts(result: Any) -> list[Any]:
    """What of a result depends on the data."""
    network = result if isinstance(result, nn.Module) else getattr(result, "model", None)
    if isinstance(network, nn.Module):
        return [value.clone() for value in network.state_dict().values() if torch.is_tensor(value)]
    if isinstance(result, tuple):
        return list(result)
    return [result if isinstance(result, str | Tensor) else str(result)]


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("use", USES)
def test_every_function_takes_batches_of_more_entries(use: str) -> None:
    plain = facts(USES[use](pairs()))
    for form in ("names last", "dict", "arrays"):
        make, told = FORMS[form]
        assert same(facts(USES[use](onefold.Batches([make(*b) for b in pairs()], **told))), plain)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_batch(form: str) -> None:
    make, told = FORMS[form]
    data = onefold.Batches([make(*each) for each in pairs()], **told)
    for found, (x, y) in itertools.zip_longest(batches(data), pairs()):
        assert torch.equal(found.args[0], x)
        assert torch.equal(labels_of(found, "tested"), y)
        assert not found.kwargs
    assert len(data) == 4
    assert pickle.loads(pickle.dumps(onefold.Batches([1]))) == onefold.Batches([1])
    assert onefold.evaluate(net(0), data).n == 48


def test_networks_of_several_inputs_and_of_keywords() -> None:
    items = [{"a": x, "m": x > 0, "y": y, "id": 3} for x, y in pairs()]
    data = onefold.Batches(items, inputs=("a", "m"), labels="y")
    assert onefold.evaluate(Two(), data).n == 48
    assert (
        onefold.merge([Two(), Two()], data, align="permutation", fold="average").model is not None
    )
    keyed = onefold.Batches(items, inputs={"pixel_values": "a"}, labels="y")
    assert onefold.evaluate(Keyed(), keyed) == onefold.evaluate(net(0), pairs())
    assert next(batches(onefold.Batches(items, "a", None))).labels is None


def test_labels_in_dicts() -> None:
    plain = onefold.evaluate(net(0), pairs())
    for labels in (
        lambda y: {"labels": y, "name": "a"},
        lambda y: {"class": y},
        lambda y: {"class": y.numpy()},
    ):
        assert onefold.evaluate(net(0), [(x, labels(y)) for x, y in pairs()]) == plain
    several = [(x, {"class": y, "side": y.float()}) for x, y in pairs()]
    with pytest.raises(DataError, match=r"a dict with the keys 'class', 'side', .*labels=\(1, 'c"):
        onefold.evaluate(net(0), several)
    assert onefold.evaluate(net(0), onefold.Batches(several, labels=(1, "class"))) == plain
    with pytest.raises(
        DataError, match=r"Batch 0 of the data has no entry 'kind'; did you mean 'side'"
    ):
        onefold.evaluate(net(0), onefold.Batches(several, labels=(1, "kind")))


@pytest.mark.parametrize(
    "labels",
    [
        torch.rand(12),
        torch.rand(12, 4),
        torch.rand(12, 4) > 0.5,
        torch.zeros(12, 5, 5, dtype=torch.uint8),
        [0.5] * 12,
        [[0, 1]] * 12,
        np.zeros((12, 3), np.float16),
    ],
    ids=str,
)
def test_labels_of_any_shape_and_type_are_taken(labels: Any) -> None:
    (found,) = batches([(torch.ones(12, 6), labels)])
    assert torch.equal(labels_of(found, "tested"), torch.as_tensor(labels))
    assert found.size == 12


@pytest.mark.parametrize(
    ("item", "told", "sentence"),
    [
        ((1, 2), {"labels": 2}, "Batch 1 of the data has 2 entries and none at 2; give a position"),
        ((1, 2), {"inputs": "image"}, "Batch 1 of the data is a tuple and has no entry 'image'; g"),
        ({"images": 1, "y": 2}, {"inputs": "image"}, "has no entry 'image'; did you mean 'images'"),
        ({"images": 1, "y": 2}, {"labels": "y"}, "has no entry 0; known: images, y."),
        (torch.ones(2, 6), {}, "Batch 1 of the data is a Tensor and has no entry"),
        (Record(1, 2, 3), {}, "Batch 1 of the data is a Record and has no entry 1; give data of"),
        ("text", {}, "Batch 1 of the data is a str and has no entry 1"),
        (None, {}, "Batch 1 of the data is a NoneType and has no entry 1"),
    ],
)
def test_an_entry_that_is_not_there(item: Any, told: dict[str, Any], sentence: str) -> None:
    first = {
        tuple: (torch.ones(2, 6), torch.ones(2), 3),
        dict: {"image": torch.ones(2, 6), "y": torch.ones(2), 0: torch.ones(2, 6)},
    }
    good = first[dict if isinstance(item, dict) else tuple]
    if told.get("inputs") == "image" and isinstance(item, tuple):
        good = Item(torch.ones(2, 6), torch.ones(2), 3)
    if isinstance(item, dict):
        told = {"labels": "y"} | told
    with pytest.raises(DataError) as raised:
        list(batches(onefold.Batches([good, item], **told)))
    assert sentence in str(raised.value)
    assert str(raised.value).endswith((".", "?"))


@pytest.mark.parametrize(
    "told",
    [
        {"inputs": None},
        {"inputs": 1.0},
        {"inputs": True},
        {"inputs": ()},
        {"inputs": {}},
        {"inputs": {3: "image"}},
        {"inputs": {"x": None}},
        {"inputs": ["a", None]},
        {"labels": 1.0},
        {"labels": ["a"]},
        {"labels": ()},
        {"labels": (1, None)},
        {"labels": False},
    ],
)
def test_what_is_no_place(told: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"^Batches takes .*\.$"):
        onefold.Batches([], **told)


@pytest.mark.parametrize("data", [7, None, "loader", torch.ones(2), {"a": 1}, net(0)])
def test_what_is_no_data(data: Any) -> None:
    with pytest.raises(DataError, match=r"^Batches takes data as a list or DataLoader of batches"):
        onefold.Batches(data)


def test_an_iterator_inside_is_refused_where_data_are_read_twice() -> None:
    with pytest.raises(DataError, match="is an iterator, which can be read only once"):
        check_reiterable(onefold.Batches(iter(pairs())))
    with pytest.raises(DataError, match="is an iterator, which can be read only once"):
        onefold.merge([net(0), net(1)], onefold.Batches(iter(pairs())), fold="average")


class Rows(Dataset[Any]):
    classes = ("a", "b", "c")

    def __len__(self) -> int:
        return 12

    def __getitem__(self, k: int) -> tuple[Tensor, int, str]:
        if k >= 12:
            raise IndexError
        return torch.full((6,), float(k)), k % 3, f"patient {k}"


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return (Rows()[k] for k in range(12))


def test_loaders() -> None:
    loader = DataLoader(Rows(), batch_size=4)
    data = onefold.Batches(loader)
    assert data.sampler is loader.sampler
    assert data.dataset.classes == ("a", "b", "c")
    assert repr(data) == "Batches(DataLoader, inputs=0, labels=1)"
    assert not hasattr(data, "nothing")
    streamed = DataLoader(Stream(), batch_size=4)
    assert onefold.evaluate(net(0), onefold.Batches(streamed)) == onefold.evaluate(net(0), data)


class Encoding(UserDict):
    """A batch as a tokenizer makes it: no dict, but a mapping."""


@pytest.mark.parametrize("key", ["labels", "label", "label_ids"])
@pytest.mark.parametrize("kind", [dict, Encoding])
def test_labels_among_the_keys_of_a_dict(kind: Callable[..., Any], key: str) -> None:
    data = [kind({key: y, "pixel_values": x}) for x, y in pairs()]
    for found, (x, y) in zip(batches(data), pairs(), strict=True):
        assert torch.equal(labels_of(found, "tested"), y)
        assert list(found.kwargs) == ["pixel_values"]
        assert torch.equal(found.kwargs["pixel_values"], x)
    assert onefold.evaluate(Keyed(), data) == onefold.evaluate(net(0), pairs())
    models = [Keyed(), Keyed()]
    merged = onefold.merge(models, data, align="permutation", fold="greedy_soup")
    assert type(merged.model) is Keyed
    loader = DataLoader([{"pixel_values": x[0], key: int(y[0])} for x, y in pairs()], batch_size=2)
    assert onefold.evaluate(Keyed(), loader).n == 4


def test_the_entry_labels_comes_before_others() -> None:
    x, y = pairs()[0]
    (found,) = batches([{"label": x, "labels": y}])
    assert torch.equal(labels_of(found, "tested"), y)
    assert list(found.kwargs) == ["label"]


@pytest.mark.parametrize("use", sorted(set(USES) - {"fingerprint"}))
@pytest.mark.parametrize("form", ["names last", "numbers last", "dict"])
def test_batches_of_more_entries_are_told_what_to_do(form: str, use: str) -> None:
    make, _ = FORMS[form]
    with pytest.raises(DataError) as raised:
        USES[use]([make(*each) for each in pairs()])
    text = str(raised.value)
    told = "inputs=0, labels=1" if form != "dict" else "inputs='image', labels='label'"
    assert f"pass onefold.Batches(data, {told})" in text
    assert "\n" not in text


ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "plain": lambda x: x,
    "in Fortran's order": np.asfortranarray,
    "reversed twice": lambda x: x[::-1].copy()[::-1],
    "of other bytes": lambda x: x.astype(x.dtype.newbyteorder()),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "a view": lambda x: np.concatenate([x, x], -1)[..., : x.shape[-1]] if x.ndim > 1 else x,
}


@pytest.mark.filterwarnings("error:.*writable")
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_are_taken_as_tensors(kind: str) -> None:
    array = ARRAYS[kind]
    x, y = pairs()[0]
    a, b = array(x.numpy()), array(y.numpy())
    for item, labelled in (
        (a, False),
        ((a,), False),
        ((a, b), True),
        ([a, b], True),
        (((a, x), b), True),
        ({"x": a, "labels": b}, True),
        (({"x": a}, b), True),
    ):
        (found,) = batches([item])
        assert torch.equal(found.tensors[0], x)
        assert (found.labels is not None) == labelled
        assert not labelled or torch.equal(labels_of(found, "tested"), y)
    given = a.copy()
    onefold.recalibrate(net(0), [a])
    assert np.array_equal(a, given)


@pytest.mark.parametrize("use", USES)
def test_every_function_takes_arrays(use: str) -> None:
    arrays = [(x.numpy(), y.numpy()) for x, y in pairs()]
    assert same(facts(USES[use](arrays)), facts(USES[use](pairs())))


def test_arrays_that_are_no_numbers_are_refused() -> None:
    for array in (np.array(["a", "b"]), np.array([None, 3], object), np.zeros(2, "i4,f4")):
        with pytest.raises(DataError, match="Batch 0 of the data is a ndarray; yield tensors"):
            next(batches([array]))
        with pytest.raises(DataError, match="holds no tensor as input"):
            next(batches([((array, array), torch.ones(2))]))
        labelled = next(batches([(torch.ones(2), array)]))
        with pytest.raises(DataError, match="labels of batch 0 of the data are a ndarray"):
            labels_of(labelled, "tested")


def pictures(first: Callable[[], nn.Module]) -> list[nn.Module]:
    return [
        nn.Sequential(first(), nn.Flatten(), nn.LazyLinear(5), nn.ReLU(), nn.Linear(5, 3)).eval()
        for _ in range(2)
    ]


IMAGES: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv2d(3, 4, 3),
    "batch norm": lambda: nn.BatchNorm2d(3),
    "linear": lambda: nn.Linear(8, 4),
    "two layers": lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3)),
}


@pytest.mark.parametrize("first", IMAGES)
def test_images_of_bytes_are_told_to_be_divided(first: str) -> None:
    models = pictures(IMAGES[first])
    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8)
    for model in models:
        model(images.float())
    for data in ([(images, torch.arange(6) % 3)], [(images.numpy(), np.arange(6) % 3)]):
        for call in (
            lambda data=data: onefold.merge(models, data, align="permutation", fold="average"),
            lambda data=data: onefold.merge(models, data, align="none", fold="average"),
            lambda data=data: onefold.evaluate(models, data),
            lambda data=data: onefold.align(models, data, method="permutation"),
            lambda data=data: onefold.merge(models, data, align="none", fold="least_squares"),
            lambda data=data: onefold.fit_gates(onefold.SoftMerge(models, align="none"), data),
            lambda data=data: onefold.barrier(*models, data),
        ):
            with pytest.raises(DataError) as raised:
                call()
            text = str(raised.value)
            assert "3, 8, 8) uint8" in text
            assert "divide the images by 255 and normalize them as in training, as images.f" in text


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.int16])
def test_whole_numbers_that_are_no_indices(dtype: torch.dtype) -> None:
    with pytest.raises(DataError, match=r"numbers that are no indices need \.to\(torch.float32\)"):
        onefold.evaluate(net(0), [(torch.ones(12, 6, dtype=dtype), torch.arange(12) % 3)])


def test_networks_that_take_bytes_are_left_alone() -> None:
    class Scales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x / 255).mean((2, 3))

    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8)
    assert onefold.evaluate(Scales(), [(images, torch.arange(6) % 3)]).n == 6


def test_an_item_is_parted_into_every_nth_example_and_the_rest() -> None:
    inputs, labels = torch.arange(23).reshape(23, 1).float(), torch.arange(23)
    forms: list[tuple[Any, Callable[[Any], Any]]] = [
        (inputs, lambda part: part[:, 0]),
        ((inputs, labels), lambda part: part[1]),
        ({"x": inputs.numpy(), "labels": labels}, lambda part: part["x"][:, 0]),
    ]
    for item, read in forms:
        found = parted(item, 5)
        assert found is not None
        rest, chosen = ([int(x) for x in read(part)] for part in found)
        assert chosen == [4, 9, 14, 19]
        assert sorted(rest + chosen) == list(range(23))
    for item in (inputs[:9], (inputs, labels[:-1]), (inputs, ["a"] * 23), {"x": inputs, "k": 3}):
        assert parted(item, 5) is None
