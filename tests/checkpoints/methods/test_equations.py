"""Every deterministic method beside the loop written from its equation."""

import pytest
import torch
from checkpoints.methods.cases import inputs_of, made, merged, number_of, parameters_of, related
from checkpoints.methods.oracles import expected

CASES = [
    ("linear", {}),
    ("linear", {"normalize": False}),
    ("slerp", {}),
    ("slerp", {"t": 1.0}),
    ("nuslerp", {}),
    ("nuslerp", {"nuslerp_flatten": False}),
    ("nuslerp", {"nuslerp_flatten": False, "nuslerp_row_wise": True}),
    ("multislerp", {}),
    ("multislerp", {"normalize_weights": False}),
    ("karcher", {}),
    ("karcher", {"max_iter": 100, "tol": 1e-9}),
    ("passthrough", {}),
    ("task_arithmetic", {}),
    ("task_arithmetic", {"normalize": True, "lambda_": 0.4, "rescale": True}),
    ("ties", {}),
    ("ties", {"normalize": False, "rescale": True, "lambda_": 0.4}),
    ("breadcrumbs", {}),
    ("breadcrumbs", {"normalize": True, "rescale": True}),
    ("breadcrumbs_ties", {"normalize": True, "lambda_": 2.0}),
    ("model_stock", {}),
    ("model_stock", {"filter_wise": True}),
    ("sce", {}),
    ("sce", {"select_topk": 0.4}),
    ("nearswap", {"t": 0.1}),
    ("nearswap", {"t": 1e-7}),
    ("arcee_fusion", {}),
    ("ram", {"epsilon": 0.2}),
    ("ramplus_tl", {"epsilon": 0.2, "r": 0.5, "alpha": 3.0}),
    ("magmax", {"lambda_": 0.5}),
]
SHAPES = [(12, 20), (37,), (5, 4, 3, 3), (1, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_method_is_its_equation(name, settings, shape):
    base, models = related(number_of(name), shape)
    parameters = parameters_of(name, len(models))
    wide = [model.double() for model in models]
    told = expected(name, wide, base.double(), parameters, {"t": 0.3, **settings})
    found = merged(name, models, base, parameters, settings)
    assert found.dtype == torch.float32
    assert found.shape == base.shape
    assert (found.double() - told).abs().max() <= 2e-6 * max(1.0, told.abs().max())
    exact = merged(name, wide, base.double(), parameters, settings)
    assert (exact - told).abs().max() <= 3e-8 * max(1.0, told.abs().max())  # eps of multislerp


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_bfloat16_is_computed_in_float32(name, settings):
    base, models = related(number_of(name), dtype=torch.bfloat16)
    method = made(name, **settings)
    inputs = inputs_of(name, models, base)
    wide = inputs_of(name, [m.float() for m in models], base.float(), compared=torch.bfloat16)
    found = method.apply(method.prepare(inputs))
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, method.apply(method.prepare(wide)).bfloat16())


def test_with_and_without_base_differ_where_it_is_optional():
    base, models = related(2)
    parameters = parameters_of("nuslerp", 2)
    wide = [model.double() for model in models]
    method = made("nuslerp")
    inputs = inputs_of("nuslerp", models, None, parameters)
    told = expected("nuslerp", wide, None, parameters, {})
    assert torch.allclose(method.apply(method.prepare(inputs)).double(), told, atol=1e-6)
    assert not torch.allclose(merged("nuslerp", models, base, parameters).double(), told, atol=1e-2)


def test_slerp_of_almost_one_line_is_linear():
    base, (model,) = related(1, scale=1e-3)
    assert torch.equal(merged("slerp", [model], base), torch.lerp(base, model, 0.3))


def test_karcher_leaves_out_zeros():
    _, models = related(2)
    zero = torch.zeros_like(models[0])
    both = merged("karcher", models, None)
    assert torch.allclose(merged("karcher", [*models, zero], None), both * 2 / 3, atol=1e-6)
    assert not merged("karcher", [zero, zero], None).any()


def test_opposite_models_have_a_linear_mean_or_none():
    from onefold.errors import MembersError

    _, (a, b) = related(2)
    given = [{"weight": 1.0}] * 2
    assert not merged("multislerp", [a, -a], None, given).any()
    with pytest.raises(MembersError, match=r"'layer\.weight' cancel"):
        merged("multislerp", [a, -a, b], None, [{"weight": 1.0}, {"weight": 1.0}, {"weight": 0.0}])


def test_small_changes_have_equal_weights_in_sce():
    base, models = related(3, scale=1e-5)
    told = expected("sce", [m.double() for m in models], base.double(), [{}] * 3, {})
    assert torch.allclose(merged("sce", models, base).double(), told, atol=1e-7)


def test_sce_counts_a_share_as_its_decimals_say():
    base = torch.zeros(1440)
    first, second = torch.arange(1.0, 1441.0), torch.zeros(1440)
    assert int(0.7 * 1440) == 1007  # 0.7 is a little less than seven tenths
    found = merged("sce", [first, second], base, None, {"select_topk": 0.7})
    assert torch.count_nonzero(found) == 1008


def test_a_tensor_that_no_model_changed_stays_in_multislerp():
    base, _ = related(1)
    found = merged("multislerp", [base.clone() for _ in range(3)], base)
    assert torch.equal(found, base)


@pytest.mark.parametrize("weights", [(1.0, 1.0, -1.8), (1.0, -0.9, 0.02)])
def test_multislerp_keeps_its_digits_where_weights_almost_cancel(weights):
    chance = torch.Generator().manual_seed(0)
    first = torch.randn(1000, generator=chance) / 10
    models = [first + torch.randn(1000, generator=chance) / 300 for _ in range(3)]
    given = [{"weight": weight} for weight in weights]
    told = expected("multislerp", [m.double() for m in models], None, given, {})
    found = merged("multislerp", models, None, given).double()
    assert (found - told).abs().max() <= 1e-6 * told.abs().max()
