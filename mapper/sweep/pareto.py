"""Which configurations no other one beats."""

from collections.abc import Hashable, Sequence


def front(points: Sequence[tuple[Hashable, float, float]]) -> set[int]:
    """Indices of the points (group, x, y) that no point of the same group is as good as in both and better in one.

    Smaller is better. Equal points are on the front together. O(n log n).
    """
    best: dict[Hashable, tuple[float, float]] = {}  # the last point of the front
    found = set()
    for index in sorted(range(len(points)), key=lambda i: points[i][1:]):
        group, x, y = points[index]
        last = best.get(group)
        if last is None or y < last[1] or (x, y) == last:
            best[group] = x, y
            found.add(index)
    return found
