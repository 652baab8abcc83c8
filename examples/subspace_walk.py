"""
A walk across a subspace
========================

One training run can give a whole triangle of networks instead of one. Every point of the triangle
is a network. This page trains such a triangle on labels of which a third is wrong, and walks across
it.
"""

# %%
# Data with wrong labels
# ----------------------
#
# 900 of scikit-learn's digits are for training, and 300 of their labels are replaced by random
# ones. 597 digits with right labels are kept for the test.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import onefold

digits = load_digits()
images = torch.tensor(digits.data, dtype=torch.float32) / 16
labels = torch.tensor(digits.target)
order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
training, test = order[:900], order[1200:]
given = labels.clone()
given[training[:300]] = torch.randint(10, (300,), generator=torch.Generator().manual_seed(1))

# %%
# One loop for both
# -----------------
#
# A ``Subspace`` is trained like the network that it wraps. Every step draws a point of the triangle
# and trains the network there. The one difference is the penalty, which keeps the corners apart.


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    )


def train(model, epochs=40):
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * 18)
    model.train()
    for _ in range(epochs):
        for index in training[torch.randperm(900)].split(50):
            loss = cross_entropy(model(images[index]), given[index])
            if isinstance(model, onefold.Subspace):
                loss = loss + model.diversity_penalty()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


plain = [train(network(seed)) for seed in (0, 1)]
space = train(onefold.Subspace(network(2), shape="simplex", vertices=3))

# %%
# The middle and the corners
# --------------------------
#
# All have had 40 passes over the images. ``midpoint`` and ``vertex`` give plain networks of the
# class that was wrapped.

held_out = [(images[test], labels[test])]
networks = {
    "plain network, seed 0": plain[0],
    "plain network, seed 1": plain[1],
    "corner 0": space.vertex(0),
    "corner 1": space.vertex(1),
    "corner 2": space.vertex(2),
    "middle of the triangle": space.midpoint(),
    "ensemble of three points": space.ensemble(3),
    "ensemble of the two plain": plain,
}
for name, each in networks.items():
    scores = onefold.evaluate(each, held_out)
    print(
        f"{name:<28}{100 * scores.accuracy:.1f} %   nll {scores.nll:.3f}"
        f"   calibration error {100 * scores.ece:.1f} %"
    )

# %%
# Wrong labels hurt the triangle less than networks that were trained plainly for as long. What it
# is not is sure of itself: the less sure a network, the greater its calibration error here, and the
# middle is the least sure of all. Its answers are right more often, its probabilities are too even.
#
# Walking
# -------
#
# ``at`` gives the network at any point, named by the weights of the three corners. The map shows
# the test accuracy at 45 of them.

steps = 8
points = [
    (i / steps, j / steps, (steps - i - j) / steps)
    for i in range(steps + 1)
    for j in range(steps + 1 - i)
]
found = [100 * onefold.evaluate(space.at(point), held_out).accuracy for point in points]
across = [b + 0.5 * c for _, b, c in points]
up = [0.866 * c for *_, c in points]
figure, axes = plt.subplots(layout="constrained")
shown = axes.tricontourf(across, up, found, levels=12, cmap="viridis")
axes.plot(across, up, ".", color="white", ms=3)
figure.colorbar(shown, label="test accuracy, %")
for name, place in {
    "corner 0": (0, -0.08),
    "corner 1": (0.8, -0.08),
    "corner 2": (0.56, 0.85),
}.items():
    axes.annotate(name, place)
axes.set(
    title="Test accuracy over the triangle", aspect="equal", xlim=(-0.1, 1.1), ylim=(-0.12, 0.95)
)
axes.axis("off")
plt.show()
print(f"from {min(found):.1f} to {max(found):.1f} % over the triangle")

# %%
# A line through it, and a line between strangers
# -----------------------------------------------
#
# Between two networks that were trained apart the accuracy falls. Between two corners it does not.

figure, axes = plt.subplots(layout="constrained")
for name, first, second in (
    ("between two corners", space.vertex(0), space.vertex(1)),
    ("between two plain networks", *plain),
):
    path = onefold.barrier(first, second, held_out, points=11)
    axes.plot(
        [k / 10 for k in range(11)],
        [100 * scores.accuracy for scores in path.scores],
        "o-",
        label=f"{name}: barrier {path.barrier:.2f} nats",
    )
axes.set(
    xlabel="from one end to the other",
    ylabel="test accuracy, %",
    ylim=(0, 100),
    title="Test accuracy on the line between two networks",
)
axes.legend(loc="lower right")
plt.show()
