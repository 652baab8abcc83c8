"""Where each row of a model's vocabulary is from: its own, or which rows of other models.

The order of the rules: the row that the document forces; the model's own row; the row that the
document names; that of the only model that has the token; the base's; the mean of those that have
it; zeros. Padding rows: the model's own at the same place, else another model's, else the mean of
the rows of all tokens.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping

from onefold.checkpoints.document import Reference
from onefold.checkpoints.vocabulary.content import Vocabulary
from onefold.checkpoints.vocabulary.plan import Fill, MemberRows, Origin

Rows = tuple[tuple[Reference, int], ...]  # the mean of these rows; none: zeros
Source = tuple[Origin, Rows]


class Filling:
    """Sources of rows for all models of a merge.

    Args:
        tokens: the number of each token of the result.
        size: the number of rows of the result.
        vocabularies: those of the models that are merged, with `rows` known, the base first.
        base: the base; None: there is none.
        named: the rows that the document names, by token; no rows are zeros.
        forced: the tokens whose row is replaced in all models.
    """

    def __init__(
        self,
        tokens: Mapping[str, int],
        size: int,
        vocabularies: Mapping[Reference, Vocabulary],
        base: Reference | None,
        named: Mapping[str, Rows],
        forced: frozenset[str],
    ) -> None:
        self.tokens = tokens
        self.size = size
        self.vocabularies = vocabularies
        self.base = base
        self.named = named
        self.forced = forced
        self._token_sources: dict[str, Source] = {}
        self._padding_sources: dict[int, Source] = {}
        used = set(tokens.values())
        self.padding = [row for row in range(size) if row not in used]

    def rows_of(self, member: Reference) -> MemberRows:
        """Where the rows of one model are from."""
        vocabulary = self.vocabularies[member]
        held = vocabulary.rows or 0
        own = array("q", range(self.size))
        filled: dict[tuple[Origin, tuple[Reference, ...]], list[tuple[int, Rows]]] = {}
        counts: Counter[Origin] = Counter()
        # Most tokens have the same number in both, which sets tell faster than a loop.
        changed = {token for token, _ in self.tokens.items() - vocabulary.tokens.items()}
        changed.update(self.forced)
        for token in sorted(changed, key=self.tokens.__getitem__):
            row = self.tokens[token]
            number = vocabulary.tokens.get(token)
            if number is not None and token not in self.forced:
                own[row] = number
            else:
                own[row] = -1
                self._fill(filled, counts, row, self.source_of(token))
        counts["own"] = len(self.tokens) - sum(counts.values())
        for row in self.padding:
            if row < held and row not in vocabulary.by_number:
                counts["own padding"] += 1
            else:
                own[row] = -1
                self._fill(filled, counts, row, self._padding_of(row))
        tokens = array("q", sorted(vocabulary.tokens.values()))
        if held == self.size and not filled and all(row == at for at, row in enumerate(own)):
            return MemberRows(member, held, self.size, tokens=tokens, counts=dict(counts))
        fills = tuple(_packed(origin, models, rows) for (origin, models), rows in filled.items())
        return MemberRows(member, held, self.size, own, fills, tokens, dict(counts))

    @staticmethod
    def _fill(
        filled: dict[tuple[Origin, tuple[Reference, ...]], list[tuple[int, Rows]]],
        counts: Counter[Origin],
        row: int,
        source: Source,
    ) -> None:
        origin, rows = source
        counts[origin] += 1
        filled.setdefault((origin, tuple(model for model, _ in rows)), []).append((row, rows))

    def source_of(self, token: str) -> Source:
        """By which rule a token's row is filled in a model that has it not, and from where."""
        if token not in self._token_sources:
            self._token_sources[token] = self._found(token)
        return self._token_sources[token]

    def _found(self, token: str) -> Source:
        if token in self.named:
            rows = self.named[token]
            return ("named" if rows else "zero"), rows
        owners = tuple(
            (model, one.tokens[token])
            for model, one in self.vocabularies.items()
            if token in one.tokens
        )
        if not owners:
            return "zero", ()
        if len(owners) == 1:
            return "only owner", owners
        bases = tuple(one for one in owners if one[0] == self.base)
        return ("base", bases) if bases else ("mean of owners", owners)

    def _padding_of(self, row: int) -> Source:
        if row not in self._padding_sources:
            found: Source = ("mean row", ())
            for model, one in self.vocabularies.items():
                if row < (one.rows or 0) and row not in one.by_number:
                    found = ("other padding", ((model, row),))
                    break
            self._padding_sources[row] = found
        return self._padding_sources[row]


def _packed(origin: Origin, models: tuple[Reference, ...], found: list[tuple[int, Rows]]) -> Fill:
    rows = array("q", [row for row, _ in found])
    sources = tuple(
        (model, array("q", [sources[place][1] for _, sources in found]))
        for place, model in enumerate(models)
    )
    return Fill(origin, rows, sources)
