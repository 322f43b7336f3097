"""The ``mtmh`` command: one verb a step. A verb imports only what it needs."""

import argparse
import difflib
import errno
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from preprocessing.errors import UserError
from trainer.cluster import require_one_process

_DEBUG = "MTMH_TRACEBACK"
_LONGEST_SECONDS = 86400.0
_AGAIN = {
    "run": "; the same command goes on from there",
    "train": "; the same command with --resume goes on from there",
    "compare": "; the same command keeps the trainings that are finished",
    "tune": "; the same command goes on from there",
}
"""How an interrupted verb goes on."""
_REMEDIES = {
    errno.ENOSPC: "; free some space or name another directory",
    errno.EDQUOT: "; free some space or name another directory",
    errno.EROFS: "; name another directory",
    errno.EACCES: "; check its permissions or name another directory",
    errno.EPERM: "; check its permissions or name another directory",
    errno.EISDIR: "; move that directory away",
    errno.EEXIST: "; move that file away",
    errno.ENOTDIR: "; a file stands where a directory should: move it away",
}


class _Parser(argparse.ArgumentParser):
    """Faults are `UserError`: one line, with the nearest valid word.

    Attributes:
      verbs: of the whole command, the parser of each verb.
    """

    verbs: dict[str, argparse.ArgumentParser]

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit status."""
    arguments, beam_args = _split_beam(list(sys.argv[1:] if argv is None else argv))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        return _run(arguments, beam_args)
    except UserError as error:
        if os.environ.get(_DEBUG) and error.__cause__:
            raise
        print(f"mtmh: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        again = _AGAIN.get(arguments[0] if arguments else "", "")
        print(f"mtmh: interrupted{again}", file=sys.stderr)
        if argv is None:
            _leave(130)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if os.environ.get(_DEBUG):
            raise
        subject = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        remedy = _REMEDIES.get(error.errno or 0, "")
        print(f"mtmh: error: {_one_line(f'{subject}{error.strerror or error}')}{remedy}", file=sys.stderr)
        return 1
    except Exception as error:
        if os.environ.get(_DEBUG):
            raise
        print(
            f"mtmh: internal error: {type(error).__name__}: {_one_line(error)[:500]} "
            f"(this is a fault of mtmh; {_DEBUG}=1 shows where)",
            file=sys.stderr,
        )
        return 70


def _leave(status: int) -> NoReturn:
    """Ends the process at once: threads of Beam and TensorFlow would go on, or complain that they cannot."""
    sys.stdout.flush()
    sys.stderr.flush()
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)
    os._exit(status)


def _one_line(error: BaseException | str) -> str:
    return " ".join(str(error).split())


def _split_beam(argv: list[str]) -> tuple[list[str], list[str]]:
    """Cuts the arguments at ``--``: what follows is Beam's."""
    if "--" in argv:
        place = argv.index("--")
        return argv[:place], argv[place + 1 :]
    return argv, []


def _run(argv: list[str], beam_args: list[str]) -> int:
    parser = _build_parser(argv[0] if argv else "")
    verbs = list(_VERBS)
    if argv and argv[0].startswith("-") and any(word in verbs for word in argv[1:]):
        raise UserError(f"the verb comes first, as in `mtmh {next(w for w in argv if w in verbs)} {argv[0]} …`")
    if argv and not argv[0].startswith("-") and argv[0] not in verbs:
        near = difflib.get_close_matches(argv[0], verbs, 1)
        hint = f"did you mean `mtmh {near[0]}`?" if near else f"verbs are {', '.join(verbs)}"
        raise UserError(f"there is no verb `{argv[0]}`; {hint}")
    if not argv:
        parser.print_help()
        raise UserError(f"a verb is missing; verbs are {', '.join(verbs)}")
    verb = parser.verbs.get(argv[0])
    if verb:
        # Before what is required and missing: it may be what is misspelled.
        _refuse_unknown(verb, [word for word in argv[1:] if word.startswith("--")])
    arguments, unknown = parser.parse_known_args(argv)
    _refuse_unknown(getattr(arguments, "parser", parser), unknown)
    if beam_args and not arguments.takes_beam:
        raise UserError(f"`mtmh {argv[0]}` runs no Beam pipeline; leave out `-- {' '.join(beam_args)}`")
    arguments.beam_args = beam_args
    if argv[0] in _TRAIN_ALONE:
        require_one_process(argv[0])
    _set_up_logging(arguments)
    status: int = arguments.function(arguments)
    return status


