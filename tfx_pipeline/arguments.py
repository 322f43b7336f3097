"""What the verbs of ``mtmh`` take, and how it is read."""

import argparse
from pathlib import Path

_LONGEST_SECONDS = 86400.0


def _add_inputs(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument(
        "--interactions",
        action="append",
        required=required,
        metavar="PATH",
        help="interaction log: file or glob, CSV, CSV.gz, JSON Lines or Parquet; may be repeated",
    )
    parser.add_argument("--items", action="append", required=required, metavar="PATH", help="item catalogue: likewise")
    parser.add_argument(
        "--annotations",
        action="append",
        default=[],
        metavar="PATH",
        help="graded pairs of items (trigger_id, item_id, grade from 0 to 1): likewise, optional",
    )


def _add_config(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--config", metavar="FILE", help=f"YAML configuration; by default {default}")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="one option, such as trainer.epochs=5; may be repeated",
    )


def _add_workdir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workdir", required=True, type=_directory, metavar="DIR", help="where the run keeps what it makes"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress lines")


def _add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted run stopped")


def run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh run``."""
    _add_inputs(parser)
    _add_workdir(parser)
    _add_config(parser, "all defaults, with --resume the run's own")
    _add_resume(parser)


def preprocess_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh preprocess``."""
    _add_inputs(parser)
    _add_workdir(parser)
    _add_config(parser, "all defaults")


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh train``."""
    _add_workdir(parser)
    _add_config(parser, "the run's own, else all defaults")
    _add_resume(parser)


def step_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh export``, and what all steps take that build on earlier ones."""
    _add_workdir(parser)
    _add_config(parser, "the run's own, else all defaults")


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh evaluate``."""
    step_arguments(parser)
    parser.add_argument("--relevance-weight", type=_weight, metavar="W", help="one setting of the dial, 0 to 1")


def compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh compare``."""
    step_arguments(parser)
    parser.add_argument(
        "--models",
        action="append",
        default=[],
        metavar="A,B",
        help="models to compare; by default all; may be repeated; mtmh_quota: MTMH with a quota beside the blend",
    )


def report_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh report``."""
    step_arguments(parser)
    parser.add_argument("--output", type=_file, metavar="FILE", help="the page; by default report.html in DIR")


def schema_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh schema``."""
    step_arguments(parser)
    parser.add_argument("--output", type=_directory, metavar="DIR", help="write the inferred schemas below DIR")


def tune_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh tune``."""
    from tfx_pipeline.tune import DEFAULT_TRIALS

    step_arguments(parser)
    parser.add_argument(
        "--trials",
        type=positive,
        default=DEFAULT_TRIALS,
        metavar="N",
        help="finished trials wanted, those of earlier runs included (%(default)s)",
    )
    parser.add_argument(
        "--timeout-seconds",
        type=seconds,
        metavar="S",
        help="stop after this time; the same command goes on from there",
    )


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh serve``."""
    import dataclasses

    from serving.server.config import ServerConfig

    for field in dataclasses.fields(ServerConfig):
        flag = "--" + field.name.replace("_", "-")
        doc = field.metadata["doc"].replace("%", "%%")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true", help=doc)
        elif isinstance(field.default, tuple):
            parser.add_argument(flag, action="append", default=[], metavar=field.name.upper(), help=doc)
        else:
            parser.add_argument(
                flag,
                type=type(field.default),
                default=field.default,
                metavar=field.name.upper(),
                required=field.name == "model_base_path",
                help=f"{doc} (default: {field.default})",
            )


def query_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh query``."""
    from serving.client import DEFAULT_ADDRESS, DEFAULT_MODEL

    parser.add_argument(
        "--item",
        action="append",
        default=[],
        metavar="ID",
        help="a trigger item; several are one history, the most recent first",
    )
    parser.add_argument("--title", default="", help="title of an item that the model never saw")
    parser.add_argument("--description", default="", help="its description")
    parser.add_argument("--category", action="append", default=[], help="one of its categories; may be repeated")
    parser.add_argument("--k", type=positive, metavar="K", help="answers wanted; by default as exported")
    parser.add_argument(
        "--relevance-weight",
        type=_weight,
        metavar="W",
        help="the dial: 0 engagement only, 1 relevance only; by default as exported",
    )
    parser.add_argument("--exclude", action="append", default=[], metavar="ID", help="never answer with this item")
    parser.add_argument(
        "--allow-category",
        action="append",
        default=[],
        metavar="NAME",
        help="answer only with items of this category; several: of any of them",
    )
    parser.add_argument(
        "--deny-category",
        action="append",
        default=[],
        metavar="NAME",
        help="never answer with an item of this category",
    )
    parser.add_argument(
        "--address", type=_address, default=DEFAULT_ADDRESS, help="host:port of the server's gRPC API (%(default)s)"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="the model's name there (%(default)s)")
    parser.add_argument("--label", default="", help="label of the version to ask, such as canary; else the latest")
    parser.add_argument("--tls", action="store_true", help="speak TLS; any of the following says so too")
    parser.add_argument("--tls-ca", type=Path, metavar="PEM", help="authority of the server's certificate")
    parser.add_argument("--tls-certificate", type=Path, metavar="PEM", help="your own certificate, for mutual TLS")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="its key")
    parser.add_argument("--timeout", type=seconds, default=10.0, metavar="S", help="seconds to wait (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def refresh_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh refresh-index``."""
    parser.add_argument(
        "--items", action="append", required=True, metavar="PATH", help="the whole catalogue of today: file or glob"
    )
    _add_workdir(parser)
    _add_config(parser, "the run's own, else all defaults")


def demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``mtmh demo``."""
    _add_inputs(parser, required=False)
    parser.add_argument("--workdir", type=_directory, default=Path("demo"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--item", action="append", default=[], metavar="ID", help="ask for these items at the end")
    parser.add_argument("--quiet", action="store_true", help="no progress lines")
    _add_config(parser, "the demo's own")


def _weight(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


_weight.__name__ = "number"


def positive(text: str) -> int:
    """A whole number from 1 on, of a command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


positive.__name__ = "whole number"


def seconds(text: str) -> float:
    """So many seconds, of a command line: above 0, and at most a day."""
    value = float(text)
    if not 0.0 < value <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {_LONGEST_SECONDS:g}")
    return value


seconds.__name__ = "number"


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not text.startswith("unix:") and not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port")
    return text


def _directory(text: str) -> Path:
    if not text or "://" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no directory on this machine")
    return Path(text)


def _file(text: str) -> Path:
    if not text or "://" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no file on this machine")
    return Path(text)
