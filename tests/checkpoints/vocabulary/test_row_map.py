import dataclasses

import pytest
import torch
from vocabulary_folders import A, B, C, bpe, reference, save

from onefold.checkpoints.document import Token, Tokenizer, TokenOf
from onefold.checkpoints.vocabulary import plan_vocabulary
from onefold.checkpoints.vocabulary.row_map import mapped
from onefold.errors import WeightsError

UNION = Tokenizer("union")
EXTRA = {A: ["<x>", "<y>"], B: ["<y>", "<z>", "<u>"], C: ["<u>", "<w>"]}


@pytest.fixture
def members(tmp_path):
    """Three models: folders, and tensors whose rows tell the model and the token."""
    folders, tensors = {}, {}
    for place, (model, extra) in enumerate(EXTRA.items()):
        rows = bpe(extra).get_vocab_size() + 3  # three rows of padding
        folders[model] = save(tmp_path / str(model), bpe(extra), rows=rows)
        tensors[model] = torch.arange(rows)[:, None] + 1000.0 * (place + torch.zeros(1, 2))
    return folders, tensors


def test_each_token_has_its_row_in_each_model(members):
    folders, tensors = members
    plan = plan_vocabulary(folders, [A, B, C], A, UNION, {})
    own = {model: plan.vocabularies[model].tokens for model in folders}
    for model in folders:
        result = mapped(plan.members[model], tensors.__getitem__)
        assert result.shape == (plan.size, 2)
        for token, row in plan.tokens.items():
            owners = [one for one in folders if token in own[one]]
            if token in own[model]:
                expected = tensors[model][own[model][token]]
            elif A in owners:
                expected = tensors[A][own[A][token]]
            else:
                expected = sum(tensors[one][own[one][token]] for one in owners) / len(owners)
            assert torch.equal(result[row], expected), (model, token)


def test_counts_say_where_rows_are_from(members):
    folders, _ = members
    plan = plan_vocabulary(folders, [A, B, C], A, UNION, {})
    size = len(bpe().get_vocab())
    # A: <z> and <w> have one owner each, <u> has two; no row is left for padding.
    assert plan.size == size + 5
    assert plan.counts()["A"] == {"own": size + 2, "only owner": 2, "mean of owners": 1}
    assert plan.counts()["B"] == {"own": size + 3, "only owner": 2}
    assert plan.counts()["C"] == {"own": size + 2, "only owner": 2, "base": 1}
    assert "1 from the base" in plan.members[C].sentence()
    assert sum(plan.counts()["C"].values()) == plan.size


def test_rows_stay_and_nothing_is_copied_where_vocabularies_are_equal(tmp_path):
    folders = {model: save(tmp_path / str(model), bpe()) for model in (A, B)}
    plan = plan_vocabulary(folders, [A, B], A, UNION, {})
    tensor = torch.rand(plan.size, 4)
    result = mapped(plan.members[B], lambda _: tensor)
    assert plan.identity
    assert result.data_ptr() == tensor.data_ptr()
    part = mapped(plan.members[B], lambda _: tensor, start=3, stop=5)
    assert part.data_ptr() == tensor[3].data_ptr()
    assert len(part) == 2


def test_rows_in_another_order_are_moved(tmp_path):
    folders = {
        A: save(tmp_path / "a", bpe(["<x>", "<y>"])),
        B: save(tmp_path / "b", bpe(["<y>", "<x>"])),
    }
    plan = plan_vocabulary(folders, [A, B], A, Tokenizer("base"), {})
    tensor = torch.rand(plan.size)
    result = mapped(plan.members[B], lambda _: tensor)
    assert torch.equal(result[:-2], tensor[:-2])
    assert torch.equal(result[-2:], tensor[-2:].flip(0))
    assert plan.members[A].identity
    assert "order of the result" in plan.members[B].sentence()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_parts_are_the_same_as_the_whole(members, dtype):
    folders, tensors = members
    tensors = {model: one.to(dtype) for model, one in tensors.items()}
    plan = plan_vocabulary(folders, [A, B, C], A, Tokenizer("union", pad_to_multiple_of=64), {})
    for model in folders:
        rows = plan.members[model]
        whole = mapped(rows, tensors.__getitem__)
        parts = [
            mapped(rows, tensors.__getitem__, start=start, stop=start + 37)
            for start in range(0, plan.size, 37)
        ]
        assert whole.dtype == dtype
        assert torch.equal(torch.cat(parts), whole)
        assert len(mapped(rows, tensors.__getitem__, start=plan.size)) == 0