def _refuse_unknown(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Raises `UserError` for the first of the words that is no option."""
    options = [option for action in parser._actions for option in action.option_strings]
    unknown = [word for word in words if word.split("=")[0] not in options]
    if not unknown:
        return
    word = unknown[0].split("=")[0]
    near = [option for option in options if option.startswith(word)] or difflib.get_close_matches(word, options, 1)
    hint = f"did you mean {near[0]}?" if near else f"see `{parser.prog} --help`"
    raise UserError(f"{parser.prog} takes no argument {unknown[0]}; {hint}")


def _set_up_logging(arguments: argparse.Namespace) -> None:
    """Our own lines on standard error; of others' only errors."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.ERROR,
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.getLogger("mtmh").setLevel(logging.WARNING if getattr(arguments, "quiet", False) else logging.INFO)


# --- arguments ----------------------------------------------------------------------------------------------------


def _build_parser(verb_in_use: str) -> _Parser:
    """The parser of the command line; only the verb in use pays for importing its options."""
    parser = _Parser(
        prog="mtmh",
        description="Item-to-item retrieval with an engagement head and a relevance head.",
        epilog="`mtmh VERB --help` shows a verb's options.",
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    parser.verbs = {}
    for name, (help_text, add_arguments, function, takes_beam) in _VERBS.items():
        beam = " What follows a lone `--` are Beam's pipeline options." if takes_beam else ""
        verb = verbs.add_parser(
            name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.{beam}", allow_abbrev=False
        )
        if name == verb_in_use:
            add_arguments(verb)
            parser.verbs[name] = verb
        verb.set_defaults(function=function, parser=verb, takes_beam=takes_beam)
    return parser


class _ShowVersion(argparse.Action):
    """Prints the version, looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"mtmh {version('mtmh')}")
        parser.exit()


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


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _add_inputs(parser)
    _add_workdir(parser)
    _add_config(parser, "all defaults, with --resume the run's own")
    _add_resume(parser)


def _preprocess_arguments(parser: argparse.ArgumentParser) -> None:
    _add_inputs(parser)
    _add_workdir(parser)
    _add_config(parser, "all defaults")


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    _add_workdir(parser)
    _add_config(parser, "the run's own, else all defaults")
    _add_resume(parser)


def _step_arguments(parser: argparse.ArgumentParser) -> None:
    _add_workdir(parser)
    _add_config(parser, "the run's own, else all defaults")


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    _step_arguments(parser)
    parser.add_argument("--relevance-weight", type=_weight, metavar="W", help="one setting of the dial, 0 to 1")


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    _step_arguments(parser)
    parser.add_argument(
        "--models",
        action="append",
        default=[],
        metavar="A,B",
        help="models to compare; by default all; may be repeated; mtmh_quota: MTMH with a quota beside the blend",
    )


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    _step_arguments(parser)
    parser.add_argument("--output", type=_file, metavar="FILE", help="the page; by default report.html in DIR")


def _schema_arguments(parser: argparse.ArgumentParser) -> None:
    _step_arguments(parser)
    parser.add_argument("--output", type=_directory, metavar="DIR", help="write the inferred schemas below DIR")


def _tune_arguments(parser: argparse.ArgumentParser) -> None:
    from tfx_pipeline.tune import DEFAULT_TRIALS

    _step_arguments(parser)
    parser.add_argument(
        "--trials",
        type=_positive,
        default=DEFAULT_TRIALS,
        metavar="N",
        help="finished trials wanted, those of earlier runs included (%(default)s)",
    )
    parser.add_argument(
        "--timeout-seconds",
        type=_seconds,
        metavar="S",
        help="stop after this time; the same command goes on from there",
    )


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
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


def _query_arguments(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--k", type=_positive, metavar="K", help="answers wanted; by default as exported")
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
    parser.add_argument("--timeout", type=_seconds, default=10.0, metavar="S", help="seconds to wait (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def _refresh_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--items", action="append", required=True, metavar="PATH", help="the whole catalogue of today: file or glob"
    )
    _add_workdir(parser)
    _add_config(parser, "the run's own, else all defaults")


def _versions_arguments(parser: argparse.ArgumentParser) -> None:
    from tfx_pipeline.versions import versions_arguments

    versions_arguments(parser)


def _rollback_arguments(parser: argparse.ArgumentParser) -> None:
    from tfx_pipeline.versions import rollback_arguments

    rollback_arguments(parser)


def _mirror_arguments(parser: argparse.ArgumentParser) -> None:
    from tfx_pipeline.versions import mirror_arguments

    mirror_arguments(parser)


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
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


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


_positive.__name__ = "whole number"


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.0 < value <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {_LONGEST_SECONDS:g}")
    return value


_seconds.__name__ = "number"


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


# --- verbs --------------------------------------------------------------------------------------------------------


def _run_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.config import load_config
    from tfx_pipeline.run import print_result, run_pipeline
    from tfx_pipeline.tables import console
    from tfx_pipeline.workdir import Workdir

    workdir = Workdir(arguments.workdir)
    load = workdir.load_config if arguments.resume else load_config
    config = load(arguments.config, arguments.overrides)
    result = run_pipeline(workdir, config, _inputs(arguments), arguments.beam_args)
    print_result(console(), result, workdir, config)
    result.require_pushed()
    return 0


def _inputs(arguments: argparse.Namespace) -> Any:
    """The tables that the arguments name."""
    from tfx_pipeline.steps import Inputs

    return Inputs(tuple(arguments.interactions or ()), tuple(arguments.items or ()), tuple(arguments.annotations))


def _preprocess_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.config import load_config
    from tfx_pipeline.steps import preprocess_step
    from tfx_pipeline.workdir import Workdir

    workdir = Workdir(arguments.workdir)
    config = load_config(arguments.config, arguments.overrides)
    workdir.prepare()
    workdir.store_config(config)
    preprocess_step(workdir, config, _inputs(arguments), arguments.beam_args)
    print(workdir.examples)
    return 0


def _train_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.steps import train_step

    workdir, config = _existing(arguments)
    train_step(workdir, config, resume=arguments.resume)
    print(workdir.model(config.model.name))
    return 0


def _export_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.steps import export_step

    workdir, config = _existing(arguments)
    print(export_step(workdir, config).directory)
    return 0


def _evaluate_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.steps import evaluate_step
    from tfx_pipeline.tables import console, metrics_notes, metrics_table

    workdir, config = _existing(arguments)
    scores = evaluate_step(workdir, config, arguments.relevance_weight)
    out = console()
    out.print(metrics_table([(config.model.name, score) for score in scores]))
    out.print(metrics_notes(scores[0]), style="dim")
    return 0


def _compare_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.compare import compare_step, print_comparison
    from tfx_pipeline.tables import console

    workdir, config = _existing(arguments)
    names = [name.strip() for names in arguments.models for name in names.split(",") if name.strip()]
    if arguments.models and not names:
        raise UserError(
            "--models names no model; leave it out to compare all, or name some as in --models content,mtmh"
        )
    print_comparison(console(), compare_step(workdir, config, names), workdir)
    return 0


def _report_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.report import report_step

    workdir, config = _existing(arguments)
    print(report_step(workdir, config, arguments.output))
    return 0


def _schema_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.schema_diff import infer_schemas

    workdir, config = _existing(arguments)
    found = infer_schemas(workdir, config, arguments.output)
    for inferred in found:
        print(f"{inferred.branch}: {'the data differ from' if inferred.differences else 'as in'} the curated schema")
        for line in inferred.differences:
            print(f"  {line}")
    if arguments.output:
        print(f"inferred schemas are in {arguments.output}")
    return 1 if any(inferred.differences for inferred in found) else 0


def _tune_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.tables import console
    from tfx_pipeline.tune import print_tuning, tune_step

    workdir, config = _existing(arguments)
    results = tune_step(workdir, config, trials=arguments.trials, seconds=arguments.timeout_seconds)
    print_tuning(console(), results, workdir, config.evaluate.k)
    return 0


def _existing(arguments: argparse.Namespace) -> Any:
    """Work directory and configuration of a step that builds on earlier ones."""
    from tfx_pipeline.workdir import Workdir

    workdir = Workdir(arguments.workdir)
    if workdir.root.exists() and not workdir.root.is_dir():
        raise UserError(f"the work directory {workdir.root} is a file; name the directory of an earlier step")
    if not workdir.root.exists():
        raise UserError(f"the work directory {workdir.root} does not exist; `mtmh preprocess` makes it")
    workdir.prepare()
    return workdir, workdir.load_config(arguments.config, arguments.overrides)


def _serve_verb(arguments: argparse.Namespace) -> int:
    import dataclasses

    from serving.server.config import ServerConfig

    given: dict[str, Any] = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(ServerConfig)}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    config = ServerConfig(**given)
    from serving.server.serve import serve

    return serve(config)


def _query_verb(arguments: argparse.Namespace) -> int:
    from serving.client import Tls
    from serving.query import Question, print_json, print_table, query

    question = Question(
        items=tuple(arguments.item),
        title=arguments.title,
        description=arguments.description,
        categories=tuple(arguments.category),
        k=arguments.k,
        relevance_weight=arguments.relevance_weight,
        exclude=tuple(arguments.exclude),
        allow_categories=tuple(arguments.allow_category),
        deny_categories=tuple(arguments.deny_category),
    )
    files = (arguments.tls_ca, arguments.tls_certificate, arguments.tls_key)
    tls = Tls(*files) if arguments.tls or any(files) else None
    reply = query(question, arguments.address, arguments.model, arguments.timeout, tls=tls, label=arguments.label)
    (print_json if arguments.json else print_table)(reply)
    return 0


def _refresh_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.refresh import refresh_step

    workdir, config = _existing(arguments)
    pushed = refresh_step(workdir, config, tuple(arguments.items))
    print(f"published {pushed.path}" if pushed.new else f"nothing to do: {pushed.path} holds just that")
    return 0


def _versions_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.versions import versions_verb

    return versions_verb(arguments)


def _rollback_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.versions import rollback_verb

    return rollback_verb(arguments)


def _mirror_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.versions import mirror_verb

    return mirror_verb(arguments)


def _demo_verb(arguments: argparse.Namespace) -> int:
    from tfx_pipeline.demo import DemoRequest, demo

    if bool(arguments.interactions) != bool(arguments.items):
        raise UserError("one's own data needs both --interactions and --items")
    if arguments.annotations and not arguments.interactions:
        raise UserError("--annotations grade one's own items: name --interactions and --items too")
    demo(
        DemoRequest(
            inputs=_inputs(arguments) if arguments.interactions else None,
            workdir=arguments.workdir,
            triggers=tuple(arguments.item),
            config=arguments.config,
            overrides=tuple(arguments.overrides),
            beam_args=tuple(arguments.beam_args),
        )
    )
    return 0


_TRAIN_ALONE = ("run", "compare", "tune", "demo")
"""Verbs that train in one process only."""

_Verb = tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int], bool]

_VERBS: dict[str, _Verb] = {
    "run": ("everything from a log to a published model", _run_arguments, _run_verb, True),
    "preprocess": ("turn a log and a catalogue into TFRecords", _preprocess_arguments, _preprocess_verb, True),
    "train": ("train a model on preprocessed examples", _train_arguments, _train_verb, False),
    "evaluate": ("score a trained model by exact retrieval", _evaluate_arguments, _evaluate_verb, False),
    "compare": ("train and score MTMH and the baselines, side by side", _compare_arguments, _compare_verb, False),
    "report": ("one web page that shows what a work directory holds", _report_arguments, _report_verb, False),
    "schema": ("compare a run's data with the curated schemas", _schema_arguments, _schema_verb, False),
    "tune": ("search options by the frontier on the validation slice", _tune_arguments, _tune_verb, False),
    "export": ("publish a trained model for serving", _step_arguments, _export_verb, False),
    "refresh-index": (
        "serve a new catalogue with the weights that are served, without training",
        _refresh_arguments,
        _refresh_verb,
        False,
    ),
    "versions": ("list the published versions and what stands of them", _versions_arguments, _versions_verb, False),
    "rollback": ("answer with an earlier version again", _rollback_arguments, _rollback_verb, False),
    "mirror": ("bring a bucket's served version to a server's directory", _mirror_arguments, _mirror_verb, False),
    "serve": ("serve published versions over gRPC and REST", _serve_arguments, _serve_verb, False),
    "query": ("ask a running server", _query_arguments, _query_verb, False),
    "demo": ("the whole way on real data", _demo_arguments, _demo_verb, True),
}

if __name__ == "__main__":
    sys.exit(main())
