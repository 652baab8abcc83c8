"""Slow loops written from the equations, in float64 and one element at a time where that matters.

`expected(name, models, base, parameters, settings)` is what a method is compared with.
"""

import math

import torch


def deltas(models, base):
    return [model - base for model in models]


def top(values, keep, earlier_first=True):
    """Flat mask of the `keep` largest magnitudes; of equal ones the earlier or the later."""
    flat = values.abs().flatten().tolist()
    order = sorted(range(len(flat)), key=lambda i: (-flat[i], i if earlier_first else -i))
    mask = torch.zeros(len(flat), dtype=torch.float64)
    mask[order[:keep]] = 1
    return mask.view(values.shape)


def trimmed(name, delta, given):
    numel, density = delta.numel(), given.get("density", 1.0)
    if name == "ties":
        if density >= 1:
            return delta
        keep = max(1, int(density * numel)) if density > 0 else 0
        return delta * top(delta, keep)
    if name.startswith("breadcrumbs"):
        if density >= 1:
            return delta
        keep, drop = int(density * numel), int(given.get("gamma", 0.01) * numel)
        low = max(0, numel - keep - drop)
        mask = top(delta, numel - low, False) - top(delta, numel - low - keep, False)
        return delta * mask
    return delta


def elected(changes, weights):
    total = sum(changes)
    sign = torch.where(total >= 0, 1.0, -1.0).double()
    agree = [(change.sign() == sign).double() for change in changes]
    merged = sum(change * a for change, a in zip(changes, agree, strict=True))
    return merged, sum(w * a for w, a in zip(weights, agree, strict=True))


def summed(name, models, base, parameters, settings):
    weights = [given["weight"] for given in parameters]
    changes = []
    for delta, given in zip(deltas(models, base), parameters, strict=True):
        kept = trimmed(name, delta, given)
        if settings.get("rescale") and kept.abs().sum() >= 1e-7 and name != "task_arithmetic":
            kept = kept * delta.abs().sum() / kept.abs().sum()
        changes.append(kept * given["weight"])
    if name in ("ties", "breadcrumbs_ties"):
        merged, divisor = elected(changes, weights)
        divisor = torch.where(divisor == 0, 1.0, divisor)
    else:
        merged, divisor = sum(changes), sum(weights) if abs(sum(weights)) >= 1e-8 else 1.0
    if settings.get("normalize", name == "ties"):
        merged = merged / divisor
    return base + settings.get("lambda_", 1.0) * merged


def slerp(a, b, t, straight):
    cosine = (a * b).sum() / max(a.norm() * b.norm(), 1e-300)
    cosine = float(cosine.clamp(-1, 1))
    if straight(cosine):
        return (1 - t) * a + t * b
    angle = math.acos(cosine)
    return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)


def nuslerp(models, base, parameters, settings):
    weights = [given["weight"] for given in parameters]
    t = 0.5 if abs(sum(weights)) < 1e-6 else weights[1] / sum(weights)
    a, b = models if base is None else deltas(models, base)

    def between(x, y):
        return slerp(x, y, t, lambda cosine: 1 - cosine**2 <= 1e-16)

    if settings.get("nuslerp_flatten", True) or a.dim() < 2:
        found = between(a.flatten(), b.flatten()).view(a.shape)
    elif settings.get("nuslerp_row_wise", False):
        x, y = a.reshape(len(a), -1).T, b.reshape(len(b), -1).T
        found = torch.stack([between(p, q) for p, q in zip(x, y, strict=True)]).T.reshape(a.shape)
    else:
        x, y = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
        found = torch.stack([between(p, q) for p, q in zip(x, y, strict=True)]).view(a.shape)
    return found if base is None else found + base


def multislerp(models, base, parameters, settings):
    """With the tangent step that is zero in exact arithmetic."""
    vectors = models if base is None else deltas(models, base)
    weights = [given["weight"] for given in parameters]
    if settings.get("normalize_weights", True):
        weights = [weight / sum(weights) for weight in weights]
    units = [v / (v.norm() + 1e-8) for v in vectors]
    mean = sum(w * u for w, u in zip(weights, units, strict=True))
    mean = mean / mean.norm()
    step = sum(w * (u - (u * mean).sum() * mean) for w, u in zip(weights, units, strict=True))
    length = step.norm() + 1e-8
    found = torch.cos(length) * mean + torch.sin(length) / length * step
    found = found * sum(w * v.norm() for w, v in zip(weights, vectors, strict=True))
    return found if base is None else found + base


def karcher(models, settings):
    norms = [model.norm() for model in models]
    units = [m / n for m, n in zip(models, norms, strict=True) if n > settings.get("tol", 1e-5)]
    mean = sum(units) / len(units)
    mean = mean / mean.norm()
    for _ in range(settings.get("max_iter", 10)):
        step = torch.zeros_like(mean)
        for unit in units:
            cosine = (unit * mean).sum().clamp(-1, 1)
            angle = torch.arccos(cosine)
            if angle >= settings.get("tol", 1e-5):
                step += angle / torch.sin(angle) * (unit - cosine * mean) / len(units)
        length = step.norm()
        if length < settings.get("tol", 1e-5):
            break
        mean = torch.cos(length) * mean + torch.sin(length) * step / length
        mean = mean / mean.norm()
    return mean * sum(norms) / len(norms)


