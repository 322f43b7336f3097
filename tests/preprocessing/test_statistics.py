import math

import numpy as np
from hypothesis import given, strategies as st

from preprocessing.statistics import AddCounts, add_counts, count_seconds, count_values, dense, quantile

values = st.lists(st.integers(0, 20), min_size=1, max_size=60)


@given(values, st.floats(0.01, 0.99))
def test_quantile_is_the_value_at_its_place(numbers, share):
    ordered = sorted(numbers)
    expected = ordered[min(math.floor(share * len(ordered)), len(ordered) - 1)]
    assert quantile(count_values(np.array(numbers, np.float64)), share) == expected


@given(st.lists(values, max_size=40))
def test_combining_counts_in_parts_equals_counting_all(parts):
    combine = AddCounts()
    accumulators = [combine.create_accumulator(), combine.create_accumulator()]
    for i, part in enumerate(parts):
        accumulators[i % 2] = combine.add_input(accumulators[i % 2], count_values(np.array(part)))
    found = dense(combine.extract_output(combine.merge_accumulators(accumulators)), 21)
    flat = [number for part in parts for number in part]
    assert found.tolist() == [flat.count(number) for number in range(21)]


def test_counts_of_times_grow_with_the_seconds_and_not_with_the_rows():
    rng = np.random.default_rng(0)
    combine = AddCounts()
    accumulator = combine.create_accumulator()
    for _ in range(20):
        accumulator = combine.add_input(accumulator, count_seconds(1.5e9 + rng.random(10_000) * 600))
    seconds, counts = combine.extract_output(accumulator)
    assert seconds.tolist() == list(range(1_500_000_000, 1_500_000_600))
    assert counts.sum() == 200_000


def test_no_counts_at_all():
    assert dense(add_counts([]), 3).tolist() == [0, 0, 0]
