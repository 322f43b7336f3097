"""What ``mtmh versions``, ``mtmh rollback`` and ``mtmh mirror`` say and do."""

import argparse
import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocessing.errors import UserError
from serving.stores.objects import is_bucket
from tfx_pipeline.arguments import positive, seconds

if TYPE_CHECKING:
    from serving.push import Pushed, VersionState

logger = logging.getLogger("mtmh.serving")

_DIGITS = 12


def add_base(parser: argparse.ArgumentParser) -> None:
    """Options that name the versions of a model: those of a work directory, or any base path."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--workdir", type=Path, metavar="DIR", help="a run's work directory: its DIR/serving/mtmh")
    which.add_argument(
        "--model-base-path",
        metavar="PATH",
        help="the directory of the versions, or s3://BUCKET/PATH or gs://BUCKET/PATH",
    )


def versions_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh versions``."""
    add_base(parser)
    parser.add_argument("--verify", action="store_true", help="read every file and compare its SHA-256")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def rollback_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh rollback``."""
    add_base(parser)
    parser.add_argument(
        "--to",
        type=int,
        metavar="VERSION",
        help="the version to go back to; by default the last one before that holds another model",
    )
    parser.add_argument(
        "--store",
        metavar="URL",
        help="a bucket's records of what was pushed: runs on a cluster then compare with the model gone back to",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress lines")


def mirror_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh mirror``."""
    parser.add_argument(
        "--source", required=True, metavar="URL", help="s3://BUCKET/PATH or gs://BUCKET/PATH of versions"
    )
    parser.add_argument("--model-base-path", required=True, type=Path, metavar="DIR", help="the server's directory")
    parser.add_argument("--keep", type=positive, default=2, metavar="N", help="versions that stay there (%(default)s)")
    parser.add_argument(
        "--version",
        type=int,
        action="append",
        default=[],
        metavar="VERSION",
        help="brought beside the highest, and stays whatever its age: what the server holds by number; repeatable",
    )
    parser.add_argument(
        "--every",
        type=seconds,
        metavar="S",
        help="look again after so many seconds, until it is stopped; default: once",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress lines")


def base_of(arguments: argparse.Namespace) -> str:
    """The base path that the options name.

    Raises:
      UserError: it is a local directory that does not exist.
    """
    from tfx_pipeline.workdir import Workdir

    base = str(arguments.model_base_path or Workdir(arguments.workdir).serving)
    if not is_bucket(base) and not Path(base).is_dir():
        raise UserError(f"{base} does not exist: nothing was pushed there; `mtmh run` or `mtmh export` does")
    return base


def versions_verb(arguments: argparse.Namespace) -> int:
    """Lists the versions; the exit status is 1 where one of them is damaged."""
    from serving.push import history

    base = base_of(arguments)
    states = history(base, verify=arguments.verify)
    if arguments.json:
        print(json.dumps([_plain(state) for state in states], indent=2))
    elif not states:
        print(f"{base} holds no version")
    else:
        _print_table(states)
    return int(any(state.status == "damaged" for state in states))


def rollback_verb(arguments: argparse.Namespace) -> int:
    """Goes back to an earlier version, in a work directory with both flavours."""
    from serving.push import origin, rollback, way_back
    from tfx_pipeline.blessed import point_latest

    if arguments.store and not is_bucket(arguments.store):
        raise UserError(
            f"--store {arguments.store} is no bucket; leave it out: local runs find their record themselves"
        )
    base = base_of(arguments)
    target = way_back(base, arguments.to)
    stock = _rollback_stock(base, target) if arguments.workdir else None
    pushed = rollback(base, target)
    if arguments.store:
        point_latest(arguments.store.rstrip("/"), origin(base) or pushed.version)
    done = [each for each in (stock, pushed) if each is not None]
    for each in done:
        if each.new:
            print(f"published {each.path}: the content of version {each.rollback_of}")
        else:
            print(f"nothing to do: {each.path}, the highest, has that content already")
    if any(each.new for each in done):
        print("servers that answer with the highest version take it over at their next look")
    return 0


def _rollback_stock(base: str, target: int) -> "Pushed | None":
    """Goes back in the stock flavour to what stood beside a version of the main one; None where there is no stock.

    Versions of the flavours are counted on their own: what belongs together has the same content. The stock one goes
    back first: killed after it, the same command goes on. A damaged copy of it does not keep the main one from it.
    """
    from serving import flavours
    from serving.push import rollback, same_content, versions

    stock = flavours.base_of(flavours.STOCK, base)
    there = versions(stock)
    if not there:
        return None
    beside = same_content(stock, base, target)
    if not beside:
        logger.warning("%s holds nothing that goes with version %d: it stays at version %d", stock, target, there[-1])
        return None
    try:
        return rollback(stock, beside[-1])
    except UserError as error:
        logger.warning(
            "%s stays at version %d: %s; later: mtmh rollback --model-base-path %s --to VERSION",
            stock,
            there[-1],
            error,
            stock,
        )
        return None


def mirror_verb(arguments: argparse.Namespace) -> int:
    """Brings the highest version of a bucket and those that are pinned, once or again and again."""
    import signal
    import threading

    from serving.mirror import keep_in_step, mirror

    base: Path = arguments.model_base_path
    if arguments.every is None:
        version = mirror(arguments.source, base, arguments.keep, arguments.version)
        print(f"{arguments.source} holds no version" if version is None else base / str(version))
        return 0
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keep_in_step(arguments.source, base, arguments.keep, max(arguments.every, 1.0), stop, arguments.version)
    return 0


def _plain(state: "VersionState") -> dict[str, Any]:
    manifest = state.manifest
    return {
        "version": state.version,
        "path": state.path,
        "status": state.status,
        "faults": list(state.faults),
        "pushed": manifest.pushed if manifest else None,
        "bytes": manifest.size if manifest else None,
        "digest": manifest.digest if manifest else None,
        "rollback_of": manifest.rollback_of if manifest else None,
        "files": [dataclasses.asdict(file) for file in manifest.files] if manifest else None,
    }


def _print_table(states: "list[VersionState]") -> None:
    from rich.table import Table

    from tfx_pipeline.tables import console

    table = Table(box=None, pad_edge=False)
    table.add_column("version", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("pushed", no_wrap=True)
    table.add_column("MB", justify="right", no_wrap=True)
    table.add_column("content", no_wrap=True)
    table.add_column("remarks")
    for state in states:
        manifest = state.manifest
        remarks = list(state.faults)
        if manifest and manifest.rollback_of is not None:
            remarks.append(f"rollback to version {manifest.rollback_of}")
        table.add_row(
            str(state.version),
            state.status,
            (manifest.pushed if manifest else "") or "–",
            f"{manifest.size / 1e6:.1f}" if manifest else "–",
            manifest.digest[:_DIGITS] if manifest else "–",
            "; ".join(remarks),
        )
    console().print(table)
