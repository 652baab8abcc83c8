"""One tensor of a few models that stem from a base, and methods with settings for it."""

import torch

from onefold.checkpoints.methods import TensorInputs, methods, settings_of

REQUIRED = {"t": 0.3}
GIVEN = {"weight": (0.3, 0.5, 0.9), "density": (0.3, 0.6, 0.9), "gamma": (0.05, 0.1, 0.2)}
GIVEN["epsilon"] = (0.1, 0.05, 0.02)


def related(count, shape=(12, 20), seed=0, scale=0.3, dtype=torch.float32):
    """A base and `count` models near it."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator)
    common = torch.randn(shape, generator=generator)
    models = [
        base + scale * (common + torch.randn(shape, generator=generator)) for _ in range(count)
    ]
    return base.to(dtype), [model.to(dtype) for model in models]


def made(name, **settings):
    """A method, with values for the settings that it needs."""
    kind = methods.get(name)
    needed = {p.field: REQUIRED[p.name] for p in settings_of(kind) if p.required}
    return kind(**{**needed, **settings})


def number_of(name, wanted=3):
    """As many models as the method takes, at most `wanted`."""
    kind = methods.get(name)
    return max(kind.least, min(wanted, kind.most or wanted))


def parameters_of(name, count, given=GIVEN):
    """Parameters for each model."""
    known = [p.name for p in methods.get(name).per_model if p.name in given]
    return [{key: given[key][i % len(given[key])] for key in known} for i in range(count)]


def inputs_of(name, models, base, parameters=None, seed=0, **more):
    """The inputs of a method; the base only if it has one."""
    kind = methods.get(name)
    if parameters is None:
        parameters = parameters_of(name, len(models))
    names = more.pop("names", [f"model {i}" for i in range(len(models))])
    base = base if kind.allows_base else None
    return TensorInputs("layer.weight", models, names, base, parameters, seed, **more)


def merged(name, models, base, parameters=None, settings=None, **more):
    """A tensor merged by a method."""
    method = made(name, **(settings or {}))
    return method.apply(method.prepare(inputs_of(name, models, base, parameters, **more)))
