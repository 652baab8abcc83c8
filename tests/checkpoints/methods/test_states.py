import pytest
import torch

from onefold.checkpoints.methods import filters, merge_states, method_of, methods
from onefold.errors import MembersError, SettingError


def states(count=2, dtype=torch.float32):
    torch.manual_seed(0)
    return [
        {"a": torch.randn(4, 3).to(dtype), "b": torch.randn(3), "n": torch.tensor(5)}
        for _ in range(count)
    ]


def test_names_values_and_order():
    a, b = states()
    merged = merge_states([a, b], "linear", parameters={"weight": [1.0, 3.0]})
    assert list(merged) == ["a", "b", "n"]
    assert torch.allclose(merged["a"], a["a"] / 4 + 3 * b["a"] / 4)
    assert merged["n"] == 5
    assert merged["n"] is not a["n"]


def test_one_value_for_all_and_a_base():
    base, a, b = states(3, torch.bfloat16)
    ties = methods.get("ties")(lambda_=0.5)
    merged = merge_states({"x": a, "y": b}, ties, base, {"weight": 1.0, "density": [0.5, 1.0]})
    assert merged["a"].dtype == torch.bfloat16
    assert merged["b"].dtype == torch.float32
    other = merge_states([a, b], ties, base, {"weight": [1.0, 1.0], "density": [0.5, 1.0]})
    assert torch.equal(merged["a"], other["a"])


def test_random_masks_follow_names_not_order():
    base, a, b = states(3)
    given = {"weight": 1.0, "density": 0.5}
    there = merge_states({"x": a, "y": b}, "dare_linear", base, given)
    back = merge_states({"y": b, "x": a}, "dare_linear", base, given)
    assert torch.allclose(there["a"], back["a"])
    assert not torch.allclose(
        there["a"], merge_states({"x": a, "y": b}, "dare_linear", base, given, seed=1)["a"]
    )


def test_whole_numbers_that_differ_are_those_of_the_base_and_told():
    base, a, b = states(3)
    a["n"] = torch.tensor(7)
    with pytest.warns(
        UserWarning, match="1 tensor of whole numbers differs and is that of the base: 'n'"
    ):
        assert merge_states([a, b], "task_arithmetic", base, {"weight": 1.0})["n"] == 5
    with pytest.warns(UserWarning, match="that of the first model: 'n'"):
        assert merge_states([a, b], "linear", parameters={"weight": 1.0})["n"] == 7


def test_a_filter_behind_the_method():
    base, a, _ = states(3)
    post = filters.get("singular_value_calibration")()
    merged = merge_states([a, a], "task_arithmetic", base, {"weight": 1.0}, post=post)
    assert torch.allclose(merged["a"], a["a"], atol=1e-5)


def test_states_are_left_alone():
    base, a, b = states(3)
    kept = [{k: v.clone() for k, v in s.items()} for s in (base, a, b)]
    merge_states([a, b], "ties", base, {"weight": 1.0, "density": 0.5})
    for now, then in zip((base, a, b), kept, strict=True):
        assert all(torch.equal(now[k], then[k]) for k in then)


def test_networks_that_require_gradients():
    from torch import nn

    nets = [nn.Linear(3, 2) for _ in range(2)]
    merged = merge_states([dict(n.named_parameters()) for n in nets], "karcher")
    assert not merged["weight"].requires_grad


def test_tensors_that_are_not_contiguous():
    a, b = states()
    turned = [{"a": s["a"].T} for s in (a, b)]
    merged = merge_states(turned, "linear", parameters={"weight": 1.0})
    assert torch.allclose(merged["a"], (a["a"] + b["a"]).T / 2)


def test_what_does_not_fit_is_told():
    a, b = states()
    with pytest.raises(MembersError, match="State 2 has no tensor 'b', and state 1 has one"):
        merge_states([a, {"a": b["a"], "n": b["n"]}], "linear", parameters={"weight": 1.0})
    with pytest.raises(MembersError, match="State 1 has no tensor 'z', and state 2 has one"):
        merge_states([a, {**b, "z": b["a"]}], "linear", parameters={"weight": 1.0})
    with pytest.raises(MembersError, match=r"'a' have unequal shapes: \(4, 3\), \(3, 4\)"):
        merge_states([a, {**b, "a": b["a"].T}], "linear", parameters={"weight": 1.0})
    with pytest.raises(SettingError, match="did you mean 'linear'"):
        merge_states([a, b], "linaer")
    with pytest.raises(SettingError, match="'weight' has 3 values for 2 models"):
        merge_states([a, b], "linear", parameters={"weight": [1.0, 2.0, 3.0]})
    with pytest.raises(MembersError, match="slerp takes exactly 1 model beside the base, and 2"):
        merge_states([a, b], methods.get("slerp")(t=0.5), a)
    with pytest.raises(MembersError, match="takes at least 1 model, and 0 are given"):
        merge_states([], "linear")
    with pytest.raises(SettingError, match="slerp needs the setting 't', any number; give one"):
        merge_states([a], "slerp", b)
    with pytest.raises(SettingError, match="ties has no setting 'lamda'; did you mean 'lambda'"):
        method_of("ties", {"lamda": 1.0})
    assert method_of("ties", {"lambda": 0.5}).lambda_ == 0.5


def test_one_state_dict_in_place_of_several_is_refused() -> None:
    with pytest.raises(SettingError, match="states is one state dict; give a list"):
        merge_states({"w": torch.zeros(2)}, "linear")
