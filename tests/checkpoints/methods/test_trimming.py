import pytest
import torch
from checkpoints.methods.oracles import top
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.checkpoints.methods import ranking, trimming
from onefold.checkpoints.methods.trimming import Edge, edges, kept_share, magnitudes

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def values_of(tensor):
    return lambda start, stop: tensor[start:stop].clone()


def above(tensor, below, dtype, earlier, block=None):
    (found,) = edges(values_of(tensor), len(tensor), [below], dtype, earlier)
    step = block or len(tensor)
    parts = [
        found.above(tensor[low : low + step].clone(), low) for low in range(0, len(tensor), step)
    ]
    return torch.cat(parts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("earlier", [True, False])
def test_exactly_the_asked_number_is_kept(dtype, earlier):
    torch.manual_seed(0)
    values = torch.randn(500).to(dtype).double()
    values = values.float() if dtype != torch.float64 else values
    for below in (0, 1, 17, 250, 499, 500):
        told = values * top(values, 500 - below, earlier).to(values.dtype)
        assert torch.equal(above(values, below, dtype, earlier, 64), told)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("earlier", [True, False])
def test_equal_magnitudes_are_parted_by_place(dtype, earlier):
    values = torch.tensor([1.0, -2.0, 1.0, 2.0, -1.0, 1.0, 0.0, 0.0])
    values = values.double() if dtype == torch.float64 else values
    for below in range(9):
        told = values * top(values, 8 - below, earlier).to(values.dtype)
        assert torch.equal(above(values, below, dtype, earlier, 3), told)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_magnitudes_are_compared_as_rounded(dtype):
    torch.manual_seed(0)
    values = torch.randn(2000) * 1e-3
    rounded = values.to(dtype).float()
    for below in (400, 1000, 1999):
        told = values * top(rounded, 2000 - below).float()
        assert torch.equal(above(values, below, dtype, True), told)


def test_halves_between_two_keys_go_to_the_even_one():
    step = 2.0**-7  # of bfloat16 at 1
    values = torch.tensor([1 + step / 2, 1 + 3 * step / 2, 1.0, 1 + step, 1 + 2 * step])
    rounded = values.bfloat16().float()
    for below in range(6):
        told = values * top(rounded, 5 - below).float()
        assert torch.equal(above(values, below, torch.bfloat16, True), told)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_magnitudes(dtype):
    info = torch.finfo(dtype)
    numbers = [0.0, info.max, -info.max, info.tiny, -1.0, info.tiny / 2, 0.0, info.max / 2]
    values = torch.tensor(numbers, dtype=torch.float64)
    values = values if dtype == torch.float64 else values.float()
    for below in range(9):
        told = values * top(values, 8 - below).to(values.dtype)
        assert torch.equal(above(values, below, dtype, True), told)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("earlier", [True, False])
def test_magnitudes_that_round_to_0_are_counted(dtype, earlier):
    values = torch.tensor([1e-45, 2e-45, 0.0, 1e-45, -3e-45, 1.0])
    for below in range(7):
        told = values * top(values.to(dtype).float(), 6 - below, earlier).float()
        assert torch.equal(above(values, below, dtype, earlier), told)


def test_half_precision_that_overflows_is_the_largest():
    values = torch.tensor([1e6, 65504.0, 1.0, -7e4])
    assert above(values, 2, torch.float16, True).tolist() == [1e6, 0.0, 0.0, -7e4]
    assert above(values, 1, torch.float16, True).tolist() == [1e6, 65504.0, 0.0, -7e4]


@settings(max_examples=200, deadline=None)
@given(
    numbers=st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=80),
    share=st.floats(0, 1),
    dtype=st.sampled_from(DTYPES[:3]),
    earlier=st.booleans(),
)
def test_any_numbers(numbers, share, dtype, earlier):
    values = torch.tensor(numbers, dtype=torch.float32)
    below = int(share * len(numbers))
    told = values * top(values.to(dtype).float(), len(numbers) - below, earlier).float()
    assert torch.equal(above(values, below, dtype, earlier), told)


def test_magnitude_of_a_rank_is_that_of_sorting():
    torch.manual_seed(0)
    values = torch.randn(999)
    ordered = values.abs().sort().values
    ranks = [0, 1, 500, 998]
    told = [float(ordered[rank]) for rank in ranks]
    assert magnitudes(values_of(values), 999, ranks, torch.float32) == told


def in_small_blocks(monkeypatch, size=70, sampled=1):
    monkeypatch.setattr(
        ranking, "blocks", lambda n: [(i, min(i + size, n)) for i in range(0, n, size)]
    )
    monkeypatch.setattr(ranking, "SAMPLED", sampled)
    monkeypatch.setattr(ranking, "STRETCH", 20)
    monkeypatch.setattr(ranking, "SPAN", 3)


def test_blocks_of_a_pass_do_not_matter(monkeypatch):
    torch.manual_seed(0)
    values = (torch.randn(5000) * 4).round()  # many equal ones
    told = above(values, 3000, torch.float32, True)
    in_small_blocks(monkeypatch, 7, 10**9)
    assert torch.equal(above(values, 3000, torch.float32, True), told)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("earlier", [True, False])
def test_a_sample_leaves_the_result_exact(dtype, earlier, monkeypatch):
    torch.manual_seed(0)
    values = torch.randn(20000) * torch.rand(20000)
    values = values.to(dtype).to(torch.float64 if dtype == torch.float64 else torch.float32)
    told = [above(values, below, dtype, earlier) for below in (1, 100, 9000, 19000, 19999)]
    in_small_blocks(monkeypatch)
    counted = []
    whole = ranking._counted
    monkeypatch.setattr(ranking, "_counted", lambda *given: counted.append(1) or whole(*given))
    for below, one in zip((1, 100, 9000, 19000, 19999), told, strict=True):
        assert torch.equal(above(values, below, dtype, earlier), one)
    assert len(counted) <= 1


def test_a_sample_that_misleads_or_does_not_help(monkeypatch):
    torch.manual_seed(0)
    values = torch.randn(20000)
    for start in range(0, 20000, 70):
        values[start : start + 20] = 1e-3  # what the sample sees is unlike the rest
    told = above(values, 15000, torch.float32, True)
    few = values.sign()
    told_few = above(few, 15000, torch.float32, True)
    in_small_blocks(monkeypatch)
    assert torch.equal(above(values, 15000, torch.float32, True), told)
    assert torch.equal(above(few, 15000, torch.float32, True), told_few)


def test_edges_that_keep_all_or_nothing():
    values = torch.tensor([0.0, 1.0, -3.0])
    assert torch.equal(Edge(trimming.ALL, trimming.ALL).above(values.clone(), 0), values)
    assert not Edge(trimming.NONE, trimming.NONE).above(values.clone(), 0).any()
    assert [kept_share(d, 10) for d in (0.0, 0.01, 0.55, 1.0)] == [0, 1, 5, 10]
