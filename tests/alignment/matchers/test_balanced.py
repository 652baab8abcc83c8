"""Balanced maps of queries and keys against their definition in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matcher_features import ROWS, WIDTH, covariance, features, moments_of
from numpy.typing import NDArray
from torch import Tensor

from onefold.alignment.matchers.balanced import match_balanced
from onefold.errors import AlignmentError


@pytest.mark.parametrize("ridge", [0.1, 0.5])
def test_balanced_maps_are_their_definition(ridge: float) -> None:
    queries, keys = features(20.0, 1), features(0.3, 2)
    primal, dual = moments_of(*queries), moments_of(*keys)
    found = match_balanced(primal, dual, 1, ridge)

    def balance(q: NDArray[np.float64], k: NDArray[np.float64]) -> NDArray[np.float64]:
        eye = np.eye(WIDTH)
        q, k = q + ridge * np.trace(q) / WIDTH * eye, k + ridge * np.trace(k) / WIDTH * eye
        lower = np.linalg.cholesky(q)
        squares, vectors = np.linalg.eigh(lower.T @ k @ lower)
        b: NDArray[np.float64] = np.diag(squares**0.25) @ vectors.T @ np.linalg.inv(lower)
        np.testing.assert_allclose(b @ q @ b.T, np.diag(np.sqrt(squares)), atol=1e-8)
        np.testing.assert_allclose(
            np.linalg.inv(b).T @ k @ np.linalg.inv(b), np.diag(np.sqrt(squares)), atol=1e-8
        )
        return b

    ours = balance(covariance(queries[0], queries[0]), covariance(keys[0], keys[0]))
    theirs = balance(covariance(queries[1], queries[1]), covariance(keys[1], keys[1]))
    back, away = np.linalg.inv(ours), np.linalg.inv(theirs)
    cross = ours @ covariance(*queries) @ theirs.T + back.T @ covariance(*keys) @ away
    u, _, vh = np.linalg.svd(cross)
    forward = back @ u @ vh @ theirs
    np.testing.assert_allclose(found.map.forward, forward, rtol=1e-6, atol=1e-8)
    assert found.map.inverse is not None
    np.testing.assert_allclose(found.map.inverse, np.linalg.inv(forward), rtol=1e-6, atol=1e-8)
    assert found.condition == pytest.approx(np.linalg.cond(forward), rel=1e-6)

    def scores(
        pair: tuple[Tensor, Tensor], left: NDArray[np.float64], right: NDArray[np.float64]
    ) -> list[float]:
        x, y = pair[0].numpy() @ left, pair[1].numpy() @ right
        return sorted(
            (float(np.corrcoef(x[:, i], y[:, i])[0, 1]) for i in range(WIDTH)), reverse=True
        )

    of_queries = scores(queries, ours.T @ u, theirs.T @ vh.T)
    of_keys = scores(keys, back @ u, away @ vh.T)
    np.testing.assert_allclose(
        found.scores, (np.array(of_queries) + np.array(of_keys)) / 2, rtol=1e-6
    )


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_balanced_maps_follow_the_scales_of_queries_and_keys(scale: float) -> None:
    queries, keys = features(1.0, 1), features(1.0, 2)
    plain = match_balanced(moments_of(*queries), moments_of(*keys), 1)
    scaled = match_balanced(
        moments_of(scale * queries[0], queries[1]), moments_of(keys[0] / scale, keys[1]), 1
    )
    torch.testing.assert_close(scaled.map.forward, scale * plain.map.forward)
    torch.testing.assert_close(scaled.scores, plain.scores)


def test_balanced_maps_have_a_ridge_of_a_tenth_and_refuse_what_never_varies() -> None:
    queries, keys = features(2.0, 1), features(3.0, 2)
    primal, dual = moments_of(*queries), moments_of(*keys)
    assert torch.equal(
        match_balanced(primal, dual, 1).map.forward,
        match_balanced(primal, dual, 1, 0.1).map.forward,
    )
    still = torch.ones(ROWS, WIDTH, dtype=torch.float64)
    for one, other in ((moments_of(still, queries[1]), dual), (primal, moments_of(still, keys[1]))):
        with pytest.raises(AlignmentError, match="never vary"):
            match_balanced(one, other, 1)
    flat = queries[0].clone()
    flat[:, 1] = flat[:, 0]  # a direction without variance
    found = match_balanced(moments_of(flat, queries[1]), dual, 1, 0.0)
    assert found.map.forward.isfinite().all()
