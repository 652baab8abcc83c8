"""Sites: the parts of a network that one gate governs, chosen by name patterns.

At layer level a site is the tensors of one layer, at module level a whole submodule. A layer is a
module that owns parameters. Every layer and direction of a recurrent module is a site of its own.
In a module that also has children with parameters, as attention has, only tensors that differ in
"weight" and "bias" alone belong together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

from onefold.errors import SettingError
from onefold.patterns import around, check_patterns, choose

RunningNorm = nn.modules.batchnorm._NormBase
_KINDS = {"weight", "bias", "ih", "hh", "hr", "raw"}
_RECURRENT = re.compile(r"_l\d+(_reverse)?$")


@dataclass(frozen=True)
class Site:
    """A part with one gate for each member.

    Attributes:
        name: the module's name, with what tells its parts apart.
        module: the module's own name.
        tensors: state-dict names of its parameters.
        norm: whether the module has running statistics, which belong to the site.
    """

    name: str
    module: str
    tensors: tuple[str, ...]
    norm: bool = False


def sites_of(
    network: nn.Module,
    level: str,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
) -> list[Site]:
    """The sites of this level, in the order of the network's modules.

    At level "model" that is the network as a whole.

    Raises:
        SettingError: there is nothing to gate, or a pattern matches nothing.
    """
    if level == "model":
        return [Site("network", "", ())]
    found = layer_sites(network) if level == "layer" else module_sites(network, include)
    if not found:
        raise SettingError(
            f"{type(network).__name__} has no {level} with weights, so there is nothing to gate;"
            " use level='model'."
        )
    return choose(found, _around, include if level == "layer" else None, exclude)


def layer_sites(network: nn.Module) -> list[Site]:
    """All layers of `network` in the order of its modules.

    A parameter that several modules share belongs to the first.
    """
    first = {id(parameter): name for name, parameter in network.named_parameters()}
    sites = []
    for module_name, module in network.named_modules():
        prefix = f"{module_name}." if module_name else ""
        own = [
            name
            for name, p in module.named_parameters(recurse=False)
            if first[id(p)] == prefix + name
        ]
        norm = isinstance(module, RunningNorm) and module.running_mean is not None
        if norm and not own:
            sites.append(Site(module_name, module_name, (), True))
            continue
        has_children = any(True for child in module.children() for _ in child.parameters())
        groups: dict[str, list[str]] = {}
        for name in own:
            parted = has_children or _RECURRENT.search(name)
            groups.setdefault(_part(name) if parted else "", []).append(prefix + name)
        for part, tensors in groups.items():
            sites.append(
                Site((prefix + part).rstrip(".") or "network", module_name, tuple(tensors), norm)
            )
    return sites


def module_sites(network: nn.Module, include: Sequence[str] | None) -> list[Site]:
    """The outermost modules that match a pattern.

    None stands for the children of the network that have parameters. If there is only one child, as
    in a wrapper, its own children are taken instead.

    Raises:
        SettingError: a pattern matches no module with parameters.
    """
    with_parameters = {
        name: m for name, m in network.named_modules() if name and any(True for _ in m.parameters())
    }
    if include is None:
        names = [name for name in with_parameters if "." not in name]
        while len(names) == 1 and (
            inner := [
                n
                for n in with_parameters
                if n.startswith(names[0] + ".") and n.count(".") == names[0].count(".") + 1
            ]
        ):
            names = inner
    else:
        check_patterns(include, list(with_parameters), "include")
        names = []
        for name in with_parameters:
            if any(fnmatchcase(name, p) for p in include) and not any(
                name.startswith(outer + ".") for outer in names
            ):
                names.append(name)
    return [Site(n, n, tuple(f"{n}.{t}" for t in with_parameters[n].state_dict())) for n in names]


def broken(site: Site, state: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor of the site that holds NaN or infinity in `state`, or None."""
    return next(
        (
            name
            for name in tensor_names(site, state)
            if state[name].is_floating_point() and not state[name].isfinite().all()
        ),
        None,
    )


def tensor_names(site: Site, state: Mapping[str, Tensor]) -> list[str]:
    """The state-dict names of the site's parameters and running statistics."""
    names = ("running_mean", "running_var") if site.norm else ()
    statistics = [f"{site.module}.{name}".lstrip(".") for name in names]
    return [*site.tensors, *(name for name in statistics if name in state)]


def _part(name: str) -> str:
    """The words that tell the parts of a module apart.

    "weight_ih_l0" -> "l0", "in_proj_bias" -> "in_proj", "cls_token" as it is.
    """
    return "_".join(word for word in name.split("_") if word not in _KINDS)


def _around(site: Site) -> Iterator[str]:
    yield site.name
    yield from around(site.module)
