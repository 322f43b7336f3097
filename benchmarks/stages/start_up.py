"""Start-up of the command line."""

from benchmarks.stages.figures import Figure, median, python

_MAIN = ("-m", "tfx_pipeline.cli")


def measure(*, quick: bool) -> list[Figure]:
    """Seconds from the call to the end, a process each."""
    repeats = 5 if quick else 11
    python("-c", "pass")
    floor = median([python("-c", "pass").seconds for _ in range(repeats)])
    figures = []
    for words, limit, code in (
        (("--help",), 0.5, 0),
        (("train", "--no-such"), 0.5, 2),
        (("preprocess", "--interactions", "/no/such.csv"), 0.5, 2),
        (("query", "--item", "x", "--address", "127.0.0.1:1"), 1.5, None),
    ):
        seconds = median([python(*_MAIN, *words, expect=code).seconds for _ in range(repeats)])
        figures.append(
            Figure(
                f"mtmh {' '.join(words)}", "python -c pass", "s", seconds, floor, seconds / floor,
                f"<= {limit} s", seconds <= limit,
            )
        )  # fmt: skip
    return figures
