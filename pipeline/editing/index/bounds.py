"""Lower bounds of Euclidean distances, so that an exact search reads almost none of the vectors.

Let P be m orthonormal directions and c, q two vectors seen from a fixed origin. With c_r and q_r the norms of
what P leaves of them, the triangle inequality on the rest gives

    |q - c|^2 >= |Pq - Pc|^2 + (q_r - c_r)^2 = |q|^2 + |c|^2 - 2 (Pq . Pc + q_r c_r),

so a vector is sketched by m + 2 numbers and a whole index is bounded by one product of a [1, m + 2] with a
[m + 2, c] matrix. The directions are the principal ones of a sample: whatever they are the bound holds, and
the better they fit the more it rules out. One more number, the squared reach of a cluster's scope, tells in
the same product which scopes can hold a query at all, however large the largest of them is.

Shape letters: b queries, c stored vectors, d width, m directions, n surviving pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

DIRECTIONS = 14
SAMPLE = 2048
SCORES_AT_ONCE = 2**18
"""Scores computed before they are looked at: 1 MB, so that they stay in the cache."""
BLOCK = 256
"""Scores reduced to their least before any is looked at alone. Capacity is a multiple of it."""
ROWS_AT_ONCE = 4096
"""Vectors sketched at once: 16 MB of float64 at width 512."""
ROUNDING = 2.0**-24
TINY = 1e-36
"""Absolute slack: products of float32 may vanish below 1e-38."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Queries, prepared for scanning.

    Attributes:
        coordinates: [b, m + 1] float32, Pq and q_r.
        squares: [b] float64, |q|^2.
    """

    coordinates: torch.Tensor
    squares: torch.Tensor

    def __getitem__(self, which: torch.Tensor) -> Probe:
        return Probe(self.coordinates[which], self.squares[which])


@dataclass(frozen=True, slots=True)
class Pairs:
    """Queries and rows that a bound could not tell apart.

    Attributes:
        queries: [n] int64.
        rows: [n] int64.
        crowded: [b] bool, queries with more survivors than asked for. None of their pairs are given.
    """

    queries: torch.Tensor
    rows: torch.Tensor
    crowded: torch.Tensor


class Bounds:
    """Sketches of c vectors, each with the reach of its scope. Rows are numbered by the caller.

    Args:
        width: d, the width of the vectors.
        directions: m, at most d of them are used.
    """

    def __init__(self, width: int, directions: int = DIRECTIONS) -> None:
        self.directions = min(directions, width)
        self.count = 0
        self.fitted = 0
        self._origin = torch.zeros(width, dtype=torch.float64)
        self._basis = torch.eye(width, self.directions, dtype=torch.float64)  # [d, m]
        self._sketch = torch.empty(self.directions + 3, 0)  # [m + 3, capacity]: a product reads it in one stream
        # A sum of K float32 products is off by less than K + 3 roundings of the sum of their magnitudes, which
        # is below 2 |c|^2 + |q|^2 + reach^2. Each of the three gives its share, so that no bound is too high.
        self._slack = 2 * (self.directions + 3 + 4) * ROUNDING

    def fit(self, vectors: torch.Tensor) -> None:
        """Chooses origin and directions anew from an even sample; every row has to be put again.

        Args:
            vectors: [c, d] float32.
        """
        self.fitted, self.count = len(vectors), 0
        sample = vectors[:: math.ceil(len(vectors) / SAMPLE)].double()
        self._origin = sample.mean(0)
        sample -= self._origin
        # Subspace iteration: three rounds find the leading directions well, and an own generator leaves the
        # global one alone. The added noise keeps the basis orthonormal where the sample has a lower rank.
        generator = torch.Generator().manual_seed(0)
        shape = (vectors.shape[1], self.directions)
        basis = torch.randn(shape, generator=generator, dtype=torch.float64)
        for _ in range(3):
            image = sample.T @ (sample @ basis)
            noise = torch.randn(shape, generator=generator, dtype=torch.float64)
            basis = torch.linalg.qr(image / image.norm().clamp_min(1e-300) + 1e-9 * noise).Q
        self._basis = basis

    def put(self, rows: torch.Tensor, vectors: torch.Tensor, reaches: torch.Tensor) -> None:
        """Writes rows; new ones must follow the last without a gap.

        Args:
            rows: [n] int64.
            vectors: [n, d] float32.
            reaches: [n] float64, how far from its vector a row's scope reaches.
        """
        if not len(rows):
            return
        self.count = max(self.count, int(rows.max()) + 1)
        capacity = self._sketch.shape[1]
        if self.count > capacity:
            larger = torch.empty(len(self._sketch), -(-max(2 * capacity, self.count) // BLOCK) * BLOCK)
            larger[:, :capacity] = self._sketch
            self._sketch = larger
            self._clear(capacity)
        for some, part, reach in zip(*(t.split(ROWS_AT_ONCE) for t in (rows, vectors, reaches)), strict=True):
            probe = self.probe(part)
            self._sketch[:-2, some] = -2 * probe.coordinates.T
            self._sketch[-2, some] = (probe.squares * (1 - self._slack)).float()
            self._sketch[-1, some] = -(reach.double().square() * (1 + self._slack)).float()

    def move(self, sources: torch.Tensor, targets: torch.Tensor, count: int) -> None:
        """Moves rows ``sources`` to ``targets`` and keeps the first ``count`` rows."""
        self._sketch[:, targets] = self._sketch[:, sources]
        self._clear(count)
        self.count = count

    def _clear(self, start: int) -> None:
        """Puts all rows from ``start`` on infinitely far away: they fill the last block and never survive."""
        self._sketch[:, start:] = 0
        self._sketch[-2, start:] = math.inf

    def probe(self, queries: torch.Tensor) -> Probe:
        """Prepares queries, [b, d] float32 -> Probe of b."""
        centred = queries.double() - self._origin  # [b, d]
        inside = centred @ self._basis  # [b, m]
        rest = torch.addmm(centred, inside, self._basis.T, alpha=-1).norm(dim=1, keepdim=True)  # [b, 1]
        return Probe(torch.cat((inside, rest), 1).float(), centred.square().sum(1))

    def scopes(self, probe: Probe, limit: int) -> Pairs:
        """Rows whose scope may hold a query; no other scope does.

        Args:
            probe: b queries.
            limit: survivors of one query after which it counts as crowded.
        """
        return self._scan(probe, torch.zeros_like(probe.squares), 1.0, limit)

    def within(self, probe: Probe, squares: torch.Tensor, limit: int) -> Pairs:
        """Rows that may be as near to a query as a squared distance; all others are farther.

        Args:
            probe: b queries.
            squares: [b] float64, squared distances.
            limit: survivors of one query after which it counts as crowded.
        """
        return self._scan(probe, squares, 0.0, limit)

    def least_reach(self) -> float:
        """A squared distance that every scope reaches: rows that near to a query are among those of ``scopes``."""
        return -float(self._sketch[-1, : self.count].max()) * (1 - 2 * self._slack)

    def lowest(self, probe: Probe) -> torch.Tensor:
        """For each query the row with the lowest bound, [b] int64: a good first guess of the nearest one."""
        best = torch.full((len(probe.squares),), math.inf)
        rows = torch.zeros(len(best), dtype=torch.int64)
        weights = self._weights(probe, 0.0)
        for start, sketch in self._tiles(len(best)):
            scores, columns = (weights @ sketch).min(1)
            lower = scores < best
            best[lower], rows[lower] = scores[lower], columns[lower] + start
        return rows

    def _scan(self, probe: Probe, squares: torch.Tensor, reach: float, limit: int) -> Pairs:
        """Pairs with |q|^2 + score <= squares, where score is one product of weights and sketch."""
        weights = self._weights(probe, reach)
        ceiling = (squares * (1 + self._slack) - probe.squares * (1 - self._slack) + TINY).float()  # [b]
        seen = torch.zeros(len(ceiling), dtype=torch.int64)
        queries, rows = [seen[:0]], [seen[:0]]
        for start, sketch in self._tiles(len(ceiling)):
            scores = (weights @ sketch).unflatten(1, (-1, BLOCK))  # [b, blocks, BLOCK]
            query, block = (scores.amin(2) <= ceiling[:, None]).nonzero(as_tuple=True)
            if not len(query):
                continue
            which, column = (scores[query, block] <= ceiling[query, None]).nonzero(as_tuple=True)
            queries.append(query[which])
            rows.append(block[which] * BLOCK + column + start)
            seen += torch.bincount(queries[-1], minlength=len(seen))
            ceiling[seen > limit] = -math.inf  # given up: the caller has a better way for a crowded query
        crowded = seen > limit
        which, row = torch.cat(queries), torch.cat(rows)
        if crowded.any():
            kept = ~crowded[which]
            which, row = which[kept], row[kept]
        return Pairs(which, row, crowded)

    def _weights(self, probe: Probe, reach: float) -> torch.Tensor:
        """[b, m + 3]: the coordinates, 1 for |c|^2, and whether the reach counts."""
        b = len(probe.squares)
        return torch.cat((probe.coordinates, torch.ones(b, 1), torch.full((b, 1), reach)), 1)

    def _tiles(self, b: int) -> list[tuple[int, torch.Tensor]]:
        size = max(SCORES_AT_ONCE // max(b, 1) // BLOCK, 4) * BLOCK
        used = -(-self.count // BLOCK) * BLOCK
        return [(s, self._sketch[:, s : min(s + size, used)]) for s in range(0, used, size)]
