"""The figures of ``benchmarks.serving`` for people."""

from collections.abc import Sequence
from typing import Any, Final

_RATE_NAMES: Final = (
    "rate/s",
    "answers/s",
    "p50",
    "p95",
    "p99",
    "p99.9",
    "refused",
    "refused p99",
    "errors",
    "sender late",
)


def print_tables(found: dict[str, Any]) -> None:
    """The figures for people."""
    from rich.table import Table

    from tfx_pipeline import tables

    console = tables.console()

    def show(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for number, name in enumerate(names):
            table.add_column(name, justify="right" if number else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table)
        console.print()

    def latencies(row: dict[str, Any]) -> list[str]:
        return [f"{row[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms")]

    for model in found["models"]:
        title = f"{model['model']} version {model['version']}, {model['items']:,} items; in process, milliseconds"
        names = ("how", "rows", "first", "p50", "p95", "p99")
        rows = [
            [row["how"], str(row["batch"]), f"{row['first_ms']:.2f}", *latencies(row)] for row in model["in_process"]
        ]
        show(title, names, rows)
        show(
            "one client, in turn, milliseconds",
            ("what", "p50", "p95", "p99"),
            [
                ["the model", *latencies(model["one_client"])],
                ["an echo of the same sizes", *latencies(model["echo"])],
                ["the model without a server", *latencies(model["bare"])],
            ],
        )
        show(
            "over gRPC, one client, by rows a request, milliseconds",
            ("rows", "p50", "p95", "p99", "rows/s"),
            [[str(row["batch"]), *latencies(row), f"{row['rows_a_second']:.0f}"] for row in model["batches"]],
        )
        show("open loop", _RATE_NAMES, [_rate(row) for row in model["rates"]])
        if "highest_rate" in model:
            rows = [_rate(model["at_60_percent"]), _rate(model["at_200_percent"])]
            show(f"kept up with {model['highest_rate']:.0f}/s; at 60 % and at 200 % of it", _RATE_NAMES, rows)
            share = model["beyond_within_3_p99"]
            console.print(f"beyond it, {share:.1%} of the answers came within 3 times the p99 at 60 %\n")
    if "rivals" in found:
        names = ("library", "build s", "recall", "p50", "p99", "served p50", "kept up with")
        show("the same vectors; in process and behind the same server", names, [_rival(row) for row in found["rivals"]])
        console.print("the libraries know no exclusions and no filters, and give no scores of the heads")


def _rate(row: dict[str, Any]) -> list[str]:
    errors = ", ".join(f"{count} {code}" for code, count in row["errors"].items()) or "0"
    names = ("p50_ms", "p95_ms", "p99_ms", "p99.9_ms")
    figures = [f"{row['rate']:.0f}", f"{row['throughput']:.0f}", *(f"{row[name]:.2f}" for name in names)]
    return [*figures, str(row["refused"]), f"{row['refused_p99_ms']:.2f}", errors, f"{row['lag_p99_ms']:.2f}"]


def _rival(row: dict[str, Any]) -> list[str]:
    if "served" not in row:
        return [row["library"], "", f"{row['recall']:.3f}", "", "", "", ""]
    served = row["served"]
    rate = f"{served['highest_rate']:.0f}/s" if "highest_rate" in served else ""
    figures = [f"{row['build_seconds']:.1f}", f"{row['recall']:.3f}", f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}"]
    return [row["library"], *figures, f"{served['one_client']['p50_ms']:.2f}", rate]
