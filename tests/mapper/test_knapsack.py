import itertools

import numpy as np
import pytest

from mapper.knapsack import Knapsack, Option, cheapest, share


def things(seed, count=4, options=4):
    rng = np.random.default_rng(seed)
    made = [
        [Option(int(rng.integers(0, 9)), float(rng.integers(0, 20))) for _ in range(options)]
        for _ in range(count)
    ]
    return [sorted(options, key=lambda o: o.value) for options in made]


@pytest.mark.parametrize("seed", range(10))
def test_knapsack_is_exact(seed):
    mine = things(seed)
    made = Knapsack(mine, 20)
    for budget in range(21):
        fits = [c for c in itertools.product(*mine) if sum(o.cost for o in c) <= budget]
        best = min((sum(o.value for o in c) for c in fits), default=np.inf)
        assert made.values[budget] == best
        if fits:
            picked = [o[n] for o, n in zip(mine, made.picks(budget), strict=True)]
            assert sum(o.cost for o in picked) <= budget
            assert sum(o.value for o in picked) == best


@pytest.mark.parametrize("seed", range(10))
def test_share_is_exact_and_takes_no_more_than_needed(seed):
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, 9, 8).astype(float) for _ in range(3)]
    for column in columns:
        column[: rng.integers(1, 3)] = np.inf
    value, shares = share(columns, 7)
    sums = {
        amounts: sum(c[n] for c, n in zip(columns, amounts, strict=True))
        for amounts in itertools.product(range(8), repeat=3)
        if sum(amounts) <= 7
    }
    assert value == sums[tuple(shares)] == min(sums.values())
    assert sum(shares) == min(sum(a) for a, total in sums.items() if total == value)


def test_share_of_too_little():
    column = np.array([np.inf, np.inf, 1.0])
    assert share([column, column], 2)[0] == np.inf


@pytest.mark.parametrize("seed", range(10))
def test_cheapest_is_exact(seed):
    mine = things(seed)
    least = sum(options[0].value for options in mine)
    for bound in (least, least + 4, least + 15):
        fits = [c for c in itertools.product(*mine) if sum(o.value for o in c) <= bound]
        best = min((sum(o.cost for o in c), sum(o.value for o in c)) for c in fits)
        picked = [o[n] for o, n in zip(mine, cheapest(mine, bound), strict=True)]
        assert (sum(o.cost for o in picked), sum(o.value for o in picked)) == best
