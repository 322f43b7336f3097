import dataclasses
import errno

import pytest

from preprocessing.dead_letters import Account, add_accounts, check_any_good, check_bad_share
from preprocessing.errors import UserError
from preprocessing.finish import load_result
from preprocessing.manifest import save_manifest
from preprocessing.mistakes import Mistake, first_mistake, lasting_fault
from preprocessing.rows import FileFault
from preprocessing.schema import Manifest, TableCounts

ONE = Account(10, {"nul_byte": 2}, {"repeat": 1}, {"nul_byte": ("b.csv", 3, "one")}, (("b.csv", FileFault("x", "y")),))
TWO = Account(
    5, {"nul_byte": 1, "bad_json": 1}, {}, {"nul_byte": ("a.csv", 9, "two"), "bad_json": ("a.csv", 4, "no JSON")}
)


def test_accounts_add_up_in_any_order():
    both = add_accounts([ONE, TWO])
    assert both == add_accounts([TWO, ONE])
    assert (both.rows_in, both.bad, both.good) == (15, 4, 10)
    assert both.examples == {"nul_byte": ("a.csv", 9, "two"), "bad_json": ("a.csv", 4, "no JSON")}
    assert add_accounts([]) == Account()


def test_too_many_bad_rows():
    both = add_accounts([ONE, TWO])
    check_bad_share("items", both, 4 / 15, "out")
    with pytest.raises(UserError) as caught:
        check_bad_share("items", both, 0.26, "out")
    assert str(caught.value) == (
        "4 of 15 rows of items are bad (26.7%, at most 26.0% are accepted): nul_byte 3 (first: a.csv:9): two; "
        "bad_json 1 (first: a.csv:4): no JSON; b.csv: x (y); each is in out/dead_letters; "
        "repair the input or raise input.max_bad_share"
    )


def test_no_rows():
    check_any_good("items", ONE)
    with pytest.raises(UserError, match="the items have no rows, nothing below a header"):
        check_any_good("items", Account())
    with pytest.raises(UserError, match=r"no usable row in the 3 rows of items: event_filter 3; .*input\.events"):
        check_any_good("items", Account(3, {}, {"event_filter": 3}))
    kinds = [Account(9, dropped={"event_filter": 9}, other_events={kind: 3}) for kind in ("buy", "view", "")]
    with pytest.raises(UserError, match=r"event_filter 36; .*; the events are view, none, buy$"):
        check_any_good("items", add_accounts([*kinds, Account(9, {}, {"event_filter": 9}, other_events={"view": 9})]))
    many = Account(99, dropped={"event_filter": 99}, other_events={f"e{i:02}": 1 for i in range(99)})
    with pytest.raises(UserError, match=r"the events are e00, .*, e11$"):
        check_any_good("items", many)
    with pytest.raises(UserError, match=r"no rows.*b\.csv: x \(y\)"):
        check_any_good("items", Account(faults=ONE.faults))


def test_the_first_mistake_does_not_depend_on_the_order():
    assert first_mistake([1, Mistake("b"), Mistake("a")]) == Mistake("a")
    assert first_mistake([1, None]) is None


COUNTS = TableCounts(1, 1, {}, {}, {})
MANIFEST = Manifest(4, COUNTS, COUNTS, COUNTS, 1, 1, 1, 1, 1, 1, 1, 4.0, 5.0, (), {})


@pytest.mark.parametrize(
    ("change", "match"),
    [({"num_pairs": 0}, "no training pair comes of"), ({"num_triggers": 0}, "no eval trigger comes of")],
)
def test_nothing_to_learn_from_or_to_evaluate(tmp_path, change, match):
    save_manifest(MANIFEST, str(tmp_path))
    assert load_result(str(tmp_path)) == MANIFEST
    save_manifest(dataclasses.replace(MANIFEST, **change), str(tmp_path))
    with pytest.raises(UserError, match=match):
        load_result(str(tmp_path))


def test_a_run_without_a_manifest(tmp_path):
    with pytest.raises(UserError, match="free space"):
        load_result(str(tmp_path / "staged"))


def test_a_disk_that_stays_full_is_a_mistake_and_what_may_pass_is_not():
    full = lasting_fault(OSError(errno.ENOSPC, "No space left on device"), "out")
    assert full == Mistake("cannot write to out: No space left on device; free some space or name another directory")
    with pytest.raises(TimeoutError):
        lasting_fault(TimeoutError(errno.ETIMEDOUT, "timed out"), "out")


def test_rows_that_are_not_accounted_for_are_a_bug(tmp_path):
    save_manifest(dataclasses.replace(MANIFEST, items=TableCounts(2, 1, {}, {}, {})), str(tmp_path))
    with pytest.raises(RuntimeError, match="2 rows were read, 1 are accounted for"):
        load_result(str(tmp_path))
