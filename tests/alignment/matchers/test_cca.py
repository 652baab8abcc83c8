"""CCA against its definition in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from matcher_features import WIDTH, features, moments_of
from numpy.typing import NDArray

from onefold.alignment.matchers.cca import CCA
from onefold.alignment.matchers.dense import shrunk


def root(matrix: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**power) @ vectors.T


@pytest.mark.parametrize(("gamma", "prior"), [(10.0, 0.1), (0.5, 0.0), (0.2, 1.0)])
def test_cca_is_its_definition(gamma: float, prior: float) -> None:
    a, b = features()
    found = CCA(gamma, prior).match(moments_of(a, b), 1)
    s = shrunk(moments_of(a, b), 1, gamma, prior)
    own, other, cross = s.reference.numpy(), s.member.numpy(), s.cross.numpy()
    u, _, vh = np.linalg.svd(root(own, -0.5) @ cross @ root(other, -0.5))
    forward = root(own, 0.5) @ u @ vh @ root(other, -0.5)
    np.testing.assert_allclose(found.map.forward, forward, rtol=1e-6, atol=1e-9)
    assert found.map.inverse is not None
    np.testing.assert_allclose(found.map.inverse, np.linalg.inv(forward), rtol=1e-6, atol=1e-9)
    assert found.condition == pytest.approx(np.linalg.cond(forward), rel=1e-6)
    left, right = a.numpy() @ root(own, -0.5) @ u, b.numpy() @ root(other, -0.5) @ vh.T
    correlations = [np.corrcoef(left[:, i], right[:, i])[0, 1] for i in range(WIDTH)]
    np.testing.assert_allclose(found.scores, sorted(correlations, reverse=True), rtol=1e-6)
