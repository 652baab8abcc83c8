"""
Rounds or seeds?
================

Four networks can come from four rounds of one start, or from four seeds, for the same number of
steps. This page asks which four are better for what: alone, as an ensemble, and folded.
"""

# %%
# Data
# ----
#
# 200 of scikit-learn's digits are for training, so that solutions differ. 300 choose and gate, and
# 597 are kept for the test.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import onefold

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(digits.target)
order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
training, choosing, test = order[:200], order[200:500], order[1200:]
labelled = [(images[part], labels[part]) for part in choosing.split(100)]
held_out = [(images[test], labels[test])]
EPOCHS, STEPS = 40, 160


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10)),
    )


def train(model, run=None):
    optimiser = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.05, total_steps=STEPS)
    for _ in range(EPOCHS):
        for index in training[torch.randperm(200)].split(50):
            loss = cross_entropy(model(images[index]), labels[index])
            if run is not None:
                loss = loss + run.penalty()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if run is not None:
                run.step()
    return model


# %%
# Four rounds, four seeds
# -----------------------


def by_rounds(seed):
    model = network(seed)
    run = onefold.PersistentTraining(model, STEPS, seed=seed)
    for _ in range(4):
        train(model, run)
        run.record(score=onefold.evaluate(model.eval(), labelled).accuracy)
        run.restart()
        model.train()
    return [run.network(number) for number in range(4)]


def by_seeds(seed):
    return [train(network(100 * k + seed)).eval() for k in range(4)]


def accuracies(networks):
    """Test accuracy in percent of all that can be made of four networks."""
    images_only = [x for x, _ in labelled]
    folds = {
        "plain average": {"fold": "average", "align": "none"},
        "average, lined up": {"fold": "average", "align": "permutation"},
        "least squares": {"fold": "least_squares", "align": "permutation"},
    }
    made = {name: onefold.merge(networks, images_only, **how).model for name, how in folds.items()}
    made["ensemble"] = networks
    found = {name: onefold.evaluate(each, held_out).accuracy for name, each in made.items()}
    alone = [onefold.evaluate(each, held_out).accuracy for each in networks]
    with torch.no_grad():
        answers = torch.stack([each(images[test]).argmax(-1) for each in networks])
    differ = torch.stack([(answers[a] != answers[b]).float().mean() for a, b in PAIRS]).mean()
    found = {"one network, mean": sum(alone) / 4, **found, "two differ on": differ.item()}
    return {name: 100 * value for name, value in found.items()}


PAIRS = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
tables = {
    "rounds": [accuracies(by_rounds(seed)) for seed in range(2)],
    "seeds": [accuracies(by_seeds(seed)) for seed in range(2)],
}
means = {
    kind: {row: sum(table[row] for table in found) / 2 for row in found[0]}
    for kind, found in tables.items()
}
print(f"{'mean of 2 repetitions, %':<26}{'rounds':>8}{'seeds':>8}")
for row in means["rounds"]:
    print(f"{row:<26}{means['rounds'][row]:8.1f}{means['seeds'][row]:8.1f}")

# %%
# The result
# ----------

rows = list(means["rounds"])[:-1]
figure, axes = plt.subplots(layout="constrained")
for shift, (kind, colour) in zip(
    (-0.2, 0.2), (("rounds", "tab:green"), ("seeds", "0.6")), strict=True
):
    bars = axes.barh(
        [k + shift for k in range(len(rows))],
        [means[kind][row] for row in rows],
        height=0.36,
        color=colour,
        label=f"four {kind}",
    )
    axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=9)
axes.set_yticks(range(len(rows)), rows)
axes.set(
    xlabel="test accuracy, %", xlim=(0, 130), title="Test accuracy of four rounds and four seeds"
)
figure.legend(loc="outside lower center", ncols=2)
axes.invert_yaxis()
plt.show()

# %%
# Rounds of one start stay near one another, so that the plain average of their weights loses a few
# points only. Seeds do not: their plain average is broken until they are lined up. In all else the
# seeds are level or better here. So take seeds, unless all networks must come from one start.
