"""Small logs for the counted baselines."""

import numpy as np

from trainer.histories import Histories, nearest_events

NUMBER = 18
"""Items of `colours`."""
COLD = (16, 17)
"""Those that nobody meets."""


def histories(sequences, users=None, weight=1.0):
    """Histories of item sequences; by default each of another user."""
    users = range(len(sequences)) if users is None else users
    lengths = [len(sequence) for sequence in sequences]
    item = np.array([item for sequence in sequences for item in sequence], np.int64)
    return Histories(
        item=item,
        user=np.repeat(np.array(users, np.int64), lengths),
        sequence=np.repeat(np.arange(len(sequences)), lengths),
        weight=np.full(len(item), weight, np.float32),
    )


def colours(users=60, seed=0):
    """Each user stays on one colour of the checkerboard, as in the toys; the two last items are never met."""
    rng = np.random.default_rng(seed)
    return [rng.choice(np.arange(user % 2, 16, 2), 6, replace=False).tolist() for user in range(users)]


def pair_events(sequences, window=5):
    """Trigger events as the preprocessing mines them: the next rows, each item once, where it is nearest."""
    found = []
    for user, sequence in enumerate(sequences):
        for row, item in enumerate(sequence):
            after = [other for other in sequence[row + 1 : row + 1 + window] if other != item]
            if after:
                found.append((user, item, list(dict.fromkeys(after))))
    return found


def as_events(found, weight=1.0):
    return nearest_events(
        trigger=np.array([item for _, item, _ in found], np.int64),
        user=np.array([user for user, _, _ in found], np.int64),
        lengths=np.array([len(after) for _, _, after in found], np.int64),
        target=np.array([other for _, _, after in found for other in after], np.int64),
        weight=np.full(sum(len(after) for _, _, after in found), weight, np.float32),
    )
