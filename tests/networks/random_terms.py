"""Random axis terms of a given size."""

from __future__ import annotations

import random

from onefold.symmetry.terms import ALL, ODD, POSITIVE, Atom, Sum, Term, product, resolve


def terms_of(
    total: int, draw: random.Random, depth: int = 3, pool: list[Atom] | None = None
) -> Term:
    """A random term of `total` coordinates; some of its atoms are taken again from the pool, so
    that terms share them.
    """
    choice = draw.random()
    if depth == 0 or total < 2 or choice < 0.3:
        pool = [] if pool is None else pool
        again = [atom for atom in pool if atom.size == total]
        if again and draw.random() < 0.5:
            return draw.choice(again)
        pool.append(
            Atom(
                total,
                frozen=draw.random() < 0.1,
                reason="drawn frozen",
                maps=draw.choice([ALL, POSITIVE, ODD]),
            )
        )
        return pool[-1]
    divisors = [d for d in range(2, total) if total % d == 0]
    if divisors and choice < 0.65:
        outer = draw.choice(divisors)
        return product(
            [
                terms_of(outer, draw, depth - 1, pool),
                terms_of(total // outer, draw, depth - 1, pool),
            ]
        )
    first = draw.randrange(1, total)
    return resolve(
        Sum(
            (terms_of(first, draw, depth - 1, pool), terms_of(total - first, draw, depth - 1, pool))
        )
    )
