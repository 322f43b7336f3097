"""``mtmh tune``: searches options of the model by the area under the frontier on the validation slice."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import yaml

from preprocessing.errors import UserError
from tfx_pipeline import typed_yaml
from tfx_pipeline.alone import alone
from tfx_pipeline.config import RunConfig
from tfx_pipeline.workdir import Workdir, write_whole

if TYPE_CHECKING:
    from tfx_pipeline.sheets import Sheet
    from trainer.search import TrialResult

DEFAULT_TRIALS: Final = 30
TRIALS: Final = "trials.db"
BEST: Final = "best.yaml"
_ROWS: Final = 10


def tune_step(
    workdir: Workdir, config: RunConfig, *, trials: int = DEFAULT_TRIALS, seconds: float | None = None
) -> "list[TrialResult]":
    """Goes on with the tuning of a work directory, or begins it, and writes the best options as ``best.yaml``.

    Args:
      workdir: with examples that have a validation slice.
      config: options that are not searched, and the first trial's.
      trials: finished trials wanted in all.
      seconds: time of this run.

    Returns:
      All finished trials, the best first.

    Raises:
      UserError: there is nothing to tune by, the model has no dial, another process is tuning here, or earlier trials
        are of another configuration, of other examples or by other code.
    """
    from preprocessing.manifest import load_manifest, manifest_digest
    from trainer.names import MODELS
    from trainer.variants import trainings

    name = config.model.name
    if name not in MODELS or not MODELS[name].has_dial or trainings(name) != (name,):
        raise UserError(
            f"`model.name` is {name}, which has no dial of its own and so no frontier to tune by: tune mtmh"
        )
    workdir.require_examples(config)
    if not load_manifest(str(workdir.examples)).num_validation_triggers:
        raise UserError(
            f"{workdir.examples} holds no validation triggers, so there is nothing to tune by; make that slice with "
            "split.validation_users and split.validation_quantile, and preprocess again"
        )
    from trainer.search import Search
    from trainer.sources import trainer_version
    from trainer.tune import SPACE, options_of, start_of, trial_of

    options = options_of(config.training)
    with alone(workdir.tuning, "`mtmh tune`"):
        search = Search(
            workdir.tuning / TRIALS,
            SPACE,
            first=lambda: start_of(workdir.examples, config.training),
            identity=options | {"examples": manifest_digest(workdir.examples), "code": trainer_version()},
            seed=config.seed,
        )
        search.run(trial_of(workdir.examples, workdir.tuning, config.training), trials=trials, seconds=seconds)
        results = search.results
        if results and results[0].score is not None:
            write_whole(workdir.tuning / BEST, best_yaml(config, results[0], workdir))
    return results


def best_yaml(config: RunConfig, best: "TrialResult", workdir: Workdir) -> str:
    """A configuration for ``--config``: what ``config`` sets apart from the defaults, with a trial's options.

    The first trial has none of its own: it is ``config`` as it stands.
    """
    options = best.options if best.number else {}
    values = _flat(dataclasses.asdict(config)) | options
    defaults = {name: key.default for name, key in typed_yaml.keys_of(RunConfig).items()}
    kept = {name: values[name] for name in defaults if name in options or values[name] != defaults[name]}
    stream = io.StringIO()
    stream.write(
        f"# Trial {best.number} of `mtmh tune`, frontier area {best.score:.5f} on the validation slice.\n"
        f"# To train with: mtmh train --workdir DIR --config DIR/{workdir.tuning.name}/{BEST}\n"
        "# Other verbs, such as mtmh compare and mtmh run, have to be given it, too.\n"
    )
    yaml.safe_dump(_nested(kept), stream, sort_keys=False, width=10_000)
    return stream.getvalue()


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = list(value) if isinstance(value, tuple) else value
    return tree


def trials_sheet(results: "Sequence[TrialResult]", k: int) -> "Sheet":
    """The best trials, one a row."""
    from tfx_pipeline.sheets import Sheet
    from trainer.tune import FIGURES, SPACE

    scored = [result for result in results if result.score is not None]
    titles = [name.replace(".", ".\n").replace("_", "_\n") for name in SPACE]
    ended = len(results) - len(scored)
    return Sheet(
        title=f"the best of {len(scored)} trials",
        header=("trial", "frontier\narea", f"recall\n@{k}", f"relevance\n@{k}", f"topic\nmatch\n@{k}", *titles),
        rows=tuple(
            (
                str(result.number),
                f"{result.score:.5f}",
                *(_figure(result.figures.get(name)) for name in FIGURES),
                *(f"{result.options[name]:g}" for name in SPACE),
            )
            for result in scored[:_ROWS]
        ),
        notes=(
            "all on the validation slice, recall, relevance and topic match at dial 0",
            "trial 0 is the configuration as it stands, with what the data decide where it leaves an option open",
            *([f"{ended} more were ended early"] if ended else []),
        ),
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def print_tuning(console: Any, results: "Sequence[TrialResult]", workdir: Workdir, k: int) -> None:
    """The table of trials, and what to do with them."""
    from tfx_pipeline.sheets import rich_table

    if not results or results[0].score is None:
        console.print("no trial is finished yet; the same command goes on where it stopped")
        return
    console.print(rich_table(trials_sheet(results, k)))
    console.print()
    console.print(sentence(results), style="bold")
    where = f"--workdir {workdir.root} --config {workdir.tuning / BEST}"
    for words in (
        f"train with them: mtmh train {where}",
        f"compare what that makes: mtmh compare {where}",
        f"train with them, and publish: mtmh run --interactions LOG --items ITEMS {where}",
        f"look at all trials: tensorboard --logdir {workdir.tuning}",
        "the same command with more --trials goes on from here",
    ):
        console.print(words, markup=False, soft_wrap=True)


def sentence(results: "Sequence[TrialResult]") -> str:
    """What the best trial gains over the configuration as it stands."""
    best = results[0]
    first = next((result for result in results if result.number == 0), None)
    if best.number == 0:
        return "no trial is better than the configuration as it stands"
    found = f"trial {best.number} has the best options, written to {BEST}"
    if first is None or not first.score or not best.score:
        return found
    return f"{found}: frontier area {best.score / first.score - 1.0:+.1%} against the configuration as it stands"
