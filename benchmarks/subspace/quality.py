r"""Are the networks of a subspace better than plain training, SWA and EMA, and its ensembles nearly
as good as independent ones?

    python benchmarks/subspace/quality.py threeconv \
        --out benchmarks/results/subspace/quality-threeconv.json

Every method trains for the same number of epochs on the same images: plain (of which EMA is the
moving average, and several make the independent ensembles), SWA (torch.optim.swa_utils), line,
curve, simplex. Settings are chosen on held-out training images, with a seed and labels of their
own, once for clean labels and again for each share of wrong ones. Wrong labels are other labels,
drawn uniformly; held-out and test labels are right. Every run is kept in --runs, so that a stopped
benchmark goes on; the record has every seed's figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from networks import ThreeConv
from torch import Tensor, nn
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn

import onefold
from onefold.batchnorm import reestimate
from onefold.measure.scores import score_logits
from onefold.sources import build_data
from onefold.sources.networks import resnet20

NETWORKS: dict[str, dict[str, Any]] = {
    "threeconv": {
        "build": lambda: ThreeConv(),
        "data": "idx:{}/fashion_mnist",
        "images": 10000,
        "epochs": 20,
        "batch": 128,
        "size": 28,
    },
    "resnet20": {
        "build": lambda: resnet20(),
        "data": "parquet:{}/cifar10",
        "images": 4000,
        "epochs": 30,
        "batch": 64,
        "size": 12,
    },
}
SUBSPACES = ("line", "curve", "simplex")
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "plain": [{"lr": lr, "ema": 0.99} for lr in (0.1, 0.3, 0.6)],
    "swa": [{"lr": lr, "swa_lr": swa} for lr, swa in ((0.1, 0.05), (0.3, 0.1), (0.3, 0.3))],
    **{shape: [{"lr": lr, "beta": 1.0} for lr in (0.1, 0.3, 0.6)] for shape in SUBSPACES},
}
HELD_OUT, STATISTICS = 5000, 2500  # images
CHOOSING = 100  # the seed of the runs that settings are chosen with
Images = tuple[Tensor, Tensor]


def unsharded(source: str, split: str, size: int, **part: int) -> Images:
    """All images and labels of a part of the data, scaled to `size` pixels."""
    batches = list(build_data(source, split=split, batch_size=1000, **part))
    x = torch.cat(
        [
            F.interpolate(x, size=(size, size), mode="area") if x.shape[-1] != size else x
            for x, _ in batches
        ]
    )
    return x.contiguous(memory_format=torch.channels_last), torch.cat([y for _, y in batches])


def wrong_labels(labels: Tensor, share: float, seed: int) -> Tensor:
    """Labels of which a share became another one."""
    generator = torch.Generator().manual_seed(1000 + seed)
    wrong = torch.rand(len(labels), generator=generator) < share
    return torch.where(
        wrong, (labels + torch.randint(1, 10, labels.shape, generator=generator)) % 10, labels
    )


def epochs_of(images: Images, epochs: int, batch: int, seed: int) -> Iterator[Images]:
    """Shuffled batches of all epochs."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for index in torch.randperm(len(images[1]), generator=generator).split(batch):
            if len(index) == batch:
                yield images[0][index], images[1][index]


