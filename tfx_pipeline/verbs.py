"""What each verb of ``mtmh`` does. A verb imports only what it needs."""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any, Final

from preprocessing.errors import UserError
from tfx_pipeline.arguments import (
    compare_arguments,
    demo_arguments,
    evaluate_arguments,
    preprocess_arguments,
    query_arguments,
    refresh_arguments,
    report_arguments,
    run_arguments,
    schema_arguments,
    serve_arguments,
    step_arguments,
    train_arguments,
    tune_arguments,
)
from tfx_pipeline.versions import (
    mirror_arguments,
    mirror_verb,
    rollback_arguments,
    rollback_verb,
    versions_arguments,
    versions_verb,
)

TRAIN_ALONE: Final = ("run", "compare", "tune", "demo")
"""Verbs that train in one process only."""


@dataclasses.dataclass(frozen=True)
class Verb:
    """A verb.

    Attributes:
      help_text: what it does, in a few words.
      add_arguments: gives a parser what it takes.
      run: does it; returns the exit status.
      takes_beam: whether it runs a Beam pipeline, and so takes Beam's options.
    """

    help_text: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    takes_beam: bool = False


def run_verb(given: argparse.Namespace) -> int:
    """Runs the pipeline, from a log to a published model."""
    from tfx_pipeline.config import load_config
    from tfx_pipeline.run import print_result, run_pipeline
    from tfx_pipeline.tables import console
    from tfx_pipeline.workdir import Workdir

    workdir = Workdir(given.workdir)
    load = workdir.load_config if given.resume else load_config
    config = load(given.config, given.overrides)
    result = run_pipeline(workdir, config, _inputs(given), given.beam_args)
    print_result(console(), result, workdir, config)
    result.require_pushed()
    return 0


def _inputs(given: argparse.Namespace) -> Any:
    """The tables that the arguments name."""
    from tfx_pipeline.steps import Inputs

    return Inputs(tuple(given.interactions or ()), tuple(given.items or ()), tuple(given.annotations))


def preprocess_verb(given: argparse.Namespace) -> int:
    """Turns tables into TFRecords, and prints where they are."""
    from tfx_pipeline.config import load_config
    from tfx_pipeline.steps import preprocess_step
    from tfx_pipeline.workdir import Workdir

    workdir = Workdir(given.workdir)
    config = load_config(given.config, given.overrides)
    workdir.prepare()
    preprocess_step(workdir, config, _inputs(given), given.beam_args)
    print(workdir.examples)
    return 0


def train_verb(given: argparse.Namespace) -> int:
    """Trains a model, and prints where it is."""
    from tfx_pipeline.steps import train_step

    workdir, config = _existing(given)
    train_step(workdir, config, resume=given.resume)
    print(workdir.model(config.model.name))
    return 0


def export_verb(given: argparse.Namespace) -> int:
    """Publishes a trained model, and prints where."""
    from tfx_pipeline.steps import export_step

    workdir, config = _existing(given)
    print(export_step(workdir, config).directory)
    return 0


def evaluate_verb(given: argparse.Namespace) -> int:
    """Scores a trained model, and prints the table."""
    from tfx_pipeline.steps import evaluate_step
    from tfx_pipeline.tables import console, metrics_notes, metrics_table
    from trainer.names import MTMH

    workdir, config = _existing(given)
    scores = evaluate_step(workdir, config, given.relevance_weight)
    # Without a setting of one's own the last is that of the default dial.
    default = scores[-1] if given.relevance_weight is None and config.model.name == MTMH else None
    out = console()
    out.print(metrics_table([(config.model.name, score) for score in scores], default))
    out.print(metrics_notes(scores[0]), style="dim")
    return 0


def compare_verb(given: argparse.Namespace) -> int:
    """Trains and scores the models of a comparison, and prints it."""
    from tfx_pipeline.compare import compare_step, print_comparison
    from tfx_pipeline.tables import console

    workdir, config = _existing(given)
    names = [name.strip() for names in given.models for name in names.split(",") if name.strip()]
    if given.models and not names:
        raise UserError(
            "--models names no model; leave it out to compare all, or name some as in --models content,mtmh"
        )
    print_comparison(console(), compare_step(workdir, config, names), workdir)
    return 0


def report_verb(given: argparse.Namespace) -> int:
    """Writes the page, and prints where it is."""
    from tfx_pipeline.report import report_step

    workdir, config = _existing(given)
    print(report_step(workdir, config, given.output))
    return 0


def schema_verb(given: argparse.Namespace) -> int:
    """Prints how data and curated schemas differ; the exit status is 1 where they do."""
    from tfx_pipeline.schema_diff import infer_schemas

    workdir, config = _existing(given)
    found = infer_schemas(workdir, config, given.output)
    for inferred in found:
        print(f"{inferred.branch}: {'the data differ from' if inferred.differences else 'as in'} the curated schema")
        for line in inferred.differences:
            print(f"  {line}")
    if given.output:
        print(f"inferred schemas are in {given.output}")
    return 1 if any(inferred.differences for inferred in found) else 0


