"""Layers and norms as the rules met them, turned into the plain layers of a SymmetrySpec."""

from __future__ import annotations

from collections import Counter

from onefold.layers import Layer, Norm
from onefold.symmetry.rules.call import Facts, LayerSite, NormSite


def layers_of(facts: Facts) -> tuple[Layer, ...]:
    """All layers in graph order, each with the norm that folds into it.

    A batch norm folds if it is the only reader of the layer's output, normalises the layer's output
    channels, and neither the layer's tensors nor the norm's are used anywhere else.
    """
    uses = Counter(name for node, name in facts.direct.items() for _ in node.users)
    behind = {site.source: site for site in facts.norms}
    layers = []
    for site in facts.layers:
        shared = uses[site.weight] > 1 or (site.bias is not None and uses[site.bias] > 1)
        follower = behind.get(site.node)
        norm = None
        if follower is not None and not shared and _folds(site, follower, uses):
            norm = norm_of(follower)
        layers.append(
            Layer(
                node=site.node.name,
                kind=site.kind,
                weight=site.weight,
                bias=site.bias,
                weight_axis=site.weight_axis,
                source=site.source.name,
                output=site.node.name if norm is None else norm.node,
                output_axis=site.output_axis,
                groups=site.groups,
                norm=norm,
                shared=shared,
            )
        )
    return tuple(layers)


def norm_of(site: NormSite) -> Norm:
    """The plain form of a norm."""
    return Norm(site.node.name, site.scale, site.shift, site.mean, site.variance, site.eps)


def norm_tensors(norm: Norm) -> list[str]:
    """The state-dict names of a norm's tensors."""
    return [name for name in (norm.scale, norm.shift, norm.mean, norm.variance) if name is not None]


def _folds(layer: LayerSite, norm: NormSite, uses: Counter[str]) -> bool:
    alone = set(layer.node.users) == {norm.node} and all(
        uses[name] == 1 for name in norm_tensors(norm_of(norm))
    )
    return alone and layer.output_axis == 1  # a batch norm normalises axis 1
