"""A hand-written script that mines the same pairs without Beam: ``python -m benchmarks.stages.peer_pairs LOG OUTPUT``.

pyarrow reads the log, numpy mines it, ``tf.io.TFRecordWriter`` writes blocks of pairs. It knows nothing of bad rows,
the split, validation, items or counts, and holds everything in memory. Prints the number of pairs.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow.csv
import tensorflow as tf

_BLOCK = 8192


def main(log: str, output: str, window: int = 20, cap: int = 1000) -> int:
    """Mines all pairs of a log with columns ``user_id``, ``invoice`` or ``session_id``, ``item_id``, ``timestamp``."""
    table = pyarrow.csv.read_csv(log)
    session = "invoice" if "invoice" in table.column_names else "session_id"
    user, session, item = (
        table[name].combine_chunks().dictionary_encode().indices.to_numpy() for name in ("user_id", session, "item_id")
    )
    time = table["timestamp"].to_numpy()
    order = np.lexsort((np.arange(len(item)), time, session, user))
    user, session, item, time = (column[order] for column in (user, session, item, time))
    new = np.r_[True, (user[1:] != user[:-1]) | (session[1:] != session[:-1])]
    keep = np.r_[True, item[1:] != item[:-1]] | new
    user, item, time, sequence = user[keep], item[keep], time[keep], np.cumsum(new)[keep]
    latest = np.lexsort((-time, user))
    rank = np.arange(len(user)) - np.searchsorted(user[latest], user[latest])
    keep = np.sort(latest[rank < cap])
    item, sequence = item[keep].astype(np.int64), sequence[keep]
    by_item = np.argsort(item, kind="stable")
    last = np.full(len(item), -1)
    again = np.r_[False, item[by_item[1:]] == item[by_item[:-1]]]
    last[by_item[again]] = by_item[np.flatnonzero(again) - 1]
    pairs = 0
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(output, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for begin in range(0, len(item), _BLOCK // window):
            row = np.arange(begin, min(begin + _BLOCK // window, len(item)))[:, np.newaxis]
            at = np.minimum(row + np.arange(1, window + 1), len(item) - 1)
            good = (at > row) & (sequence[at] == sequence[row]) & (last[at] < row)
            good[:, 1:] &= at[:, 1:] > at[:, :-1]
            weight = np.broadcast_to((0.9 ** np.arange(window)).astype(np.float32), good.shape)[good]
            columns = {"trigger": item[row[:, 0]], "number": good.sum(axis=1), "target": item[at[good]]}
            feature = {
                name: tf.train.Feature(int64_list=tf.train.Int64List(value=value)) for name, value in columns.items()
            }
            feature["weight"] = tf.train.Feature(float_list=tf.train.FloatList(value=weight))
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
            pairs += int(good.sum())
    return pairs


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2]))
