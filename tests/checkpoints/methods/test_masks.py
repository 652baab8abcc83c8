import numpy as np
import pytest
import torch
from checkpoints.methods.cases import inputs_of, made, related

from onefold.checkpoints.methods.dare import CHANCES, by_rank
from onefold.checkpoints.methods.masks import Mask, chosen, fractions, key_of, packed, words

RANDOM = ("dare_linear", "dare_ties", "della_linear", "della")


def test_words_are_those_of_splitmix64():
    # The first outputs of the reference for the seed 1234567.
    told = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert words(1234567, np.arange(4, dtype=np.uint64)).tolist() == told
    assert words(1234567, np.array([3, 1], dtype=np.uint64)).tolist() == [told[3], told[1]]


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_fractions_do_not_depend_on_cuts(bits):
    whole = fractions(7, 0, 100, bits)
    for start, stop in ((0, 1), (3, 50), (17, 100), (99, 100)):
        assert np.array_equal(fractions(7, start, stop, bits), whole[start:stop])


@pytest.mark.parametrize("probability", [0.0, 1e-5, 0.1, 0.5, 0.93, 1.0])
def test_share_of_chosen_elements(probability):
    count = 1 << 20
    share = chosen(3, 0, count, probability).mean()
    spread = (probability * (1 - probability) / count) ** 0.5
    assert abs(share - probability) <= 5 * spread
    assert np.array_equal(
        chosen(3, 1000, 2000, probability), chosen(3, 0, 2000, probability)[1000:]
    )


def test_probabilities_finer_than_the_first_bits():
    count, probability = 1 << 22, 3.75 / (1 << 16)
    share = np.mean([chosen(key, 0, count, probability).mean() for key in range(6)])
    assert abs(share - probability) <= 4 * (probability / count / 6) ** 0.5


def test_keys_differ_by_seed_tensor_and_model():
    keys = {key_of(s, t, m) for s in (0, 1) for t in ("a", "b", "a\0b") for m in ("x", "y")}
    assert len(keys) == 12
    drawn = np.stack([chosen(key, 0, 1 << 16, 0.5) for key in sorted(keys)]).astype(float)
    off = np.corrcoef(drawn) - np.eye(len(keys))
    assert np.abs(off).max() < 0.02


def test_masks_are_packed_over_blocks():
    flags = np.random.default_rng(0).random(101) < 0.5
    for step in (1, 7, 8, 13, 200):
        mask = packed(101, step, lambda start, stop: flags[start:stop])
        values = torch.arange(1.0, 102.0)
        told = torch.where(torch.from_numpy(flags), values, 0.0)
        assert torch.equal(mask.kept(values.clone(), 0), told)
        assert torch.equal(mask.kept(values[13:50].clone(), 13), told[13:50])
    assert isinstance(mask, Mask)


def kept(name, density, epsilon=0.1, shape=(256, 512), seed=0, **settings):
    """Which elements of one model's change a random method keeps, and its result."""
    base, (model,) = related(1, shape)
    given = [{"weight": 1.0, "density": density}]
    if name.startswith("della"):
        given[0]["epsilon"] = epsilon
    method = made(name, normalize=False, **settings)
    found = method.apply(method.prepare(inputs_of(name, [model], base, given, seed)))
    return (found != base), found - base, model - base


@pytest.mark.parametrize("name", RANDOM)
def test_share_and_sum_of_magnitudes(name):
    mask, merged, delta = kept(name, 0.4)
    count = delta.numel()
    assert abs(float(mask.float().mean()) - 0.4) < 5 * (0.24 / count) ** 0.5
    assert torch.allclose(merged.abs().sum(), delta.abs().sum(), rtol=1e-5)
    plain = kept(name, 0.4, rescale=False)[1]
    assert torch.allclose(plain, delta * mask, atol=1e-6)


