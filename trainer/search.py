"""A search for good options that survives a kill: Optuna's TPE sampler over trials kept in an SQLite file.

Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (NIPS 2011). What a trial is given depends on the seed,
its number and the results of the trials before it, so an interrupted search goes on as if it had not been.
"""

import dataclasses
import json
import logging
import sqlite3
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
import sqlalchemy.exc
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from preprocessing.errors import UserError

logger = logging.getLogger("mtmh.tune")

Options = dict[str, float | int]
"""Values by the full name of the option."""
Distribution = FloatDistribution | IntDistribution
Report = Callable[[int, float], None]
"""Takes an epoch and its score; raises `PrunedError` or `OutOfTimeError`, and both belong to the search."""
Objective = Callable[[int, Options, Report], tuple[float, dict[str, float | None]]]
"""Takes a trial's number and options; gives its score, the larger the better, and figures to keep with it."""

_IDENTITY: Final = "identity"
_FIGURES: Final = "figures"
_STUDY: Final = "mtmh"
_DIGITS: Final = 3
"""Significant digits of an option: more than matter."""
_TRIALS_BEFORE_PRUNING: Final = 5
_EPOCHS_BEFORE_PRUNING: Final = 2


class PrunedError(Exception):
    """The trial is not worth its next epoch, or any."""


class OutOfTimeError(Exception):
    """The time of the search is over; the trial goes on from its last epoch next time."""


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """A finished trial.

    Attributes:
      number: from 0.
      options: what it was given.
      score: None for a pruned one.
      figures: what the objective gave with it.
    """

    number: int
    options: Options
    score: float | None
    figures: dict[str, float | None]


def nearest(distribution: Distribution, value: float) -> float | int:
    """The value of a range that is nearest to one that may be outside of it.

    >>> nearest(IntDistribution(32, 128, step=16), 100)
    96
    """
    inside = min(max(value, distribution.low), distribution.high)
    if isinstance(distribution, FloatDistribution):
        return inside
    return distribution.low + round((inside - distribution.low) / distribution.step) * distribution.step


class Search:
    """The trials of one search, and the file that they are kept in."""

    def __init__(
        self,
        path: Path,
        space: Mapping[str, Distribution],
        first: Callable[[], Mapping[str, float]],
        identity: Mapping[str, Any],
        seed: int,
    ) -> None:
        """Opens the file or begins it.

        Args:
          path: SQLite file.
          space: ranges of the options by their names.
          first: gives the values of the first trial, which are moved into the ranges; asked where a search begins.
          identity: what makes trials comparable, by name; plain values. A file of another identity is refused.
          seed: of all suggestions.

        Raises:
          UserError: the file is damaged, or of a search with another identity.
        """
        self._path, self._space, self._seed = path, space, seed
        ranges = {f"range of {name}": str(distribution) for name, distribution in space.items()}
        wanted = json.loads(json.dumps({**identity, **ranges}))
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            storage = optuna.storages.RDBStorage(
                "sqlite:///file", engine_kwargs={"creator": lambda: sqlite3.connect(path, check_same_thread=False)}
            )
            pruner = optuna.pruners.MedianPruner(_TRIALS_BEFORE_PRUNING, _EPOCHS_BEFORE_PRUNING)
            self._study = optuna.create_study(
                storage=storage, study_name=_STUDY, direction="maximize", pruner=pruner, load_if_exists=True
            )
            found = self._study.user_attrs.get(_IDENTITY)
            if found is None:
                self._study.set_user_attr(_IDENTITY, wanted)
            elif found != wanted:
                raise UserError(f"{path} is of another tuning: {_difference(found, wanted)}; {self._move_away}")
            if not self._study.trials:
                self._study.enqueue_trial({name: nearest(space[name], value) for name, value in first().items()})
        except (sqlalchemy.exc.DatabaseError, RuntimeError, KeyError) as error:
            raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}); {self._move_away}") from error

    @property
    def _move_away(self) -> str:
        return f"move {self._path.parent} away to start anew"

    @property
    def results(self) -> list[TrialResult]:
        """The finished trials, the best first, pruned ones last."""
        finished = [
            TrialResult(
                trial.number,
                self._options(trial.params),
                trial.value if trial.state == TrialState.COMPLETE else None,
                trial.user_attrs.get(_FIGURES, {}),
            )
            for trial in self._finished()
        ]
        return sorted(finished, key=lambda result: (result.score is None, -(result.score or 0.0), result.number))

    def run(self, objective: Objective, *, trials: int, seconds: float | None = None) -> None:
        """Tries until there are so many finished trials in all, or the time is over.

        A trial that was interrupted comes first, with the options that it had.

        Args:
          objective: what a trial does.
          trials: finished ones wanted, those of earlier runs included.
          seconds: of this run; a trial that is not finished then is left to the next.
        """
        deadline = time.monotonic() + seconds if seconds is not None else float("inf")
        while (done := len(self._finished())) < trials and time.monotonic() < deadline:
            trial = self._next()
            options = self._suggest(trial)
            logger.info("trial %d, %d of %d: %s", trial.number, done + 1, trials, in_words(options))
            try:
                self._try(trial, options, objective, deadline)
            except OutOfTimeError:
                return

    def _try(self, trial: Trial, options: Options, objective: Objective, deadline: float) -> None:
        def report(epoch: int, score: float) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an epoch that was told before the kill
                trial.report(score, epoch)
            if trial.should_prune():
                raise PrunedError(f"below the median of earlier trials after epoch {epoch}")
            if time.monotonic() >= deadline:
                raise OutOfTimeError

        try:
            score, figures = objective(trial.number, options, report)
        except PrunedError as reason:
            logger.info("trial %d: pruned, %s", trial.number, reason)
            self._study.tell(trial, state=TrialState.PRUNED)
            return
        trial.set_user_attr(_FIGURES, figures)
        self._study.tell(trial, score)
        best = self._study.best_trial
        logger.info("trial %d: %.5f (best %.5f, trial %d)", trial.number, score, best.value or 0.0, best.number)

    def _next(self) -> Trial:
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        begun = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
        number = running[0].number if running else len(begun)
        # A sampler's own stream would start again with each process, and suggest the same again.
        state = np.random.SeedSequence([self._seed, number]).generate_state(1)
        self._study.sampler = optuna.samplers.TPESampler(seed=int(state[0]))
        return Trial(self._study, running[0]._trial_id) if running else self._study.ask()

    def _suggest(self, trial: Trial) -> Options:
        for name, kind in self._space.items():
            if isinstance(kind, FloatDistribution):
                trial.suggest_float(name, kind.low, kind.high, log=kind.log)
            else:
                trial.suggest_int(name, kind.low, kind.high, step=kind.step)
        return self._options(trial.params)

    def _options(self, params: Mapping[str, Any]) -> Options:
        return {
            name: value if isinstance(value, int) else float(f"{value:.{_DIGITS}g}")
            for name, value in ((name, params[name]) for name in self._space)
        }

    def _finished(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def in_words(options: Options) -> str:
    """``name=value`` of each option."""
    return ", ".join(f"{name}={value:g}" for name, value in options.items())


def _difference(found: Any, wanted: Mapping[str, Any]) -> str:
    """The first name that two identities give different values."""
    for name, value in wanted.items():
        if not isinstance(found, dict) or found.get(name) != value:
            earlier = found.get(name) if isinstance(found, dict) else None
            return f"{name} was {earlier}, now {value}"
    return "it tells more than this version of mtmh does"
