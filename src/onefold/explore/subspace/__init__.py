"""Subspaces of networks: lines, curves and simplexes of networks, trained in one run."""

from onefold.explore.subspace.subspace import Subspace

__all__ = ["Subspace"]