@pytest.mark.parametrize("name", ["della", "della_linear"])
def test_della_keeps_larger_changes_more_often(name):
    mask, _, delta = kept(name, 0.5, 0.3)
    rank = delta.abs().argsort(1).argsort(1)
    lowest, highest = (mask[(rank >= low) & (rank < low + 128)] for low in (0, 384))
    assert abs(float(lowest.float().mean()) - 0.275) < 0.02
    assert abs(float(highest.float().mean()) - 0.725) < 0.02


@pytest.mark.parametrize("name", RANDOM)
def test_densities_of_0_and_1(name):
    _, merged, delta = kept(name, 1.0)
    assert torch.allclose(merged, delta, atol=1e-6)
    assert not kept(name, 0.0)[0].any()


@pytest.mark.parametrize("name", ["della", "della_linear"])
@pytest.mark.parametrize("shape", [(5,), (1,), (4, 1), (3, 4, 2, 2), (2, 70000)])
def test_della_of_other_shapes(name, shape):
    mask, merged, _ = kept(name, 0.5, shape=shape)
    assert mask.shape == torch.Size(shape)
    assert merged.isfinite().all()


@pytest.mark.parametrize("name", RANDOM)
def test_masks_depend_on_names_and_seed_alone(name):
    base, models = related(2, (70, 300))
    given = [{"weight": 1.0, "density": 0.5}] * 2
    method = made(name)

    def run(order, seed=0, label="layer.weight"):
        inputs = inputs_of(
            name, [models[i] for i in order], base, given, seed, names=[f"m{i}" for i in order]
        )
        object.__setattr__(inputs, "name", label)
        return method.apply(method.prepare(inputs))

    assert torch.allclose(run([0, 1]), run([1, 0]), atol=1e-6)
    assert torch.equal(run([0, 1]), run([0, 1]))
    assert not torch.allclose(run([0, 1]), run([0, 1], seed=1), atol=1e-3)
    assert not torch.allclose(run([0, 1]), run([0, 1], label="other"), atol=1e-3)


def test_della_refuses_probabilities_outside_of_0_and_1():
    from onefold.errors import SettingError

    with pytest.raises(SettingError, match=r"epsilon 0.15 of della give .* from 0.75 to 1.05"):
        kept("della", 0.9, 0.15)
    with pytest.raises(SettingError, match=r"choose an epsilon below 0\.1"):
        kept("della_linear", 0.1, 0.1)
    kept("della", 1.0, 0.15)


def shares(keys, low, high):
    """Of all random numbers, the share that keeps each element of a row."""
    row, drawn = np.asarray([keys]), np.arange(1 << 16, dtype=np.uint16)
    counts = np.zeros(len(keys))
    for start in range(0, 1 << 16, 1 << 12):
        numbers = drawn[start : start + (1 << 12)]
        many = np.repeat(row, len(numbers), axis=0)
        counts += by_rank(many, np.repeat(numbers, len(keys)), low, high).reshape(many.shape).sum(0)
    return counts / (1 << 16)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
def test_probabilities_rise_along_the_ranks(dtype):
    keys = np.random.default_rng(0).permutation(50).astype(dtype)
    low, high = int(0.3 * CHANCES), int(0.8 * CHANCES)
    told = low + (high - low) * keys.astype(float) / 49
    assert np.abs(shares(keys, low, high) - told / CHANCES).max() < 2e-5


def test_equal_elements_take_their_mean_rank():
    keys = np.array([7, 3, 3, 9, 3, 7, 1], dtype=np.int16)
    ranks = np.array([4.5, 2, 2, 6, 2, 4.5, 0])
    low, high = int(0.25 * CHANCES), int(0.75 * CHANCES)
    told = (low + (high - low) * ranks / 6) / CHANCES
    assert np.abs(shares(keys, low, high) - told).max() < 5e-5


@pytest.mark.parametrize("keys", [[5], [5, 5, 5]])
def test_one_probability_for_all_ranks(keys):
    half = CHANCES // 2
    assert (shares(np.array(keys, dtype=np.int32), half, half) == 0.5).all()
