import subprocess
import sys

import pytest
import torch

from onefold.checkpoints.methods import TensorInputs, methods, settings_of
from onefold.checkpoints.methods.base import BLOCK, name_of
from onefold.errors import MembersError, SettingError


def inputs(*tensors, base=None, parameters=(), **more):
    names = [f"model {i}" for i in range(len(tensors))]
    return TensorInputs("w", tensors, names, base, parameters, **more)


def made(name, **settings):
    required = {p.field: 0.5 for p in settings_of(methods.get(name)) if p.required}
    return methods.get(name)(**{**required, **settings})


def test_declarations_import_no_torch():
    code = (
        "import sys, onefold.checkpoints.methods as m; m.methods.names();"
        "[m.settings_of(e.value) for e in m.methods]; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", methods.names())
def test_declarations_are_complete(name):
    kind = methods.get(name)
    for parameter in (*kind.per_model, *settings_of(kind)):
        assert parameter.help.endswith(".")
        if not parameter.required:
            assert parameter.problem(parameter.default) is None
    assert (kind.__doc__ and name_of(kind) == name) or name in kind.aliases


def test_values_out_of_range_are_told():
    density = next(p for p in methods.get("task_arithmetic").per_model if p.name == "density")
    assert density.problem(1.5) == "is 1.5; it must be between 0 and 1"
    assert density.problem("x") == "is 'x', not a number"
    assert density.problem(float("nan")) == "is nan; it must be finite"
    assert density.problem(True) == "is True, not a number"
    with pytest.raises(SettingError, match="setting 'lambda' of task_arithmetic is inf"):
        made("task_arithmetic", lambda_=float("inf"))
    with pytest.raises(SettingError, match=r"'normalize' of linear is 2 \(int\), not"):
        made("linear", normalize=2)


def test_missing_and_unknown_parameters_are_told():
    a = torch.ones(2)
    with pytest.raises(SettingError, match="The weight of model 1 at 'w' has no value"):
        made("linear").prepare(inputs(a))
    with pytest.raises(SettingError, match="no parameter 'wieght' of models; did you mean"):
        made("linear").prepare(inputs(a, parameters=[{"wieght": 1.0}]))
    with pytest.raises(SettingError, match="Parameters of 2 models are given for 1"):
        made("linear").prepare(inputs(a, parameters=[{"weight": 1.0}] * 2))
    with pytest.raises(SettingError, match="weights of linear sum to 0"):
        made("linear").prepare(inputs(a, a, parameters=[{"weight": 1.0}, {"weight": -1.0}]))


def test_tensors_that_do_not_fit_are_told():
    a, given = torch.ones(2, 3), [{"weight": 1.0}]
    with pytest.raises(MembersError, match=r"unequal shapes: \(2, 3\), \(3,\)"):
        made("linear").prepare(inputs(a, a[0], parameters=given * 2))
    with pytest.raises(MembersError, match="'w' is int32; give tensors of bfloat16"):
        made("linear").prepare(inputs(a.int(), parameters=given))
    with pytest.raises(MembersError, match="'w' is float8_e4m3fn; give"):
        made("linear").prepare(inputs(a.to(torch.float8_e4m3fn), parameters=given))
    with pytest.raises(MembersError, match="task_arithmetic needs a base"):
        made("task_arithmetic").prepare(inputs(a, parameters=given))
    with pytest.raises(MembersError, match="linear has no base"):
        made("linear").prepare(inputs(a, base=a, parameters=given))
    with pytest.raises(MembersError, match="takes at least 1 model, and 0"):
        made("linear").prepare(inputs())


def test_ranges_and_sweeps_give_the_bits_of_the_whole():
    torch.manual_seed(0)
    a, b, base = torch.randn(3, 2 * BLOCK + 77).bfloat16()
    method = made("task_arithmetic", lambda_=0.3)
    prepared = method.prepare(inputs(a, b, base=base, parameters=[{"weight": 1.0}] * 2))
    whole = method.apply(prepared)
    parts = torch.empty_like(whole)
    for start in (0, BLOCK, 2 * BLOCK):
        stop = min(start + BLOCK, len(whole))
        method.apply_range(prepared, start, stop, parts[start:stop])
    assert torch.equal(whole, parts)
    changed = method.apply(prepared.with_parameters(weight=[0.5, 2.0]))
    again = method.prepare(inputs(a, b, base=base, parameters=[{"weight": 0.5}, {"weight": 2.0}]))
    assert torch.equal(changed, method.apply(again))


def test_dtype_of_the_result():
    a, b = torch.randn(5).half(), torch.randn(5).bfloat16()
    given = [{"weight": 1.0}] * 2
    assert made("linear").prepare(inputs(a, b, parameters=given)).inputs.result == torch.float32
    method = made("linear")
    told = inputs(a, b, parameters=given, dtype=torch.bfloat16)
    assert method.apply(method.prepare(told)).dtype == torch.bfloat16
    doubles = inputs(a.double(), b, parameters=given)
    assert method.apply(method.prepare(doubles)).dtype == torch.float64


def test_tensors_elsewhere_are_told():
    a = torch.ones(2, 3, device="meta")
    with pytest.raises(MembersError, match="'w' is on meta; move it to the CPU"):
        made("linear").prepare(inputs(a, parameters=[{"weight": 1.0}]))


@pytest.mark.parametrize("name", ["task_arithmetic", "ties", "slerp"])
def test_buffers_serve_in_and_out_of_inference_mode(name):
    from onefold.checkpoints.methods.scratch import _BUFFERS

    torch.manual_seed(0)
    _BUFFERS.kept.clear()
    a, base = torch.randn(2, 50, 40).bfloat16()
    given = [{"weight": 1.0, "density": 0.5} if name != "slerp" else {}]
    method, told = made(name), inputs(a, base=base, parameters=given)
    with torch.inference_mode():
        inside = method.apply(method.prepare(told)).clone()
    assert torch.equal(method.apply(method.prepare(told)), inside)


def test_empty_and_scalar_tensors():
    method, given = made("task_arithmetic"), [{"weight": 1.0}]
    for shape in ((0, 3), ()):
        a, base = torch.ones(shape), torch.zeros(shape)
        assert torch.equal(method.apply(method.prepare(inputs(a, base=base, parameters=given))), a)


def test_without_models_the_base_is_left():
    base, method = torch.randn(3, 4), made("task_arithmetic")
    assert torch.equal(method.apply(method.prepare(inputs(base=base))), base)