def test_another_axis_holds_the_vocabulary(members):
    folders, tensors = members
    plan = plan_vocabulary(folders, [A, B, C], A, UNION, {})
    turned = {model: one.T.contiguous() for model, one in tensors.items()}
    for model in folders:
        whole = mapped(plan.members[model], tensors.__getitem__)
        assert torch.equal(mapped(plan.members[model], turned.__getitem__, axis=1), whole.T)


def test_a_bias_is_moved_as_well(members):
    folders, tensors = members
    plan = plan_vocabulary(folders, [A, B, C], A, UNION, {})
    for model in folders:
        whole = mapped(plan.members[model], tensors.__getitem__)
        bias = mapped(plan.members[model], lambda one: tensors[one][:, 0].clone())
        assert torch.equal(bias, whole[:, 0])


def test_new_padding_has_the_mean_row_and_zeros_are_zeros(members):
    folders, tensors = members
    decision = Tokenizer("base", {"<new>": Token("zero")}, pad_to_multiple_of=64)
    plan = plan_vocabulary(folders, [A, B, C], A, decision, {})
    result = mapped(plan.members[A], tensors.__getitem__)
    tokens = len(bpe(EXTRA[A]).get_vocab())
    assert plan.size == 320
    assert not result[plan.tokens["<new>"]].any()
    assert torch.allclose(result[-1], tensors[A][:tokens].mean(0))
    assert plan.counts()["A"]["mean row"] > 0


def test_named_rows_are_taken_and_forced_ones_replace_all(members):
    folders, tensors = members
    other = reference("T")
    folders = {**folders, other: save(folders[A].parent / "t", bpe())}
    tensors = {**tensors, other: torch.full((len(bpe().get_vocab()), 2), -1.0)}
    decision = Tokenizer(
        "union",
        {
            "<x>": Token(TokenOf(other, "low"), force=True),
            "<z>": Token(TokenOf(other, token_id=3)),
            "<w>": Token(C, force=True),
            "<y>": Token("zero", force=True),
        },
    )
    plan = plan_vocabulary(folders, [A, B, C], A, decision, {})
    results = {one: mapped(plan.members[one], tensors.__getitem__) for one in (A, B, C)}
    for model, result in results.items():
        assert (result[plan.tokens["<x>"]] == -1).all()
        assert not result[plan.tokens["<y>"]].any()
        own = tensors[B][plan.vocabularies[B].tokens["<z>"]]
        expected = own if model is B else torch.full((2,), -1.0)
        assert torch.equal(result[plan.tokens["<z>"]], expected)
    assert other in plan.members[A].sources
    assert other in plan.members[B].sources


def test_a_tensor_with_other_rows_is_refused(members):
    folders, tensors = members
    plan = plan_vocabulary(folders, [A, B, C], A, UNION, {})
    with pytest.raises(WeightsError, match="has 7 rows, where its embedding has"):
        mapped(plan.members[A], lambda _: torch.zeros(7, 2))
    wide = {**tensors, B: torch.zeros(len(tensors[B]), 5)}
    with pytest.raises(WeightsError, match="cannot be filled from B"):
        mapped(plan.members[A], wide.__getitem__)


def test_many_rows_out_of_order_are_moved(members):
    folders, tensors = members
    plan = plan_vocabulary(folders, [A, B, C], A, UNION, {})
    rows = plan.members[A]
    turned = dataclasses.replace(rows, own=rows.own[::-1])
    result = mapped(turned, tensors.__getitem__)
    whole = mapped(rows, tensors.__getitem__).flip(0)
    kept = torch.tensor([row >= 0 for row in turned.own])
    filled = torch.zeros(plan.size, dtype=torch.bool)
    for fill in rows.fills:
        filled[list(fill.rows)] = True
    assert torch.equal(result[kept & ~filled], whole[kept & ~filled])
