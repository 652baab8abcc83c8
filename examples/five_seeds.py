"""
Five seeds
==========

Five networks were trained on the same images, and only their seeds differ. This is the case in
which a fold is asked for most and pays least. This page shows what the default does, what it says,
and what a few passes of polishing add.
"""

# %%
# Data and members
# ----------------
#
# 400 of scikit-learn's digits are there to train on, with labels. 800 more serve without labels.
# 597 are kept for the test.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import onefold

digits = load_digits()
images = torch.tensor(digits.data, dtype=torch.float32) / 16
labels = torch.tensor(digits.target)
order = torch.randperm(1797, generator=torch.Generator().manual_seed(1))
training, test = order[:400], order[1200:]


def train(seed, epochs=25):
    torch.manual_seed(seed)
    network = nn.Sequential(
        *(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    )
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(epochs):
        for index in training[torch.randperm(len(training))].split(50):
            loss = cross_entropy(network(images[index]), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


members = [train(seed) for seed in range(5)]

# %%
# What the default does
# ---------------------
#
# ``merge`` without further words folds only where a fold is above the members beyond noise. Else it
# returns one of them: with labels the best, without labels the one that is nearest to the ensemble.
# The first lines of the report say what was taken and why.

unlabelled = list(images[order[:1200]].split(100))
default = onefold.merge(members, unlabelled)
print(default.report)

# %%
# It took a member, unchanged. This is no failure: the networks know the same, so there is little to
# put together.
#
# Why an average is no help
# -------------------------
#
# Each network keeps its features in an order of its own. On the straight line between two of them
# the accuracy falls. Lined up by a permutation, which changes no answer of a network, the line
# holds up better.

held_out = [(images[test], labels[test])]
alignment = onefold.align(members, unlabelled, method="permutation")
aligned = alignment.apply(members)
figure, axes = plt.subplots(layout="constrained")
for name, (first, second), style in (
    ("as they are", members[:2], "o:"),
    ("lined up", aligned[:2], "o-"),
):
    path = onefold.barrier(first, second, held_out, points=11)
    axes.plot(
        [k / 10 for k in range(11)],
        [100 * scores.accuracy for scores in path.scores],
        style,
        label=f"{name}: barrier {path.barrier:.2f} nats",
    )
axes.set(
    xlabel="from seed 0 to seed 1",
    ylabel="test accuracy, %",
    ylim=(20, 100),
    title="Test accuracy on the line between two seeds",
)
axes.legend(loc="lower right")
plt.show()

# %%
# Polish
# ------
#
# The ensemble of the five knows a little more than each of them. ``polish`` distils it into the
# result, by a few passes over images without labels. The other folds are here for comparison.

ways = {
    "average, as they are": {"fold": "average", "align": "none"},
    "average, lined up": {"fold": "average", "align": "permutation"},
    "least squares": {"fold": "least_squares", "align": "permutation"},
    "the default": {},
    "the default, polished": {"polish": onefold.Polish(passes=10, lr=1e-3)},
}
networks = {f"seed {seed}": member for seed, member in enumerate(members)}
networks["ensemble of five"] = members
for name, settings in ways.items():
    networks[name] = onefold.merge(members, unlabelled, **settings).model
scores = {name: onefold.evaluate(each, held_out) for name, each in networks.items()}
for name, each in scores.items():
    print(f"{name:<24}{100 * each.accuracy:.1f} %   nll {each.nll:.3f}")

figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
colours = [*["0.6"] * 5, "tab:blue", *["tab:red"] * 2, *["tab:green"] * 3]
bars = axes.barh(list(scores), [100 * each.accuracy for each in scores.values()], color=colours)
axes.bar_label(bars, fmt="%.1f", padding=3)
axes.set(xlabel="test accuracy, %", xlim=(0, 110), title="Test accuracy of five seeds and folds")
axes.invert_yaxis()
plt.show()

# %%
# All but the two averages lie within about two points of one another, and a standard error is one
# point. So the answer for five seeds is: keep one of them, polished if a few passes are no matter,
# or pay for the ensemble. ``onefold.merge`` does the first by itself.
