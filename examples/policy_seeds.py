"""
A policy from three seeds
=========================

A policy that learned by trial and error depends on luck: three seeds give a good one, a fair one
and a poor one. This page folds the policies of three seeds into one, on the cart that balances a
pole, and repeats it with three groups of seeds.
"""

# %%
# The game and the policies
# -------------------------
#
# CartPole is played by 16 carts at a time (gymnasium). An episode ends when the pole falls, after
# 500 steps at the latest, and its length is its score.

import statistics

import gymnasium
import matplotlib.pyplot as plt
import torch
from torch import nn

import onefold


def play(policy, carts, seed, greedy=False, length=500):
    """States (steps, carts, 4), actions, and which carts still balance."""
    game = gymnasium.make_vec(
        "CartPole-v1", num_envs=carts, vectorization_mode="vector_entry_point"
    )
    draws = torch.Generator().manual_seed(seed)
    state, _ = game.reset(seed=seed)
    states, actions, balancing = [], [], [torch.ones(carts, dtype=torch.bool)]
    while len(states) < length and balancing[-1].any():
        states.append(torch.as_tensor(state, dtype=torch.float32))
        with torch.no_grad():
            chances = policy(states[-1]).softmax(-1)
        drawn = torch.multinomial(chances, 1, generator=draws)[:, 0]
        actions.append(chances.argmax(-1) if greedy else drawn)
        state, _, fallen, _, _ = game.step(actions[-1].numpy())
        balancing.append(balancing[-1] & ~torch.as_tensor(fallen))
    return torch.stack(states), torch.stack(actions), torch.stack(balancing[:-1])


# %%
# A policy is a small network. It learns by policy gradients (REINFORCE): actions that led to longer
# episodes than usual become more likely. Training stops once 16 episodes last 150 steps on average.


def train(seed, goal=150.0):
    torch.manual_seed(seed)
    policy = nn.Sequential(
        *(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
    )
    optimiser = torch.optim.Adam(policy.parameters(), 1e-2)
    for episode in range(60):
        states, actions, balancing = play(policy, 16, 1000 * seed + episode, length=200)
        if balancing.float().sum(0).mean() >= goal:
            break
        gain = balancing.float().flip(0).cumsum(0).flip(0)
        gain = (gain - gain[balancing].mean()) / gain[balancing].std()
        chosen = policy(states).log_softmax(-1).gather(-1, actions[..., None])[..., 0]
        loss = -(chosen * gain)[balancing].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return policy.eval()


# %%
# Folding three of them
# ---------------------
#
# A fold needs inputs. Here these are the states that the three policies met in eight episodes each.
# The score is the mean length of 100 new episodes, where each policy takes its likeliest action.


def score(policy):
    return play(policy, 100, seed=5, greedy=True)[2].sum(0).float().mean().item()


def states_of(policies):
    met = []
    for policy in policies:
        states, _, balancing = play(policy, 8, seed=77)
        met.append(states[balancing])
    states = torch.cat(met)
    order = torch.randperm(len(states), generator=torch.Generator().manual_seed(0))
    return list(states[order[:3000]].split(500))


ways = {
    "plain average": {"fold": "average", "align": "none", "repair": "none"},
    "average, lined up": {"fold": "average", "align": "permutation"},
    "least squares": {"fold": "least_squares", "align": "permutation"},
}
groups = []
for first in (0, 3, 6):
    policies = [train(seed) for seed in range(first, first + 3)]
    found = {f"seed {first + k}": score(policy) for k, policy in enumerate(policies)}
    found["ensemble"] = score(onefold.Ensemble(policies, mean="probabilities"))
    states = states_of(policies)
    for name, settings in ways.items():
        found[name] = score(onefold.merge(policies, states, **settings).model)
    groups.append(found)
    print("   ".join(f"{name} {steps:.0f}" for name, steps in found.items()))

# %%
# The result
# ----------

figure, axes = plt.subplots(layout="constrained")
names = ["mean of the seeds", "ensemble", *ways]
bars = []
for group in groups:
    seeds = [steps for name, steps in group.items() if name.startswith("seed")]
    bars.append([statistics.mean(seeds), *(group[name] for name in names[1:])])
    place = len(bars) - 1
    axes.plot([0 + (place - 1) * 0.25] * 3, seeds, "_", color="black", ms=12)
    axes.bar(
        [k + (place - 1) * 0.25 for k in range(len(names))],
        bars[-1],
        width=0.22,
        color=["0.7", "tab:blue", "tab:red", "tab:red", "tab:green"],
    )
axes.set_xticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
axes.set(
    ylabel="mean length of an episode, steps",
    ylim=(0, 520),
    title="Steps that the pole is balanced, three groups of three seeds",
)
plt.show()

# %%
# Dashes are the single seeds. In every group least squares plays like the ensemble, in one network.
# It is not always above the best seed, but nobody had to find out which seed that is. The plain
# average is a matter of luck, and so is the average of policies that were lined up. The default is
# left out: it judges by labels or by the members' opinion, and a policy is judged by playing.
