"""
A subspace in the Trainer of transformers
=========================================

The Trainer of the package transformers takes a ``Subspace`` of a model as it takes the model. A
callback adds the penalty to the loss, and logs the middle and the ends of the line at every
evaluation. The model here is a small BERT, made from its configuration: nothing is downloaded.
"""

# %%
# A small task in words
# ---------------------
#
# A sentence is eight words drawn at random: praise, blame and others. The question is whether there
# is more praise than blame. A third of the 500 training sentences have random labels.

import random
import re
import tempfile

import matplotlib.pyplot as plt
import torch
import transformers

import onefold
from onefold.integrations.transformers import AveragingCallback, SubspaceCallback

transformers.utils.logging.set_verbosity_error()
praise = re.findall(r"\w+", "good great fine lovely brilliant superb charming clever warm honest")
blame = re.findall(r"\w+", "bad awful poor dreadful dull clumsy tedious shallow cold false")
others = re.findall(r"\w+", "the a film book story it was and very rather with quite")
words = [*praise, *blame, *others]


def sentences(count, wrong, seed):
    draw, rows = random.Random(seed), []
    while len(rows) < count:
        drawn = draw.choices(words, k=8)
        more = sum(word in praise for word in drawn) - sum(word in blame for word in drawn)
        if more:
            label = int(more > 0) if len(rows) >= wrong * count else draw.randrange(2)
            tokens = [words.index(word) for word in drawn]
            rows.append({"input_ids": tokens, "attention_mask": [1] * 8, "labels": label})
    print(f"{count} sentences, as '{' '.join(drawn)}'")
    return rows


training, held = sentences(500, wrong=1 / 3, seed=0), sentences(1000, wrong=0, seed=1)

# %%
# The Trainer
# -----------
#
# One setting matters: a Trainer drops what the network's ``forward`` does not name, and a subspace
# passes on whatever it gets. So ``remove_unused_columns`` is off.


def model():
    transformers.set_seed(0)
    settings = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=8,
    )
    return transformers.BertForSequenceClassification(settings)


def trainer_of(network, folder):
    arguments = transformers.TrainingArguments(
        folder,
        num_train_epochs=30,
        per_device_train_batch_size=50,
        per_device_eval_batch_size=500,
        learning_rate=2e-3,
        eval_strategy="epoch",
        logging_strategy="epoch",
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = transformers.Trainer(network, arguments, train_dataset=training, eval_dataset=held)
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


# %%
# A line of networks, with the callback, and an average of the last quarter of a plain training.

with tempfile.TemporaryDirectory() as folder:
    space = onefold.Subspace(model(), shape="line")
    trainer = trainer_of(space, folder)
    trainer.add_callback(SubspaceCallback(trainer))
    trainer.train()
    plain = trainer_of(model(), folder)
    averaging = AveragingCallback(plain, "uniform")
    plain.add_callback(averaging)
    plain.train()
logs = [row for row in trainer.state.log_history if "eval_midpoint_accuracy" in row]
print("logged:", ", ".join(sorted(logs[-1])))

# %%
# What the callbacks logged
# -------------------------

figure, axes = plt.subplots(layout="constrained")
for name, found in {
    "eval_midpoint_accuracy": logs,
    "eval_vertex_0_accuracy": logs,
    "eval_vertex_1_accuracy": logs,
    "eval_average_accuracy": [r for r in plain.state.log_history if "eval_average_accuracy" in r],
}.items():
    axes.plot([row["epoch"] for row in found], [100 * row[name] for row in found], label=name)
axes.set(
    xlabel="epoch", ylabel="held-out accuracy, %", title="Accuracy along a training by the Trainer"
)
axes.legend(loc="lower right")
plt.show()

# %%
# The results
# -----------
#
# ``midpoint`` gives a plain BERT, which ``save_pretrained`` writes as usual.

held_out = [{key: torch.stack([torch.tensor(row[key]) for row in held]) for key in held[0]}]
for name, each in {
    "plain training": plain.model.eval(),
    "average of the last steps": averaging.averaged(),
    "middle of the line": space.midpoint(),
    "one end of the line": space.vertex(0),
}.items():
    scores = onefold.evaluate(each, held_out)
    print(f"{name:<28}{type(each).__name__:<32}{100 * scores.accuracy:.1f} %")
