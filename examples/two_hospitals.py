"""
Two hospitals
=============

Two networks were trained in two places. Each knows half of the classes well and has hardly seen the
rest. The images cannot be pooled, but the networks can. This page makes one network of the two, and
shows which way of folding pays here and which does not.
"""

# %%
# Data and members
# ----------------
#
# The images are scikit-learn's handwritten digits. Hospital A has all images of the digits 0 to 4
# and one in twelve of the others. Hospital B has the digits 5 to 9 and one in twelve of the others.
# Of 1,797 images 597 are kept for the test.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import onefold

digits = load_digits()
images = torch.tensor(digits.data, dtype=torch.float32) / 16
labels = torch.tensor(digits.target)
training, test = torch.arange(1200), torch.arange(1200, 1797)


def train(seed, classes, epochs=30):
    torch.manual_seed(seed)
    network = nn.Sequential(
        *(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()),
        *(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    rare = torch.rand(1200) < 1 / 12
    seen = training[torch.isin(labels[training], classes) | rare]
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(epochs):
        for index in seen[torch.randperm(len(seen))].split(50):
            loss = cross_entropy(network(images[index]), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


members = [train(0, torch.arange(5)), train(1, torch.arange(5, 10))]

# %%
# How do they relate?
# -------------------
#
# A fold needs images, but no labels. Here they are the 1,200 training images of both hospitals. In
# practice any images that hold all of the classes will do. ``compare_networks`` says what to expect
# before anything is folded.

unlabelled = list(images[training].split(100))
print(onefold.compare_networks(members, unlabelled))

# %%
# Seven ways to answer
# --------------------
#
# The ensemble runs both networks on every image. All other ways give one network of the same size.
# ``merge`` without further words is the default: it folds only where a fold is above the members.

folds = {
    "plain average": {"fold": "average", "align": "none"},
    "average after permutation": {"fold": "average", "align": "permutation"},
    "average after CCA": {"fold": "average", "align": "cca"},
    "least squares": {"fold": "least_squares", "align": "none"},
    "the default": {},
}
networks = {"hospital A": members[0], "hospital B": members[1], "ensemble of both": members}
for name, settings in folds.items():
    networks[name] = onefold.merge(members, unlabelled, **settings).model

held_out = [(images[test], labels[test])]
accuracy = {name: onefold.evaluate(each, held_out).accuracy for name, each in networks.items()}
for name, value in accuracy.items():
    print(f"{name:<28}{100 * value:.1f} %")

# %%
# With 597 test images a standard error is about 1.5 points.

figure, axes = plt.subplots(layout="constrained")
colours = ["0.6", "0.6", "tab:blue", *["tab:red"] * 3, *["tab:green"] * 2]
bars = axes.barh(list(accuracy), [100 * value for value in accuracy.values()], color=colours)
axes.bar_label(bars, fmt="%.1f", padding=3)
axes.set(xlabel="test accuracy, %", xlim=(0, 105), title="Test accuracy of members and folds")
axes.invert_yaxis()
plt.show()

# %%
# The averages of the weights are no better than a member, whether the features are lined up or not:
# lining up finds the same feature in both networks, and here much is known to one of them only.
# Least squares keeps the most important units of both and refits every layer. It comes near the
# ensemble at half of its cost.
#
# Who knows what
# --------------
#
# The accuracy on each digit shows what went into the folded network.


def by_class(network):
    with torch.no_grad():
        hits = network(images[test]).argmax(-1) == labels[test]
    return [100 * hits[labels[test] == digit].float().mean().item() for digit in range(10)]


rows = ["hospital A", "hospital B", "plain average", "least squares"]
table = [by_class(networks[name]) for name in rows]
figure, axes = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
axes.imshow(table, cmap="Blues", vmin=0, vmax=140, aspect="auto")
for row, values in enumerate(table):
    for digit, value in enumerate(values):
        axes.text(digit, row, f"{value:.0f}", ha="center", va="center", fontsize=9)
axes.set_yticks(range(len(rows)), rows)
axes.set_xticks(range(10))
axes.set(xlabel="digit", title="Test accuracy on each digit, %")
plt.show()

# %%
# Saving the result
# -----------------
#
# The result is a plain network of the members' class. Its weights are saved as those of any other:
#
# .. code-block:: python
#
#     onefold.save(networks["least squares"], "folded.safetensors")