def tune_verb(given: argparse.Namespace) -> int:
    """Searches options, and prints what was found."""
    from tfx_pipeline.tables import console
    from tfx_pipeline.tune import print_tuning, tune_step

    workdir, config = _existing(given)
    results = tune_step(workdir, config, trials=given.trials, seconds=given.timeout_seconds)
    print_tuning(console(), results, workdir, config.evaluate.k)
    return 0


def _existing(given: argparse.Namespace) -> Any:
    """Work directory and configuration of a step that builds on earlier ones."""
    from tfx_pipeline.workdir import Workdir

    workdir = Workdir(given.workdir)
    if workdir.root.exists() and not workdir.root.is_dir():
        raise UserError(f"the work directory {workdir.root} is a file; name the directory of an earlier step")
    if not workdir.root.exists():
        raise UserError(f"the work directory {workdir.root} does not exist; `mtmh preprocess` makes it")
    workdir.prepare()
    return workdir, workdir.load_config(given.config, given.overrides)


def serve_verb(given: argparse.Namespace) -> int:
    """Serves until it is told to stop."""
    from serving.server.config import ServerConfig

    values: dict[str, Any] = {field.name: getattr(given, field.name) for field in dataclasses.fields(ServerConfig)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    config = ServerConfig(**values)
    from serving.server.serve import serve

    return serve(config)


def query_verb(given: argparse.Namespace) -> int:
    """Asks a server, and prints its answer."""
    from serving.client import Tls
    from serving.query import Question, print_json, print_table, query

    question = Question(
        items=tuple(given.item),
        title=given.title,
        description=given.description,
        categories=tuple(given.category),
        k=given.k,
        relevance_weight=given.relevance_weight,
        exclude=tuple(given.exclude),
        allow_categories=tuple(given.allow_category),
        deny_categories=tuple(given.deny_category),
    )
    files = (given.tls_ca, given.tls_certificate, given.tls_key)
    tls = Tls(*files) if given.tls or any(files) else None
    reply = query(question, given.address, given.model, given.timeout, tls=tls, label=given.label)
    (print_json if given.json else print_table)(reply)
    return 0


def refresh_verb(given: argparse.Namespace) -> int:
    """Publishes a version of a new catalogue."""
    from tfx_pipeline.refresh import refresh_step

    workdir, config = _existing(given)
    pushed = refresh_step(workdir, config, tuple(given.items))
    print(f"published {pushed.path}" if pushed.new else f"nothing to do: {pushed.path} holds just that")
    return 0


def demo_verb(given: argparse.Namespace) -> int:
    """Goes the whole way on real data."""
    from tfx_pipeline.demo import DemoRequest, demo

    if bool(given.interactions) != bool(given.items):
        raise UserError("one's own data needs both --interactions and --items")
    if given.annotations and not given.interactions:
        raise UserError("--annotations grade one's own items: name --interactions and --items too")
    demo(
        DemoRequest(
            inputs=_inputs(given) if given.interactions else None,
            workdir=given.workdir,
            triggers=tuple(given.item),
            config=given.config,
            overrides=tuple(given.overrides),
            beam_args=tuple(given.beam_args),
        )
    )
    return 0


VERBS: Final = {
    "run": Verb("everything from a log to a published model", run_arguments, run_verb, takes_beam=True),
    "preprocess": Verb(
        "turn a log and a catalogue into TFRecords", preprocess_arguments, preprocess_verb, takes_beam=True
    ),
    "train": Verb("train a model on preprocessed examples", train_arguments, train_verb),
    "evaluate": Verb("score a trained model by exact retrieval", evaluate_arguments, evaluate_verb),
    "compare": Verb("train and score MTMH and the baselines, side by side", compare_arguments, compare_verb),
    "report": Verb("one web page that shows what a work directory holds", report_arguments, report_verb),
    "schema": Verb("compare a run's data with the curated schemas", schema_arguments, schema_verb),
    "tune": Verb("search options by the frontier on the validation slice", tune_arguments, tune_verb),
    "export": Verb("publish a trained model for serving", step_arguments, export_verb),
    "refresh-index": Verb(
        "serve a new catalogue with the weights that are served, without training",
        refresh_arguments,
        refresh_verb,
    ),
    "versions": Verb("list the published versions and what stands of them", versions_arguments, versions_verb),
    "rollback": Verb("answer with an earlier version again", rollback_arguments, rollback_verb),
    "mirror": Verb("bring a bucket's served version to a server's directory", mirror_arguments, mirror_verb),
    "serve": Verb("serve published versions over gRPC and REST", serve_arguments, serve_verb),
    "query": Verb("ask a running server", query_arguments, query_verb),
    "demo": Verb("the whole way on real data", demo_arguments, demo_verb, takes_beam=True),
}
