"""A network by name: the registry of model sources and `resolve_model`.

A name is checked before anything slow begins.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from onefold.errors import SettingError, nearest
from onefold.registry import Registry
from onefold.sources import networks
from onefold.sources.model_size import check_size
from onefold.sources.names import Name, parse
from onefold.sources.packages import optional_package
from onefold.sources.python_file import call, check_arguments, load_function
from onefold.sources.returned import check_network

ModelFactory = Callable[[], nn.Module]
# Checks a name, and returns the function that builds the network from the name's options.
ModelSource = Callable[[Name], Callable[..., nn.Module]]
model_sources: Registry[ModelSource] = Registry("model source")
SIZED = ("digits", "smallcnn", "resnet20", "vgg11", "hf:")  # built from sizes alone
CURE = "; give arguments as ?name=value"
DOCUMENTED = "look its names up in the package's documentation."


def folder_as_name(text: str, base: str | Path = ".") -> str:
    """The name of a model, with the source of networks of transformers before a plain folder.

    Args:
        text: a name, or a folder with or without options, as "FOLDER?task=features".
        base: the folder that it is relative to.
    """
    bare = text.strip().partition("?")[0]
    try:
        known = bare in model_sources or not (Path(base) / Path(bare).expanduser()).is_dir()
    except (OSError, RuntimeError, ValueError):  # no path at all, or an unknown ~user
        known = True
    return text if known or not bare else f"hf:{text.strip()}"


def resolve_model(name: str, **options: Any) -> ModelFactory:
    """A function that builds the network called `name`, anew on every call.

    Args:
        name: "digits", "smallcnn", "resnet20", "vgg11", "file.py:factory", "timm:NAME",
            "torchvision:NAME" or "hf:FOLDER", with options as in "vgg11?width=0.25". A folder
            alone is one of transformers, as "hf:FOLDER".
        **options: keyword arguments of the network; they win over those in the name.

    Returns:
        A function without arguments that returns an `nn.Module`. It raises SettingError if building
        fails.

    Raises:
        SettingError: the name or an option is unknown (with the nearest known name), or the package
            it needs is not installed.
    """
    name = folder_as_name(name) if isinstance(name, str) else name
    parsed = parse(name, model_sources, options)
    build = model_sources.get(parsed.key)(parsed)
    check_arguments(build, parsed.options, parsed, CURE)

    def factory() -> nn.Module:
        if parsed.key in SIZED:
            check_size(build, parsed)
        return check_network(call(build, parsed.options, parsed, SettingError), parsed)

    return factory


def build_model(name: str, **options: Any) -> nn.Module:
    """The network called `name`, freshly initialised.

    Args:
        name: as in `resolve_model`.
        **options: as in `resolve_model`.

    Raises:
        SettingError: as `resolve_model`, or building fails.
    """
    return resolve_model(name, **options)()


def _built_in(name: str, build: Callable[..., nn.Module]) -> None:
    summary = (build.__doc__ or "").split("\n")[0]
    model_sources.register(name, summary=summary)(lambda _: build)


_built_in("digits", networks.digits)
_built_in("smallcnn", networks.smallcnn)
_built_in("resnet20", networks.resnet20)
_built_in("vgg11", networks.vgg11)


@model_sources.register("file.py:")
def python_model(name: Name) -> Callable[..., nn.Module]:
    """Your own function (file.py:build), called with the options; returns a torch.nn.Module.

    The options are keyword arguments, as in `nets.py:build?width=32`. A class of networks is such a
    function, too. It is called anew for each member, and once for each file of weights, so it
    should load none itself.
    """
    return load_function(name)


@model_sources.register("timm:")
def timm_model(name: Name) -> Callable[..., nn.Module]:
    """A network of the package timm (timm:resnet18); pretrained weights with ?pretrained=true."""
    timm = optional_package("timm", "vision", name)
    if not timm.is_model(name.place):
        raise SettingError(
            f"The package timm has no network '{name.place}';"
            f" {nearest(name.place, timm.list_models(), DOCUMENTED)}"
        )

    def build(**options: Any) -> nn.Module:
        model: nn.Module = timm.create_model(name.place, **options)
        return model

    return build


@model_sources.register("torchvision:")
def torchvision_model(name: Name) -> Callable[..., nn.Module]:
    """A network of torchvision (torchvision:resnet18); pretrained weights with ?weights=DEFAULT."""
    models = optional_package("torchvision", "vision", name).models
    if name.place not in models.list_models():
        raise SettingError(
            f"The package torchvision has no network '{name.place}';"
            f" {nearest(name.place, models.list_models(), DOCUMENTED)}"
        )

    def build(**options: Any) -> nn.Module:
        model: nn.Module = models.get_model(name.place, **options)
        return model

    return build
