import math

import pytest
import torch
from checkpoints.methods.cases import inputs_of, made, merged, related

from onefold.checkpoints.methods import filters
from onefold.checkpoints.methods.normal_equation import flow, solved
from onefold.errors import MembersError, SettingError

NAMES = ("iso_c", "iso_cts", "tsv_m", "swudi")


def double(count=3, shape=(10, 16)):
    return related(count, shape, dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_vectors_get_the_mean_change(name):
    base, models = related(3, (7,))
    assert torch.allclose(merged(name, models, base), sum(models) / 3, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_kernels_are_matrices_with_a_row_for_each_output(name):
    base, models = double(2, (6, 4, 3, 3))
    flat = merged(name, [model.reshape(6, 36) for model in models], base.reshape(6, 36))
    assert torch.allclose(merged(name, models, base).reshape(6, 36), flat)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 9)])
def test_narrow_matrices_and_more_models_than_directions(name, shape):
    base, models = related(4, shape)
    assert merged(name, models, base).isfinite().all()


def test_iso_c_flattens_the_spectrum_of_the_sum():
    base, models = double()
    change = merged("iso_c", models, base) - base
    total = sum(model - base for model in models)
    values = torch.linalg.svdvals(total)
    assert torch.allclose(torch.linalg.svdvals(change), values.mean().expand(10))
    left, _, right = torch.linalg.svd(total, full_matrices=False)
    assert torch.allclose(change, values.mean() * left @ right)


def test_iso_cts_with_all_directions_common_is_iso_c():
    base, models = double()
    common = merged("iso_cts", models, base, settings={"common_fraction": 1.0})
    assert torch.allclose(common, merged("iso_c", models, base))


def test_iso_cts_is_its_equation():
    base, models = double(3, (10, 16))
    own = round((10 - 5) / 3)
    common, deltas = 10 - 3 * own, [model - base for model in models]
    u, s, v = torch.linalg.svd(sum(deltas), full_matrices=False)
    uc, sc, vc = u[:, :common], s[:common], v[:common]
    parts = [torch.linalg.svd(d - uc @ uc.T @ d, full_matrices=False) for d in deltas]
    us = torch.cat([uc] + [p[0][:, :own] for p in parts], 1)
    vs = torch.cat([vc] + [p[2][:own] for p in parts], 0)
    sigma = torch.cat([sc] + [p[1][:own] for p in parts]).mean()
    (a, _, b), (c, _, d) = (torch.linalg.svd(x, full_matrices=False) for x in (us, vs))
    found = merged("iso_cts", models, base, settings={"common_fraction": 0.5})
    assert torch.allclose(found, base + sigma * (a @ b) @ (c @ d))
    assert torch.allclose(torch.linalg.svdvals(found - base), sigma.expand(10))


def test_tsv_m_is_its_equation():
    base, models = double(3, (10, 16))
    parts = [torch.linalg.svd(model - base, full_matrices=False) for model in models]
    u = torch.cat([p[0][:, :3] for p in parts], 1)
    s = torch.cat([p[1][:3] for p in parts])
    v = torch.cat([p[2][:3] for p in parts], 0)
    (a, _, b), (c, _, d) = (torch.linalg.svd(x, full_matrices=False) for x in (u, v))
    told = base + (a @ b) @ torch.diag(s) @ (c @ d)
    assert torch.allclose(merged("tsv_m", models, base), told)


def test_tsv_m_of_one_model_is_that_model():
    base, models = double(1)
    assert torch.allclose(merged("tsv_m", models, base), models[0])


def wudi(matrix, deltas):
    """The objective of WUDI."""
    return sum(((matrix - d) @ d.T).square().sum() / d.square().sum() for d in deltas)


def test_swudi_is_gradient_flow_of_the_objective():
    base, models = double(3, (4, 6))
    deltas = [model - base for model in models]
    time, steps = 2.0, 4000
    matrix = sum(deltas).clone().requires_grad_()
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(wudi(matrix, deltas), matrix)
        matrix = (matrix - time / steps * gradient / 2).detach().requires_grad_()
    found = merged("swudi", models, base, settings={"time": time}) - base
    assert torch.allclose(found, matrix.detach(), atol=1e-3)


