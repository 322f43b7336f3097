"""The search alone, with objectives whose best is known: interrupted, killed, pruned, out of time."""

import logging
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from preprocessing.errors import UserError
from trainer.search import PrunedError, Search, nearest

SPACE = {"a.rate": FloatDistribution(0.001, 1.0, log=True), "a.size": IntDistribution(32, 128, step=16)}
FIRST = {"a.rate": 0.5, "a.size": 64}


def open_search(path, *, first=FIRST, identity=None, seed=0, space=SPACE):
    return Search(path / "trials.db", space, lambda: first, identity or {"data": "x"}, seed)


def score_of(options):
    """Best at 0.1 and 96."""
    return 1.0 - abs(options["a.rate"] - 0.1) - abs(options["a.size"] - 96) / 1000


def easy(number, options, report):
    report(1, score_of(options))
    return score_of(options), {"recall": number / 100, "topic_match": None}


def listed(search):
    return sorted((result.number, tuple(result.options.items()), result.score) for result in search.results)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    search = open_search(tmp_path_factory.mktemp("whole"))
    search.run(easy, trials=14)
    return search


def test_begins_with_what_stands_and_finds_better(uninterrupted):
    results = uninterrupted.results
    assert len(results) == 14
    first = next(result for result in results if result.number == 0)
    assert first.options == FIRST
    scored = [result.score for result in results if result.score is not None]
    assert scored == sorted(scored, reverse=True)
    assert results[0].score == score_of(results[0].options) > first.score
    assert results[0].figures == {"recall": results[0].number / 100, "topic_match": None}


def test_suggestions_stay_in_their_ranges_and_are_short(uninterrupted):
    for result in uninterrupted.results:
        assert 0.001 <= result.options["a.rate"] <= 1.0
        assert float(f"{result.options['a.rate']:.3g}") == result.options["a.rate"]
        assert result.options["a.size"] in range(32, 129, 16)
        assert type(result.options["a.size"]) is int


def test_same_seed_same_suggestions_and_another_seed_others(uninterrupted, tmp_path):
    for name, seed, same in (("again", 0, True), ("other", 1, False)):
        search = open_search(tmp_path / name, seed=seed)
        search.run(easy, trials=14)
        assert (listed(search) == listed(uninterrupted)) is same


def test_trials_are_the_total_and_a_search_in_pieces_is_the_same(uninterrupted, tmp_path):
    for total in (1, 3, 3, 2, 11, 14):
        search = open_search(tmp_path)
        search.run(easy, trials=total)
    assert listed(search) == listed(uninterrupted)
    search.run(lambda *_: pytest.fail("nothing is left to try"), trials=14)


def test_no_two_trials_after_a_restart_are_the_same(tmp_path):
    for total in range(1, 9):
        open_search(tmp_path).run(easy, trials=total)
    options = {tuple(result.options.items()) for result in open_search(tmp_path).results}
    assert len(options) == 8


def test_an_interrupted_trial_comes_again_with_its_options(uninterrupted, tmp_path):
    asked = []

    def failing(number, options, report):
        asked.append((number, options))
        if number == 2 and len(asked) < 5:
            report(1, score_of(options))
            raise KeyboardInterrupt
        return easy(number, options, report)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            open_search(tmp_path).run(failing, trials=14)
    search = open_search(tmp_path)
    search.run(failing, trials=14)
    assert [number for number, _ in asked[:6]] == [0, 1, 2, 2, 2, 3]
    assert asked[2] == asked[3] == asked[4]
    assert listed(search) == listed(uninterrupted)


