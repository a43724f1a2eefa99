"""The front against its definition."""

import random

import pytest

from mapper.sweep.pareto import front


def beaten(one, other):
    return one[0] == other[0] and other[1] <= one[1] and other[2] <= one[2] and other[1:] != one[1:]


@pytest.mark.parametrize("seed", range(20))
def test_front_is_what_nothing_beats(seed):
    rng = random.Random(seed)
    points = [(rng.choice("ab"), rng.randrange(8), rng.randrange(8)) for _ in range(40)]
    assert front(points) == {
        i for i, p in enumerate(points) if not any(beaten(p, other) for other in points)
    }


def test_equal_points_are_on_it_together():
    assert front([("a", 1, 1), ("a", 1, 1), ("a", 1, 2)]) == {0, 1}
    assert front([]) == set()
