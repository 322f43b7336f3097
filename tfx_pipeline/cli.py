"""The ``mtmh`` command: one verb a step. A verb imports only what it needs."""

import argparse
import difflib
import errno
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from preprocessing.environment import set_defaults
from preprocessing.errors import UserError
from tfx_pipeline.verbs import TRAIN_ALONE, VERBS
from trainer.cluster import require_one_process

_DEBUG = "MTMH_TRACEBACK"
_AGAIN = {
    "run": "; the same command goes on from there",
    "train": "; the same command with --resume goes on from there",
    "compare": "; the same command goes on from there",
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
    set_defaults()
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
    verbs = list(VERBS)
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
    if argv[0] in TRAIN_ALONE:
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
    for name, verb in VERBS.items():
        beam = " What follows a lone `--` are Beam's pipeline options." if verb.takes_beam else ""
        description = f"{verb.help_text[0].upper()}{verb.help_text[1:]}.{beam}"
        of_verb = verbs.add_parser(name, help=verb.help_text, description=description, allow_abbrev=False)
        if name == verb_in_use:
            verb.add_arguments(of_verb)
            parser.verbs[name] = of_verb
        of_verb.set_defaults(function=verb.run, parser=of_verb, takes_beam=verb.takes_beam)
    return parser


class _ShowVersion(argparse.Action):
    """Prints the version, looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"mtmh {version('mtmh')}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
