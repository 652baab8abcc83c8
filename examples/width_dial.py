"""
Width is a dial
===============

Two clinics trained a network each, on digits that stand for their patients: each of them saw few of
the other's. Their ensemble is better than either, and costs twice as much. Between one network and
the ensemble lies a dial: the multiply-adds that one folded network may cost. Turned below 1, it
prunes a single network.
"""

# %%
# The members
# -----------
#
# Each network has seen all images of five digits and one in twenty of the other five.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import onefold

images, labels = load_digits(return_X_y=True)
images = torch.tensor(images, dtype=torch.float32)[:, None].reshape(-1, 1, 8, 8) / 16
labels = torch.tensor(labels)
order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
images, labels = images[order], labels[order]
training, unlabelled, test = slice(0, 900), slice(900, 1300), slice(1300, None)


def network():
    return nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(24 * 16, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


def train(own, seed):
    torch.manual_seed(seed)
    model, x, y = network(), images[training], labels[training]
    seen = (y // 5 == own) | (torch.rand(len(y)) < 0.05)
    x, y = x[seen], y[seen]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(300):
        chosen = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
    return model.eval()


members = [train(0, 1), train(1, 2)]
test_data = [(images[test], labels[test])]
data = images[unlabelled].split(100)  # no labels

# %%
# From one network to the ensemble
# --------------------------------
#
# Each budget is a factor of one member's multiply-adds. Units of both members are taken out where
# that costs least, until the network fits, and every layer is refitted. From 1x on a second way is
# tried, too: the first member stays whole, and units of the other alone are taken out. The network
# that is nearer to the ensemble on the unlabelled images is returned. At twice the width, which is
# nearly four times the multiply-adds, the fold is the ensemble.

budgets = ["0.5x", "0.75x", "1x", "1.25x", "1.5x", "2x", "3x"]
folds = onefold.fold_to_budgets(members, data, budgets)
curve = [onefold.evaluate(fold.model, test_data).accuracy for fold in folds]
alone = [onefold.evaluate(member, test_data).accuracy for member in members]
ensemble = onefold.evaluate(members, test_data).accuracy

print(f"members  {alone[0]:.1%} and {alone[1]:.1%}, ensemble {ensemble:.1%}")
for fold, accuracy in zip(folds, curve, strict=True):
    factors = fold.report.folded["factors"]
    print(
        f"{factors['multiply-adds']:.2f} times the multiply-adds,"
        f" {factors['parameters']:.2f} times the parameters: {accuracy:.1%}"
        f" ({fold.report.folded['keep']})"
    )

# %%
figure, axes = plt.subplots(figsize=(7, 4))
costs = [fold.report.folded["factors"]["multiply-adds"] for fold in folds]
axes.plot(costs, [100 * a for a in curve], marker="o", label="folded to a budget")
axes.plot([1], [100 * max(alone)], "s", label="best member")
axes.plot([2], [100 * ensemble], "D", label="ensemble")
axes.set_xlabel("multiply-adds, in units of one member's")
axes.set_ylabel("accuracy, %")
axes.set_title("Between one network and the ensemble")
axes.legend()
figure.tight_layout()
plt.show()

# %%
# One network, made narrower
# --------------------------
#
# `prune` does the same with a single network: no labels, no training.

pruned = onefold.prune(members[0], data, budget="0.5x")
print(pruned.report)
print(f"before {alone[0]:.1%}, after {onefold.evaluate(pruned.model, test_data).accuracy:.1%}")

# %%
# A file keeps the widths. It is read with a function that makes the network as it was before.

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "pruned.safetensors"
    onefold.save(pruned.model, file)
    again = onefold.load_resized(network, file)
print([layer.out_channels for layer in again if isinstance(layer, nn.Conv2d)])
