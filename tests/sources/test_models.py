"""Networks by name: built-in ones, somebody's own file, optional packages; wrong names and options
are refused early, with a hint.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from onefold.errors import SettingError
from onefold.sources import build_model, model_sources, resolve_model
from onefold.sources.networks import DigitsNet


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("WIDTH = 5\n")
    path = tmp_path / "nets.py"
    path.write_text(
        "from dataclasses import dataclass\nimport neighbour\nfrom torch import nn\n"
        "@dataclass\nclass Config:\n    width: int = neighbour.WIDTH\n"
        "class Net(nn.Linear):\n    pass\n"
        "def make(width=None, bias=True):\n    return Net(3, width or Config().width, bias=bias)\n"
        "def wrong():\n    return 3\n"
        "def fails(width=1):\n    raise ValueError('width must be odd')\n"
        "def needs(width):\n    return Net(1, width)\n"
    )
    return path


def test_built_in_networks_with_options_in_the_name_or_as_keywords() -> None:
    assert isinstance(build_model("digits"), DigitsNet)
    assert (
        parameters(build_model("vgg11?width=0.25"))
        == parameters(build_model("vgg11", width=0.25))
        < parameters(build_model("vgg11"))
    )
    assert build_model("resnet20?width=0.5&classes=7").linear.out_features == 7
    assert any(
        isinstance(m, nn.BatchNorm2d) for m in build_model("vgg11?width=0.25&norm=true").modules()
    )
    assert (
        build_model("resnet20?width=0.5&classes=7", classes=3).linear.out_features == 3
    )  # keywords win


def test_a_factory_builds_a_new_network_each_time() -> None:
    factory = resolve_model("digits?width=4")
    torch.manual_seed(0)
    first, second = factory(), factory()
    assert not torch.equal(first.conv1.weight, second.conv1.weight)
    torch.manual_seed(0)
    assert torch.equal(factory().conv1.weight, first.conv1.weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vgg12", "no model source named 'vgg12'; did you mean 'vgg11'"),
        ("tim:resnet18", "did you mean 'timm:resnet18'"),
        ("", "non-empty"),
        ("vgg11?widht=1", "unexpected keyword argument 'widht'.*takes width, classes, norm"),
        ("vgg11?width", "malformed"),
        ("vgg11?width=1&width=2", "given twice"),
        ("timm:", "no place"),
        ("absent.py:make", "does not exist"),
        ("absent.py", "no function in it; write 'absent.py:name_of_the_function'"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_built(name: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        resolve_model(name)


def test_options_that_the_network_refuses() -> None:
    with pytest.raises(SettingError, match=r"'vgg11\?width=wide' failed with"):
        build_model("vgg11?width=wide")


def test_own_file(own_file: Path) -> None:
    before = list(sys.path)
    first, second = (
        build_model(f"{own_file}:make"),
        build_model(f"{own_file}:make", width=7, bias=False),
    )
    assert (first.out_features, second.out_features, second.bias) == (5, 7, None)
    assert type(first) is type(second)
    assert sys.path == before


def test_own_file_is_read_again_when_it_has_changed(own_file: Path) -> None:
    import os

    build_model(f"{own_file}:make")
    own_file.write_text("from torch import nn\ndef make():\n    return nn.Linear(1, 99)\n")
    os.utime(own_file, ns=(1, 1))
    assert build_model(f"{own_file}:make").out_features == 99


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("mak", "no function 'mak'; did you mean 'make'"),
        ("make?size=1", "unexpected keyword argument 'size'"),
        ("needs", "missing a required argument: 'width'"),
    ],
)
def test_own_file_is_checked_early(own_file: Path, function: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        resolve_model(f"{own_file}:{function}")


def test_own_function_that_fails(own_file: Path) -> None:
    with pytest.raises(
        SettingError, match=r"failed in line 14 of nets\.py with ValueError: width must be odd"
    ):
        build_model(f"{own_file}:fails")
    with pytest.raises(SettingError, match=r"returned an int; return a torch.nn.Module"):
        build_model(f"{own_file}:wrong")
    own_file.write_text("import nothing_of_this_name\n")
    with pytest.raises(SettingError, match=r"nets\.py failed in line 1 with ModuleNotFoundError"):
        resolve_model(f"{own_file}:make")
    own_file.write_text("raise SystemExit(3)  # a script\n")
    with pytest.raises(SettingError, match=r"nets.py ends the program in line 1"):
        resolve_model(f"{own_file}:make")


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_a_missing_package_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what Python itself does for "not importable"
    with pytest.raises(
        SettingError,
        match=rf'needs the package {package}; install it with: pip install "onefold\[vision\]"',
    ):
        resolve_model(f"{package}:resnet18")


def test_timm_by_its_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("timm")
    fake.is_model = lambda name: name == "resnet18"  # type: ignore[attr-defined]
    fake.list_models = lambda: ["resnet18"]  # type: ignore[attr-defined]
    fake.create_model = lambda name, **options: nn.Linear(1, options["num_classes"])
    monkeypatch.setitem(sys.modules, "timm", fake)
    assert build_model("timm:resnet18?num_classes=6").out_features == 6
    with pytest.raises(SettingError, match="no network 'resnet81'; did you mean 'resnet18'"):
        resolve_model("timm:resnet81")


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_the_real_package_if_it_is_installed(package: str) -> None:
    try:
        __import__(package)
    except (
        Exception
    ) as error:  # torchvision raises RuntimeError beside a torch that it was not built for
        pytest.skip(f"{package} cannot be imported: {error}")
    assert parameters(build_model(f"{package}:resnet18", num_classes=10)) == 11_181_642


def test_anybody_may_add_a_source() -> None:
    @model_sources.register("test-only:")
    def mine(name):  # type: ignore[no-untyped-def]
        "Linear networks."
        return lambda outputs: nn.Linear(int(name.place), outputs)

    try:
        assert build_model("test-only:4?outputs=2").weight.shape == (2, 4)
    finally:
        model_sources.unregister("test-only:")