def model_stock(models, base, settings):
    rows = base.shape[-1] if settings.get("filter_wise") else base.numel()
    changes = [d.reshape(-1, rows) for d in deltas(models, base)]
    merged = []
    for row in range(len(changes[0])):
        vectors, cosines = [c[row] for c in changes], []
        for i in range(len(vectors)):
            for j in range(i + 1, len(vectors)):
                below = max(float(vectors[i].norm() * vectors[j].norm()), 1e-6)
                cosines.append(min(max(float(vectors[i] @ vectors[j]) / below, -1), 1))
        cosine, n = sum(cosines) / len(cosines), len(vectors)
        below = 1 + (n - 1) * cosine
        t = 0.0 if abs(below) < 1e-6 else n * cosine / below
        merged.append(t * sum(vectors) / n)
    return base + torch.stack(merged).view(base.shape)


def sce(models, base, settings):
    changes, topk = deltas(models, base), settings.get("select_topk", 1.0)
    if topk < 1:
        variance = torch.stack(changes).var(0, unbiased=False)
        keep = int(topk * int((variance != 0).sum()))
        changes = [change * top(variance, keep) for change in changes]
    squares = [float(change.square().mean()) for change in changes]
    if sum(squares) < 1e-6:
        weights = [1 / len(squares)] * len(squares)
    else:
        weights = [square / sum(squares) for square in squares]
    sign = torch.where(sum(changes) >= 0, 1.0, -1.0).double()
    agree = [(c.sign() == sign).double() * w for c, w in zip(changes, weights, strict=True)]
    merged = sum(c * a for c, a in zip(changes, agree, strict=True))
    return base + merged / sum(agree).clamp(min=1e-6)


def arcee_fusion(model, base):
    p, q = torch.softmax(model, -1) + 1e-8, torch.softmax(base, -1) + 1e-8
    importance = (model - base).abs() * (p * (p / q).log()).sum(-1, keepdim=True)
    ordered = importance.flatten().sort().values
    low, middle, high = (ordered[int(q * (len(ordered) - 1))] for q in (0.25, 0.5, 0.75))
    return torch.where(importance >= middle + 1.5 * (high - low), model, base)


def ram(models, base, settings, plus):
    changes, limit = deltas(models, base), settings.get("epsilon", 1e-5)
    active = [change.abs() > limit for change in changes]
    count = sum(a.int() for a in active)
    merged = torch.zeros_like(base)
    for change, mine in zip(changes, active, strict=True):
        alone = mine & (count == 1)
        factor = 1.0
        if plus:
            ratio = int((mine & (count > 1)).sum()) / max(int(alone.sum()), limit)
            factor = 1 + settings.get("r", 0.1) * min(max(ratio, 0), settings.get("alpha", 0.2))
        merged += torch.where(alone, change * factor, torch.where(mine, change / count, 0.0))
    return base + merged


def magmax(models, base, settings):
    changes = torch.stack(deltas(models, base))
    place = changes.abs().argmax(0, keepdim=True)
    return base + settings.get("lambda_", 1.0) * changes.gather(0, place)[0]


def expected(name, models, base, parameters, settings):
    """The merged tensor in float64; all tensors are float64."""
    weights = [given.get("weight") for given in parameters]
    if name == "linear":
        total = sum(weights) if settings.get("normalize", True) else 1.0
        return sum(w * m for w, m in zip(weights, models, strict=True)) / total
    if name == "slerp":
        a, b = base.flatten(), models[0].flatten()
        return slerp(a, b, settings["t"], lambda c: abs(c) > 0.9995).view(base.shape)
    if name == "nearswap":
        delta = models[0] - base
        return base + (settings["t"] / delta.abs().clamp(min=1e-6)).clamp(0, 1) * delta
    if name == "passthrough":
        scale = parameters[0].get("scale")
        return models[0] if scale is None else models[0] * scale
    simple = {
        "nuslerp": lambda: nuslerp(models, base, parameters, settings),
        "multislerp": lambda: multislerp(models, base, parameters, settings),
        "karcher": lambda: karcher(models, settings),
        "model_stock": lambda: model_stock(models, base, settings),
        "sce": lambda: sce(models, base, settings),
        "arcee_fusion": lambda: arcee_fusion(models[0], base),
        "ram": lambda: ram(models, base, settings, False),
        "ramplus_tl": lambda: ram(models, base, settings, True),
        "magmax": lambda: magmax(models, base, settings),
    }
    if name in simple:
        return simple[name]()
    return summed(name, models, base, parameters, settings)
