"""What holds for every method: order, equal models, scale, cuts, sweeps, inputs left alone."""

import pytest
import torch
from checkpoints.methods.cases import inputs_of, made, merged, number_of, parameters_of, related
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onefold.checkpoints.methods import methods
from onefold.checkpoints.methods.election import elect

NAMES = [entry.name for entry in methods if entry.name != "doctest"]
SPECTRAL = ("iso_c", "iso_cts", "tsv_m", "swudi")
SYMMETRIC = [name for name in NAMES if methods.get(name).most is None or name == "nuslerp"]
# merged(c * everything) is c * merged(everything) but for constants in the equations
HOMOGENEOUS = [
    name
    for name in NAMES
    if name not in ("nearswap", "arcee_fusion", "ram", "ramplus_tl", "sce", "multislerp", "swudi")
]


@pytest.mark.parametrize("name", SYMMETRIC)
def test_order_of_models_does_not_matter(name):
    base, models = related(number_of(name))
    parameters, names = parameters_of(name, len(models)), [f"m{i}" for i in range(len(models))]
    there = merged(name, models, base, parameters, names=names)
    back = merged(name, models[::-1], base, parameters[::-1], names=names[::-1])
    assert torch.allclose(there, back, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_equal_models_give_themselves(name):
    base, _ = related(1)
    count = number_of(name, 2)
    parameters = parameters_of(name, count, {"weight": (0.5,), "density": (0.5,)})
    found = merged(name, [base.clone() for _ in range(count)], base, parameters)
    assert torch.allclose(found, base, rtol=0, atol=0 if name not in ("slerp",) else 1e-6)


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_scale_of_all_weights_is_that_of_the_result(name):
    base, models = related(number_of(name))
    parameters = parameters_of(name, len(models))
    large = merged(name, [4 * model for model in models], 4 * base, parameters)
    assert torch.allclose(large, 4 * merged(name, models, base, parameters), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_cut_gives_the_same_bits_and_inputs_stay(name, dtype, monkeypatch):
    from onefold.checkpoints.methods import base as module

    shape = (24, 96) if name in SPECTRAL else (300, 500)
    base, models = related(number_of(name), shape, dtype=dtype)
    copies = [tensor.clone() for tensor in (base, *models)]
    method = made(name)
    inputs = inputs_of(name, models, base)
    prepared = method.prepare(inputs)
    whole = method.apply(prepared)
    step, parts = method.step(prepared.inputs), torch.empty_like(whole)
    for start in reversed(range(0, whole.numel(), 2 * step)):
        stop = min(start + 2 * step, whole.numel())
        method.apply_range(prepared, start, stop, parts.view(-1)[start:stop])
    assert torch.equal(whole, parts)
    assert torch.equal(method.apply(method.prepare(inputs)), whole)
    assert all(map(torch.equal, (base, *models), copies))
    assert step == module.BLOCK or method.cut != "elementwise"


@pytest.mark.parametrize("name", NAMES)
def test_threads_do_not_change_the_bits(name):
    if name in SPECTRAL:
        pytest.skip("LAPACK's sums depend on its threads")
    base, models = related(number_of(name), (200, 1000), dtype=torch.bfloat16)
    inputs, method = inputs_of(name, models, base), made(name)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(method.apply(method.prepare(inputs)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


@pytest.mark.parametrize("name", [n for n in NAMES if "weight" in methods.get(n).scales])
def test_weights_are_swept_with_one_preparation(name):
    base, models = related(number_of(name))
    method, count = made(name), len(models)
    prepared = method.prepare(inputs_of(name, models, base))
    other = [0.9, 0.2, 0.4][:count]
    parameters = [
        {**given, "weight": weight}
        for given, weight in zip(parameters_of(name, count), other, strict=True)
    ]
    swept = method.apply(prepared.with_parameters(weight=other))
    assert torch.equal(swept, merged(name, models, base, parameters))


@pytest.mark.parametrize(
    ("name", "field"), [(n, "lambda_") for n in NAMES if "lambda" in methods.get(n).scales]
)
def test_lambda_is_swept_with_one_preparation(name, field):
    base, models = related(number_of(name))
    prepared = made(name).prepare(inputs_of(name, models, base))
    assert torch.equal(
        made(name, **{field: 0.25}).apply(prepared),
        merged(name, models, base, settings={field: 0.25}),
    )
    assert torch.allclose(made(name, **{field: 0.0}).apply(prepared), base)


@pytest.mark.parametrize("name", ["linear", "nuslerp", "multislerp", "task_arithmetic", "ties"])
def test_weights_of_0_and_1_give_one_model(name):
    base, models = related(2)
    parameters = [{"weight": 0.0}, {"weight": 1.0}]
    assert torch.allclose(merged(name, models, base, parameters), models[1], atol=1e-6)


def test_linear_takes_one_model_exactly():
    _, models = related(3)
    parameters = [{"weight": 0.0}, {"weight": 2.0}, {"weight": 0.0}]
    assert torch.equal(merged("linear", models, None, parameters), models[1])
    assert torch.equal(merged("linear", models[:1], None, [{"weight": 0.7}]), models[0])


def test_slerp_ends_at_its_ends():
    base, models = related(1)
    assert torch.equal(merged("slerp", models, base, settings={"t": 0.0}), base)
    assert torch.allclose(merged("slerp", models, base, settings={"t": 1.0}), models[0])


def test_sign_election_of_0_is_plus_and_zeros_take_no_part():
    first, second = torch.tensor([1.0, -1.0, 0.0, -0.0]), torch.tensor([-1.0, -2.0, 3.0, 0.0])
    found = elect([first, second], [0.25, 4.0])
    assert (found.magnitude * found.sign).tolist() == [1.0, -3.0, 3.0, 0.0]
    assert found.agreeing.tolist() == [0.25, 4.25, 4.0, 0.0]


def test_negative_weights_turn_the_vote():
    base = torch.zeros(1)
    models = [torch.tensor([2.0]), torch.tensor([1.0])]
    found = merged("ties", models, base, [{"weight": -1.0}, {"weight": 1.0}])
    assert found.tolist() == [2.0]  # -2 wins the vote, and -2 / -1 is 2


def rounding_decides(models, share):
    """Whether variances are equal at the edge of what is kept, but for the last bits."""
    variance = models.var(0, unbiased=False).sort(descending=True).values
    kept = int(share * int((variance > 1e-9).sum()))
    return 0 < kept < len(variance) and float(variance[kept - 1] - variance[kept]) < 1e-9


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["ties", "breadcrumbs", "sce", "ram", "magmax", "task_arithmetic"]),
    numbers=st.lists(st.lists(st.integers(-3, 3), min_size=6, max_size=6), min_size=2, max_size=4),
    density=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
def test_whole_numbers_with_many_ties(name, numbers, density):
    from checkpoints.methods.oracles import expected

    base, models = torch.zeros(6), [torch.tensor(row, dtype=torch.float32) for row in numbers]
    known = {"weight": (1.0,), "density": (density,), "gamma": (0.2,)}
    parameters = parameters_of(name, len(models), known)
    chosen = {"select_topk": density} if name == "sce" else {}
    assume(name != "sce" or not rounding_decides(torch.stack(models).double(), density))
    told = expected(name, [m.double() for m in models], base.double(), parameters, chosen)
    found = merged(name, models, base, parameters, chosen)
    if name == "magmax":  # of equally large changes the positive one
        assert torch.equal(found.abs().double(), told.abs())
    else:
        assert torch.allclose(found.double(), told, atol=1e-6)
