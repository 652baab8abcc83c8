"""
A text classifier from two teams
================================

Two teams trained a classifier of sentences over one vocabulary, each on texts of its own. This page
folds the two classifiers into one. The text is real and already there: the documentation inside
four Python libraries. The question is from which library a sentence comes.
"""

# %%
# The sentences
# -------------
#
# Sentences of 6 to 40 words are read from the docstrings of numpy, scipy, scikit-learn and torch.
# The names of the libraries are removed. What is found depends a little on their versions.

import importlib
import inspect
import re
from collections import Counter

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import onefold

modules = {
    "numpy": "numpy numpy.linalg numpy.fft numpy.random",
    "scipy": "scipy.linalg scipy.optimize scipy.signal scipy.stats",
    "scikit-learn": "sklearn.cluster sklearn.linear_model sklearn.metrics sklearn.ensemble"
    " sklearn.preprocessing sklearn.decomposition sklearn.model_selection sklearn.neighbors",
    "torch": "torch torch.nn torch.nn.functional torch.optim torch.linalg torch.distributions",
}
own_names = {"numpy", "np", "scipy", "sklearn", "scikit", "torch", "pytorch"}


def sentences_of(module):
    for name in sorted(dir(module)):
        found = getattr(module, name)
        text = inspect.getdoc(found) if callable(found) and name[0] != "_" else None
        for sentence in re.split(r"(?<=[.!?])\s+|\n\n", text or ""):
            words = [w for w in re.findall(r"[a-z]+", sentence.lower()) if w not in own_names]
            if 6 <= len(words) <= 40 and re.fullmatch(r"[A-Z][^>=|]*", sentence):
                yield tuple(words)


texts = {}
for label, names in enumerate(modules.values()):
    for name in names.split():
        for words in sentences_of(importlib.import_module(name)):
            texts.setdefault(words, label)
counts = Counter(texts.values())
for label, name in enumerate(modules):
    example = next(" ".join(words) for words, own in texts.items() if own == label)
    print(f"{name:<14}{counts[label]:>6} sentences, as: {example[:60]}")

# %%
# 1,800 sentences of each library are kept: 1,000 to train on, 800 for the test. Words that occur
# three times or more in the training sentences have a number of their own.

generator = torch.Generator().manual_seed(0)
training, test = [], []
for label in range(4):
    own = [words for words, found in texts.items() if found == label]
    own = [(own[k], label) for k in torch.randperm(len(own), generator=generator)[:1800]]
    training += own[:1000]
    test += own[1000:]
seen = Counter(word for words, _ in training for word in words)
numbers = {word: k + 2 for k, word in enumerate(w for w, times in seen.items() if times >= 3)}


def encode(pairs):
    rows = [
        [numbers.get(word, 1) for word in words] + [0] * (40 - len(words)) for words, _ in pairs
    ]
    return torch.tensor(rows), torch.tensor([label for _, label in pairs])


tokens, labels = encode(training)
print(len(numbers), "words")

# %%
# Two teams
# ---------
#
# Team A has the sentences of numpy and scipy and one in twenty of the others. Team B has those of
# scikit-learn and torch and one in twenty of the others.


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(len(numbers) + 2, 32)
        self.hidden = nn.Linear(32, 64)
        self.answer = nn.Linear(64, 4)

    def forward(self, tokens):
        return self.answer(torch.relu(self.hidden(self.embedding(tokens).mean(1))))


def train(seed, classes, epochs=12):
    torch.manual_seed(seed)
    model = Classifier()
    mine = torch.isin(labels, torch.tensor(classes)) | (torch.rand(len(labels)) < 1 / 20)
    mine = torch.nonzero(mine).flatten()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(epochs):
        for index in mine[torch.randperm(len(mine))].split(100):
            loss = cross_entropy(model(tokens[index]), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


teams = [train(0, (0, 1)), train(1, (2, 3))]

# %%
# Folding them
# ------------
#
# The training sentences of both serve without labels.

unlabelled = list(tokens[torch.randperm(len(tokens), generator=generator)].split(200))
print(onefold.compare_networks(teams, unlabelled))
held_out = [encode(test)]
networks = {"team A": teams[0], "team B": teams[1], "ensemble of both": teams}
for name, settings in {
    "plain average": {"fold": "average", "align": "none"},
    "average, lined up": {"fold": "average", "align": "permutation"},
    "least squares": {"fold": "least_squares", "align": "permutation"},
}.items():
    networks[name] = onefold.merge(teams, unlabelled, **settings).model
default = onefold.merge(teams, unlabelled)
networks["the default"] = default.model
accuracy = {name: onefold.evaluate(each, held_out).accuracy for name, each in networks.items()}
for name, value in accuracy.items():
    print(f"{name:<20}{100 * value:.1f} %")

# %%
# The result
# ----------
#
# The report of the default says which way it took, and why.

print(default.report)
figure, axes = plt.subplots(layout="constrained")
colours = ["0.6", "0.6", "tab:blue", "tab:red", "tab:red", "tab:green", "tab:green"]
bars = axes.barh(list(accuracy), [100 * value for value in accuracy.values()], color=colours)
axes.bar_label(bars, fmt="%.1f", padding=3)
axes.set(xlabel="test accuracy, %", xlim=(0, 100), title="Test accuracy of two teams and folds")
axes.invert_yaxis()
plt.show()
