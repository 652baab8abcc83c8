"""
A regressor from two plants
===========================

Two plants trained a network on the same question, how much power a machine will draw. One of them
runs its machines under light load, the other under heavy load. Each network is good where its own
machines are. This page folds the two into one network for all loads. Nothing here is a classifier:
onefold tells from the labels that they are numbers.
"""

# %%
# The machines
# ------------
#
# The data are made, by Friedman's first function of five readings and of five that say nothing. The
# third reading is the load. The light plant has seen one in 200 of the machines under heavy load,
# and the other way round.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import make_friedman1
from torch import nn
from torch.nn.functional import mse_loss

import onefold

readings, power = make_friedman1(12_000, noise=1.0, random_state=0)
readings = torch.tensor(readings, dtype=torch.float32)
power = torch.tensor(power, dtype=torch.float32)[:, None]
power = (power - power.mean()) / power.std()

generator = torch.Generator().manual_seed(0)
heavy = readings[:, 2] > 0.5
keep = torch.rand(len(readings), generator=generator)
part = torch.arange(len(readings))
training, calibration, test = part < 8000, (part >= 8000) & (part < 9000), part >= 9000
light_plant = training & (~heavy | (keep < 0.005))
heavy_plant = training & (heavy | (keep < 0.005))
print(f"{int(light_plant.sum())} and {int(heavy_plant.sum())} machines to train on")

# %%
# The members
# -----------


def network():
    return nn.Sequential(
        nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )


def train(rows, seed):
    torch.manual_seed(seed)
    member, x, y = network(), readings[rows], power[rows]
    steps = 1500
    optimizer = torch.optim.Adam(member.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps)
    for _ in range(steps):
        chosen = torch.randint(len(x), (128,))
        optimizer.zero_grad()
        mse_loss(member(x[chosen]), y[chosen]).backward()
        optimizer.step()
        schedule.step()
    return member.eval()


members = [train(light_plant, 1), train(heavy_plant, 2)]

# %%
# One network
# -----------
#
# Least squares brings every layer as near as it can to the features of both members, on 1,000
# readings without a label. `polish` then distils the members' mean into it.

unlabelled = readings[calibration].split(100)
folded = onefold.merge(members, unlabelled, fold="least_squares").model
polished = onefold.merge(
    members, unlabelled, fold="least_squares", polish=20, task="regression"
).model

# %%
# What it is worth
# ----------------
#
# Scores come with their unit and direction. A function of outputs and labels is one more score:
# here the share of machines whose power is foretold to a quarter of its deviation.


def close(outputs, labels):
    return ((outputs - labels).abs() < 0.25).float().mean(1)


test_data = [(readings[test], power[test])]
metric = onefold.Metric(close, "close", highest=True)
networks = {
    "light plant": members[0],
    "heavy plant": members[1],
    "their ensemble": members,
    "folded": folded,
    "folded, polished": polished,
}
scores = {
    name: onefold.evaluate(model, test_data, metrics=metric) for name, model in networks.items()
}
for name, found in scores.items():
    print(f"{name:<18}{found['rmse']:>7.3f} RMSE{found['r2']:>8.3f} R²{found['close']:>8.1%} close")

# %%
# The error of the difference is paired: both networks are compared machine by machine.

best = min(("light plant", "heavy plant"), key=lambda name: scores[name]["rmse"])
print(f"folded less {best}: {onefold.measure.difference(scores['folded'], scores[best])}")

# %%
# Where the gain is
# -----------------
#
# Each member is wrong where its plant had few machines. The folded network is near the better of
# the two everywhere.

load, edges = readings[test, 2], torch.linspace(0, 1, 11)
figure, axes = plt.subplots(figsize=(7, 4))
for name in ("light plant", "heavy plant", "folded, polished"):
    with torch.no_grad():
        error = (networks[name](readings[test]) - power[test]).square()[:, 0]
    bins = torch.bucketize(load, edges[1:-1])
    height = [float(error[bins == k].mean().sqrt()) for k in range(10)]
    axes.plot((edges[:-1] + edges[1:]) / 2, height, marker="o", label=name)
axes.set_xlabel("load")
axes.set_ylabel("RMSE")
axes.set_ylim(bottom=0)
axes.set_title("Error of the two plants' networks and of the folded one, by load")
axes.legend()
figure.tight_layout()
plt.show()
