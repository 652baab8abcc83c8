"""Least-squares folding: from unlabelled data, layer by layer, towards the aligned members'
features.
"""

from onefold.fold.least_squares.fold import LeastSquares
from onefold.fold.least_squares.targets import TARGETS

__all__ = ["TARGETS", "LeastSquares"]
