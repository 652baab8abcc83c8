"""
Gates against a poisoned member
===============================

Six networks are offered, and one of them is broken: its weights were overwritten by noise. An
average of weights takes the noise in. Gates find out whom to leave out, from 300 labelled examples.
"""

# %%
# Data and members
# ----------------
#
# The images are scikit-learn's digits. Five networks each lack two of the ten digits. The sixth has
# random weights of great size. 300 labelled images, which no member has seen, are kept to learn the
# gates from, and 597 for the test.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import onefold

digits = load_digits()
images = torch.tensor(digits.data, dtype=torch.float32) / 16
labels = torch.tensor(digits.target)
training, held, test = torch.arange(900), torch.arange(900, 1200), torch.arange(1200, 1797)


def network():
    return nn.Sequential(
        *(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    )


def train(seed, without, epochs=20):
    torch.manual_seed(seed)
    model = network()
    seen = training[~torch.isin(labels[training], torch.tensor(without))]
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(epochs):
        for index in seen[torch.randperm(len(seen))].split(50):
            loss = cross_entropy(model(images[index]), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


members = [train(k, (2 * k, 2 * k + 1)) for k in range(5)]
poisoned = network().eval()
with torch.no_grad():
    for weights in poisoned.parameters():
        weights.normal_(0, 1000)
members.append(poisoned)

# %%
# What averages do with it
# ------------------------
#
# The ensemble takes the mean of the members' probabilities, so that one voice among six does little
# harm. It costs six passes. The average of the weights is noise.

held_out = [(images[test], labels[test])]
scores = {
    **{f"member {k}": onefold.evaluate(member, held_out) for k, member in enumerate(members[:5])},
    "member 5, poisoned": onefold.evaluate(poisoned, held_out),
    "ensemble of all": onefold.evaluate(members, held_out),
    "average of all": onefold.evaluate(
        onefold.merge(members, align="none", fold="average", repair="none").model, held_out
    ),
}

# %%
# Gates over whole networks
# -------------------------
#
# ``SoftMerge`` puts a number between 0 and 1 in front of each network, and ``fit_gates`` learns the
# numbers. Nothing else is trained. What is left are the networks whose gates are not 0.

labelled = [(images[part], labels[part]) for part in held.split(100)]
whole = onefold.fit_gates(onefold.SoftMerge(members, "model"), labelled, seed=0)
scores["gates over networks"] = onefold.evaluate(whole.model, held_out)
print(whole)

# %%
# Gates over layers
# -----------------
#
# At layer level every layer has gates of its own, over the members' weights. What is left is one
# plain network, which answers in one pass.

layers = onefold.fit_gates(onefold.SoftMerge(members, "layer"), labelled, seed=0)
scores["gates over layers"] = onefold.evaluate(layers.model, held_out)
print(layers)

# %%
# Gates first, then a fold
# ------------------------
#
# The gates have told who is broken. The others know different digits, so least squares folds them,
# from images without labels.

kept = [member for member, gate in zip(members, whole.gates.values[0], strict=True) if gate > 0]
unlabelled = list(images[:1200].split(100))
folded = onefold.merge(kept, unlabelled, fold="least_squares", align="permutation")
scores[f"least squares of {len(kept)}"] = onefold.evaluate(folded.model, held_out)

# %%
# The result
# ----------

for name, each in scores.items():
    print(f"{name:<22}{100 * each.accuracy:.1f} %")
figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
colours = [*["0.6"] * 6, "tab:blue", "tab:red", *["tab:green"] * 3]
bars = axes.barh(list(scores), [100 * each.accuracy for each in scores.values()], color=colours)
axes.bar_label(bars, fmt="%.1f", padding=3)
axes.set(xlabel="test accuracy, %", xlim=(0, 110), title="Test accuracy with a poisoned member")
axes.invert_yaxis()
plt.show()