def test_a_killed_process_loses_its_trial_only(uninterrupted, tmp_path):
    program = f"""
        import os, signal
        from pathlib import Path
        from tests.trainer.test_search import easy, open_search
        def objective(number, options, report):
            if number == 3:
                report(1, 0.5)
                os.kill(os.getpid(), signal.SIGKILL)
            return easy(number, options, report)
        open_search(Path({str(tmp_path)!r})).run(objective, trials=14)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == -9
    search = open_search(tmp_path)
    assert [result.number for result in sorted(search.results, key=lambda r: r.number)] == [0, 1, 2]
    search.run(easy, trials=14)
    assert listed(search) == listed(uninterrupted)


def test_time_over_leaves_the_trial_to_the_next_run(tmp_path, monkeypatch):
    epochs, clock = [], types.SimpleNamespace(now=0.0)
    monkeypatch.setattr("trainer.search.time", types.SimpleNamespace(monotonic=lambda: clock.now))

    def slow(number, options, report):
        for epoch in (1, 2, 3):
            epochs.append((number, epoch))
            clock.now += 1.0
            report(epoch, 0.5)
        return 0.5, {}

    search = open_search(tmp_path)
    search.run(slow, trials=3, seconds=5.0)
    assert epochs == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]
    assert [result.number for result in search.results] == [0]
    search.run(slow, trials=2, seconds=60.0)
    assert sorted(result.number for result in search.results) == [0, 1]
    assert len(epochs) == 8
    search.run(lambda *_: pytest.fail("no time for another"), trials=9, seconds=0.0)


def test_what_is_below_the_median_is_pruned_and_counts(tmp_path):
    reported = []

    def poor_from_the_sixth(number, options, report):
        score = 0.1 if number >= 6 else 0.5 + number / 100
        for epoch in (1, 2, 3, 4):
            reported.append((number, epoch))
            report(epoch, score)
        return score, {}

    search = open_search(tmp_path)
    search.run(poor_from_the_sixth, trials=8)
    pruned = [result for result in search.results if result.score is None]
    assert sorted(result.number for result in pruned) == [6, 7]
    assert search.results[-2:] == pruned
    assert max(epoch for number, epoch in reported if number >= 6) < 4
    assert max(epoch for number, epoch in reported if number < 6) == 4


def test_what_gives_itself_up_is_pruned_with_its_reason(tmp_path, caplog):
    def hopeless(number, options, report):
        raise PrunedError("the loss became nan")

    search = open_search(tmp_path)
    with caplog.at_level(logging.INFO, logger="mtmh.tune"):
        search.run(hopeless, trials=1)
    assert [(result.number, result.score) for result in search.results] == [(0, None)]
    assert "trial 0: pruned, the loss became nan" in caplog.text


def test_a_fault_of_a_trial_is_not_swallowed(tmp_path):
    def faulty(number, options, report):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        open_search(tmp_path).run(faulty, trials=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"identity": {"data": "y"}}, "data was x, now y"),
        ({"identity": {"data": "x", "seed": 3}}, "seed was None, now 3"),
        ({"space": SPACE | {"a.rate": FloatDistribution(0.001, 2.0, log=True)}}, "range of a.rate was"),
    ],
)
def test_trials_of_another_kind_are_refused(tmp_path, changes, said):
    open_search(tmp_path).run(easy, trials=1)
    with pytest.raises(UserError, match=said) as error:
        open_search(tmp_path, **changes)
    assert f"move {tmp_path} away" in str(error.value)


def test_a_damaged_file_is_said_so(tmp_path):
    (tmp_path / "trials.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match="damaged"):
        open_search(tmp_path)


def test_a_place_with_odd_characters(tmp_path):
    place = tmp_path / "100% #1? & ü"
    open_search(place).run(easy, trials=1)
    assert [path.name for path in place.iterdir()] == ["trials.db"]
    assert len(open_search(place).results) == 1


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.001), (5.0, 1.0), (0.3, 0.3)])
def test_nearest_in_a_range(value, expected):
    assert nearest(SPACE["a.rate"], value) == expected


@pytest.mark.parametrize(("value", "expected"), [(8, 32), (200, 128), (64, 64), (70, 64), (73, 80)])
def test_nearest_step(value, expected):
    assert nearest(SPACE["a.size"], value) == expected
