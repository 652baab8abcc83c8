"""Layer numbers and their count, from names."""

from __future__ import annotations

from onefold.checkpoints.layouts.layers import layer_of, main_stack, stacks_of


def test_stacks_count_from_0_without_gaps_and_repeat_their_endings() -> None:
    names = [f"model.layers.{i}.mlp.experts.{j}.w" for i in range(3) for j in range(2)]
    names += ["head.0.weight", "head.3.weight", "stem.0.conv", "stem.1.norm", "embed.weight"]
    stacks = stacks_of(names)
    assert {prefix: stack.layers for prefix, stack in stacks.items()} == {"model.layers": 3}
    found = layer_of("model.layers.2.mlp.experts.1.w", stacks)
    assert found is not None
    assert found[1:] == (2, "mlp.experts.1.w")
    assert found[0].name(7, found[2]) == "model.layers.7.mlp.experts.1.w"
    assert layer_of("embed.weight", stacks) is None


def test_the_main_stack_is_the_one_that_the_config_counts_or_else_the_largest() -> None:
    names = {f"vision.blocks.{i}.w": 100 for i in range(4)}
    names |= {f"text.layers.{i}.w": 10 for i in range(3)}
    stacks = stacks_of(names)
    largest = main_stack(stacks, names, {})
    counted = main_stack(stacks, names, {"text_config": {"num_hidden_layers": 3}})
    assert largest is not None
    assert counted is not None
    assert (largest.prefix, counted.prefix) == ("vision.blocks", "text.layers")
    assert main_stack({}, {}, {}) is None


def test_names_that_are_numbers_alone_have_no_prefix() -> None:
    stacks = stacks_of(["0.weight", "1.weight"])
    assert stacks[""].layers == 2
    assert stacks[""].name(1, "weight") == "1.weight"