def train(
    model: nn.Module,
    images: Images,
    setting: dict[str, Any],
    network: dict[str, Any],
    seed: int,
    after: Callable[[int, int], None] = lambda *_: None,
) -> torch.optim.Optimizer:
    """SGD with momentum under a cosine after a warm-up of a twentieth; `after` sees step and total.

    A subspace adds its penalty.
    """
    epochs, batch = network["epochs"], network["batch"]
    total = epochs * (len(images[1]) // batch)
    optimiser = torch.optim.SGD(
        model.parameters(), setting["lr"], momentum=0.9, weight_decay=1e-4, fused=True
    )
    warm = max(1, total // 20)
    schedule: torch.optim.lr_scheduler.LRScheduler = torch.optim.lr_scheduler.SequentialLR(
        optimiser,
        [
            torch.optim.lr_scheduler.LinearLR(optimiser, 0.05, total_iters=warm),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total - warm),
        ],
        [warm],
    )
    if "swa_lr" in setting:
        constant = SWALR(optimiser, setting["swa_lr"], anneal_epochs=max(1, total // 20))
    model.train()
    for step, (x, y) in enumerate(epochs_of(images, epochs, batch, seed)):
        loss = F.cross_entropy(model(x), y)
        if isinstance(model, onefold.Subspace):
            loss = loss + model.diversity_penalty()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if "swa_lr" in setting and step >= 0.75 * total:
            constant.step()
        else:
            schedule.step()
        after(step, total)


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([model.eval()(x) for x in images.split(500)])


def run(
    method: str,
    setting: dict[str, Any],
    network: dict[str, Any],
    images: Images,
    seed: int,
    inputs: Tensor,
    all_points: bool = True,
) -> dict[str, Tensor]:
    """Train with one method and seed; the logits on `inputs` of everything that comes of it, by
    name, or of a subspace's midpoint alone.
    """
    torch.manual_seed(seed)
    model = network["build"]()
    statistics_on = list(images[0][:STATISTICS].split(500))
    epochs = network["epochs"]
    if method in ("plain", "swa"):
        rule = {"multi_avg_fn": get_ema_multi_avg_fn(setting["ema"])} if method == "plain" else {}
        average = AveragedModel(model, **rule)

        def after(step: int, total: int) -> None:
            if method == "plain" or (
                step >= 0.8 * total and (step + 1) % max(1, total // epochs) == 0
            ):
                average.update_parameters(model)

        train(model, images, setting, network, seed, after)
        reestimate(average.module, statistics_on)
        found = {"swa": logits(average.module, inputs)}
        if method == "plain":
            found = {"plain": logits(model, inputs), "ema": found["swa"]}
            found |= {f"weights {name}": value for name, value in model.state_dict().items()}
        return found
    space = onefold.Subspace(
        model,
        method,
        beta=setting["beta"],
        init=lambda fresh: fresh.load_state_dict(network["build"]().state_dict()),
        seed=seed,
    )
    train(space, images, setting, network, seed)
    found = {"midpoint": logits(space.midpoint(statistics_on), inputs)}
    if not all_points:
        return found
    for count in (2, 3):
        members = space.ensemble(count, statistics_on, seed=seed).members
        found |= {
            f"ensemble {count}, member {k}": logits(member, inputs)
            for k, member in enumerate(members)
        }
    if method == "simplex":
        found |= {f"vertex {k}": logits(space.vertex(k, statistics_on), inputs) for k in range(3)}
    else:
        found |= {
            f"at {k / 10}": logits(space.at(k / 10, statistics_on), inputs) for k in range(11)
        }
    return found


def straight(
    ends: list[dict[str, Tensor]], network: dict[str, Any], images: Tensor, inputs: Tensor
) -> dict[str, Tensor]:
    """Logits along the straight line between two independent networks, whose statistics are
    computed at every point as for a subspace.
    """
    found = {}
    for k in range(11):
        model = network["build"]()
        a, b = (
            {
                name.removeprefix("weights "): value
                for name, value in end.items()
                if name.startswith("weights ")
            }
            for end in ends
        )
        model.load_state_dict(
            {n: torch.lerp(v, b[n], k / 10) if v.is_floating_point() else v for n, v in a.items()}
        )
        reestimate(model, list(images[:STATISTICS].split(500)))
        found[f"at {k / 10}"] = logits(model, inputs)
    return found


def path_of(own: dict[str, Tensor], labels: Tensor) -> dict[str, float]:
    """Accuracy in percent at eleven points, and how far it falls below the ends' line."""
    path = [scores([own[f"at {k / 10}"]], labels)["accuracy"] for k in range(11)]
    barrier = max(path[0] + (path[-1] - path[0]) * k / 10 - value for k, value in enumerate(path))
    return {f"{k / 10}": round(value, 2) for k, value in enumerate(path)} | {
        "barrier": round(barrier, 2)
    }


def scores(members: list[Tensor], labels: Tensor) -> dict[str, float]:
    """Accuracy in percent, NLL in nats and ECE in percent of the mean of the members'
    probabilities.
    """
    mean = (
        torch.stack([m.log_softmax(-1) for m in members]).logsumexp(0)
        - torch.tensor(float(len(members))).log()
    )
    found = score_logits(mean, labels, bins=20)
    return {"accuracy": 100 * found.accuracy, "nll": found.nll, "ece": 100 * found.ece}


def rows(
    found: dict[str, dict[str, Tensor]], plain: list[Tensor], labels: Tensor
) -> dict[str, dict[str, float]]:
    """Everything that is compared, scored; `plain` are the independent networks of one ensemble."""
    table = {
        "plain": scores(plain[:1], labels),
        "EMA": scores([found["plain"]["ema"]], labels),
        "SWA": scores([found["swa"]["swa"]], labels),
    }
    table |= {f"independent, {n}": scores(plain[:n], labels) for n in (2, 3)}
    for shape in SUBSPACES:
        own = found[shape]
        table[f"{shape}, midpoint"] = scores([own["midpoint"]], labels)
        for n in (2, 3):
            table[f"{shape}, ensemble of {n}"] = scores(
                [own[f"ensemble {n}, member {k}"] for k in range(n)], labels
            )
        if shape == "simplex":
            table["simplex, ensemble of vertices"] = scores(
                [own[f"vertex {k}"] for k in range(3)], labels
            )
        else:
            table[f"{shape}, path"] = path_of(own, labels)
    return table | {"independent, path": path_of(found["straight"], labels)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.2, 0.4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--runs", type=Path, default=Path("members/subspace"))
    parser.add_argument(
        "--settings-of",
        type=float,
        help="choose settings with this share of wrong labels only, and use them for all",
    )
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network = dict(NETWORKS[arguments.network])
    network["epochs"] = arguments.epochs or network["epochs"]
    source, size = network["data"].format(arguments.data), network["size"]
    x, y = unsharded(source, "train", size)
    held_out = x[-HELD_OUT:], y[-HELD_OUT:]
    # a class-balanced order may not be assumed: take the images at random
    order = torch.randperm(len(y) - HELD_OUT, generator=torch.Generator().manual_seed(0))[
        : network["images"]
    ]
    test = unsharded(source, "test", size)
    arguments.runs.mkdir(parents=True, exist_ok=True)

    def cached(name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        path = arguments.runs / f"{arguments.network}-{name}-{network['epochs']}epochs.pt"
        if not path.exists():
            start = time.perf_counter()
            found = make()
            temporary = path.with_suffix(".part")
            torch.save(found, temporary)
            temporary.replace(path)
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        loaded: dict[str, Tensor] = torch.load(path, weights_only=True)
        return loaded

    def kept(method: str, setting: dict[str, Any], noise: float, seed: int) -> dict[str, Tensor]:
        name = "-".join([method, f"{noise}", f"{seed}", *(f"{k}{v}" for k, v in setting.items())])
        images, choosing = (x[order], wrong_labels(y[order], noise, seed)), seed == CHOOSING
        return cached(
            name,
            lambda: run(
                method,
                setting,
                network,
                images,
                seed,
                (held_out if choosing else test)[0],
                not choosing,
            ),
        )

    record: dict[str, Any] = {
        "network": arguments.network,
        "images": network["images"],
        "epochs": network["epochs"],
        "noise": {},
    }
    main_output = {"plain": "plain", "swa": "swa"} | dict.fromkeys(SUBSPACES, "midpoint")
    chosen: dict[str, dict[str, Any]] = {}
    for noise in arguments.noise:
        if arguments.settings_of is None or not chosen:
            tuned = noise if arguments.settings_of is None else arguments.settings_of
            tried = {
                method: [
                    (
                        scores(
                            [kept(method, s, tuned, CHOOSING)[main_output[method]]], held_out[1]
                        )["accuracy"],
                        s,
                    )
                    for s in candidates
                ]
                for method, candidates in CANDIDATES.items()
            }
            chosen = {
                method: max(results, key=lambda r: r[0])[1] for method, results in tried.items()
            }
            print(
                noise,
                {m: [(round(a, 2), s) for a, s in results] for m, results in tried.items()},
                flush=True,
            )
        groups = []
        for seed in arguments.seeds:
            found = {method: kept(method, chosen[method], noise, seed) for method in CANDIDATES}
            others = [kept("plain", chosen["plain"], noise, 10 * (seed + 1) + k) for k in (1, 2)]
            ends = [found["plain"], others[0]]
            name = f"straight-{noise}-{seed}-lr{chosen['plain']['lr']}"
            found["straight"] = cached(
                name, lambda ends=ends: straight(ends, network, x[order], test[0])
            )  # type: ignore[misc]
            groups.append(
                rows(found, [found["plain"]["plain"], *(o["plain"] for o in others)], test[1])
            )
        table = {
            row: {
                key: [
                    statistics.mean(g[row][key] for g in groups),
                    statistics.stdev(g[row][key] for g in groups),
                ]
                for key in groups[0][row]
            }
            for row in groups[0]
        }
        record["noise"][str(noise)] = {
            "settings": chosen,
            "seeds": groups,
            "mean and deviation": table,
        }
        for row, values in table.items():
            print(
                noise,
                row,
                {key: f"{mean:.2f} ± {deviation:.2f}" for key, (mean, deviation) in values.items()},
                flush=True,
            )
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
