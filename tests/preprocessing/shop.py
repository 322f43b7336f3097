"""A small shop with an answer known by reasoning: each user walks through one aisle, in order."""

import json
from pathlib import Path
from typing import Any

AISLES = ("red", "blue")
PER_AISLE = 6

THREADS = ["--runner=DirectRunner", "--direct_running_mode=multi_threading", "--direct_num_workers=2"]
PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
PORTABLE = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"]


def shop_items() -> list[dict[str, Any]]:
    """Rows of the item table."""
    return [
        {
            "item_id": f"{aisle}{i}",
            "title": f"{aisle} thing number {i}",
            "description": f"a {aisle} thing that is called {i}",
            "categories": f"{aisle}|things",
        }
        for aisle in AISLES
        for i in range(PER_AISLE)
    ]


def shop_interactions(users: int = 40) -> list[dict[str, Any]]:
    """Rows of the interaction table, by time."""
    return [
        {
            "user_id": f"u{user}",
            "item_id": f"{AISLES[user % 2]}{(user + step) % PER_AISLE}",
            "timestamp": 1000 * step + user,
        }
        for step in range(5)
        for user in range(users)
    ]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> str:
    names = list(rows[0])
    lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)
