"""Procrustes against its definition in plain numpy: no other rotation is nearer."""

from __future__ import annotations

import numpy as np
import pytest
from matcher_features import WIDTH, covariance, features, moments_of

from onefold.alignment.matchers.dense import shrunk
from onefold.alignment.matchers.procrustes import Procrustes


@pytest.mark.parametrize("prior", [0.0, 0.1, 3.0])
def test_procrustes_is_its_definition(prior: float) -> None:
    a, b = features()
    found = Procrustes(prior).match(moments_of(a, b), 1)
    u, _, vh = np.linalg.svd(shrunk(moments_of(a, b), 1, 0.0, prior).cross.numpy())
    np.testing.assert_allclose(found.map.forward, u @ vh, atol=1e-9)
    assert found.map.inverse is not None
    np.testing.assert_allclose(found.map.inverse, (u @ vh).T, atol=1e-9)
    correlations = [np.corrcoef(a.numpy() @ u[:, i], b.numpy() @ vh[i])[0, 1] for i in range(WIDTH)]
    np.testing.assert_allclose(found.scores, sorted(correlations, reverse=True), rtol=1e-6)


def test_no_rotation_that_keeps_the_mean_is_nearer() -> None:
    a, b = features(1.0)
    found = Procrustes(0.0, fixes_mean=True).match(moments_of(a, b), 1)
    turned = found.map.forward.numpy()
    np.testing.assert_allclose(turned @ turned.T, np.eye(WIDTH), atol=1e-9)
    np.testing.assert_allclose(turned.sum(1), 1.0, atol=1e-9)
    cross = covariance(a, b)
    basis = np.linalg.svd(np.ones((1, WIDTH)))[2][1:].T
    best = (
        np.linalg.svd(basis.T @ cross @ basis)[1].sum()
        + float(np.ones(WIDTH) @ cross @ np.ones(WIDTH)) / WIDTH
    )
    assert float((turned * cross).sum()) == pytest.approx(best)
    assert len(found.scores) == WIDTH