def test_swudi_ends_at_the_minimum_and_starts_at_the_sum():
    base, models = double(3, (12, 6))
    deltas = [model - base for model in models]
    found = merged("swudi", models, base, settings={"time": 1e9}) - base
    shifts = [torch.randn(12, 6, dtype=torch.float64) * 1e-2 for _ in range(5)]
    assert all(wudi(found, deltas) <= wudi(found + shift, deltas) for shift in shifts)
    start = merged("swudi", models, base, settings={"time": 0.0})
    assert torch.allclose(start, base + sum(deltas))
    none = merged("swudi", models, base, settings={"rank_fraction": 0.0})
    assert torch.allclose(none, start)


def test_swudi_keeps_the_largest_directions():
    base, models = double(2, (5, 8))
    deltas = [model - base for model in models]
    matrix = sum(d.T @ d / d.square().sum() for d in deltas)
    right = sum(d @ d.T @ d / d.square().sum() for d in deltas)
    values, vectors = torch.linalg.eigh(matrix)
    kept = math.ceil(8 * 0.4)
    top = vectors[:, -kept:]
    solution = right @ top @ torch.diag(1 / values[-kept:]) @ top.T
    told = sum(deltas) @ (torch.eye(8, dtype=torch.float64) - top @ top.T) + solution
    found = merged("swudi", models, base, settings={"time": 1e9, "rank_fraction": 0.4}) - base
    assert torch.allclose(found, told)


def test_the_solver_meets_the_equation_and_survives_a_singular_matrix():
    torch.manual_seed(0)
    half = torch.randn(9, 5, dtype=torch.float64)
    matrix, target = half.T @ half, torch.randn(3, 5, dtype=torch.float64)
    start = torch.zeros(3, 5, dtype=torch.float64)
    assert torch.allclose(solved(start, matrix, target @ matrix, flow(1e12)), target)
    flat = torch.zeros(5, 5, dtype=torch.float64)
    assert torch.equal(solved(target, flat, start, flow(300.0)), target)


def test_calibration_is_its_equation():
    base, models = double(3)
    method = made("task_arithmetic")
    inputs = inputs_of("task_arithmetic", models, base, [{"weight": 1.0}] * 3)
    result = method.apply(method.prepare(inputs))
    found = filters.get("svc")(alpha=0.3).filtered(inputs, result)
    u, s, v = torch.linalg.svd(result - base, full_matrices=False)
    told = torch.zeros_like(base)
    for r in range(len(s)):
        own = u[:, r] @ (result - base)
        shares = 0.0
        for model in models:
            part = u[:, r] @ (model - base)
            shares += max(0.3, float(own @ part / part.square().sum()))
        told += 3 / shares * s[r] * torch.outer(u[:, r], v[r])
    assert torch.allclose(found, base + told)


def test_calibration_of_equal_models_is_the_model():
    base, (model,) = double(1)
    method = made("task_arithmetic")
    inputs = inputs_of("task_arithmetic", [model] * 4, base, [{"weight": 1.0}] * 4)
    four_times = method.apply(method.prepare(inputs))
    found = filters.get("svc")().filtered(inputs, four_times)
    assert torch.allclose(found, model)


def test_calibration_needs_a_base_and_leaves_vectors():
    base, models = related(2, (5,))
    calibration = filters.get("svc")()
    inputs = inputs_of("magmax", models, base)
    assert calibration.filtered(inputs, models[0]) is models[0]
    with pytest.raises(MembersError, match=r"'layer\.weight' has none"):
        calibration.filtered(inputs_of("linear", models, None), models[0])
    with pytest.raises(SettingError, match="setting 'alpha' of Calibration is -1"):
        filters.get("svc")(alpha=-1.0)
