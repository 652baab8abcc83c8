"""
Two fine-tunes of one base
==========================

Two people fine-tuned one network that reads digits: one for images whose black and white are
exchanged, the other for images that are turned by a quarter. Each became better at the own kind
and worse at the other's. This page merges their folders into one folder that reads both kinds. The
merge needs no data and runs no network.
"""

# %%
# A base and two fine-tunes
# -------------------------
#
# The images are scikit-learn's digits: 800 to train on, 200 to choose by, and 797 for the test. The
# network is a small vision transformer of the library transformers. The base saw both kinds of
# images for a short while. Each of the three networks is saved as a folder, as people share them.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from transformers import ViTConfig, ViTForImageClassification
from transformers.utils import logging

import onefold
from onefold.checkpoints import compare_checkpoints, document_of

logging.set_verbosity_error()
logging.disable_progress_bar()
digits, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
images = digits.float().reshape(-1, 1, 8, 8) / 16
kinds = {"inverted": 1 - images, "turned": images.rot90(1, (2, 3))}
TRAINING, CHOICE, TEST = slice(0, 800), slice(800, 1000), slice(1000, None)
size = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
config = ViTConfig(
    **size, intermediate_size=128, image_size=8, patch_size=2, num_channels=1, num_labels=10
)


def train(model, kinds, epochs, rate):
    x = torch.cat([kind[TRAINING] for kind in kinds])
    y = labels[TRAINING].repeat(len(kinds))
    optimiser = torch.optim.AdamW(model.train().parameters(), rate)
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(100):
            loss = cross_entropy(model(x[index]).logits, y[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


folder = Path(tempfile.mkdtemp())
torch.manual_seed(0)
train(ViTForImageClassification(config), kinds.values(), 16, 1e-3).save_pretrained(folder / "base")
for kind, own in kinds.items():
    start = ViTForImageClassification.from_pretrained(folder / "base")
    train(start, [own], 6, 3e-4).save_pretrained(folder / kind)

# %%
# How do they differ?
# -------------------
#
# The command ``onefold compare inverted turned --base base`` prints the same table.

print(compare_checkpoints([folder / kind for kind in kinds], base=folder / "base"))

# %%
# Merging the folders
# -------------------
#
# Task arithmetic adds what both have changed to the base, times a weight. The weight is chosen by
# the 200 images that nothing was trained on. In the shell one such merge is
# ``onefold merge inverted turned --base base --method task_arithmetic --weight 0.5 -o merged``.

members = [folder / kind for kind in kinds]


def merge(name, method, **settings):
    onefold.merge_checkpoints(
        document_of(members, method, folder / "base", settings), folder / name
    )


@torch.no_grad()
def accuracies(name, part=TEST):
    model = ViTForImageClassification.from_pretrained(folder / name).eval()
    right = [model(kind[part]).logits.argmax(1) == labels[part] for kind in kinds.values()]
    return [100 * float(kind.float().mean()) for kind in right]


scales = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
found = {}
for scale in scales:
    merge(f"scale-{scale}", "task_arithmetic", weight=scale)
    found[scale] = sum(accuracies(f"scale-{scale}", CHOICE)) / 2
    print(f"weight {scale}: {found[scale]:.1f} % of the images to choose by")
best = max(found, key=found.get)

# %%
# Other methods take the same folders. Their settings here are their defaults.

merge("ties", "ties", density=0.5)
merge("model stock", "model_stock")
merge("TSV-M", "tsv_m")
merge("Iso-C", "iso_c")

# %%
# The result
# ----------
#
# On its own kind each fine-tune stays ahead, and on the other kind it lost what the base could do.
# The network that was merged with the chosen weight is above the base on both. A weight of 1 for
# both adds too much.

names = {
    "base": "base",
    **{kind: f"fine-tune, {kind}" for kind in kinds},
    f"scale-{best}": f"task arithmetic, {best}",
    "scale-1.0": "task arithmetic, 1",
    **{name: name for name in ("ties", "model stock", "TSV-M", "Iso-C")},
}
figure, axes = plt.subplots(layout="constrained")
for name, label in names.items():
    x, y = accuracies(name)
    print(f"{label:<22}inverted {x:.1f} %, turned {y:.1f} %, mean {(x + y) / 2:.1f} %")
    axes.scatter(x, y, color="0.5" if name in ("base", *kinds) else "tab:green")
    left = name in ("model stock", "Iso-C", "inverted")
    axes.text(x, y, f" {label} ", ha="right" if left else "left", va="bottom", fontsize=8)
axes.set(
    xlabel="inverted images, accuracy in %",
    ylabel="turned images, accuracy in %",
    title="Test accuracy of a base, two fine-tunes and merges",
)
axes.margins(0.15)
plt.show()

# %%
# What was merged stands in the folder: a model card, the document, and what was decided.

print((folder / f"scale-{best}" / "README.md").read_text().replace(f"{folder}/", ""))
