"""A replay goes on after a failure that kernel and library handle differently; it reports other differences."""

import pytest

from conformance import replay
from conformance.ops import OPS
from mbuf import M_NOWAIT, Inval, NoBufs

(BOOT,) = replay.load(replay.TRACES / "h_boot_default.jsonl.gz")
NOP, GETCL = BOOT.ops[:2]
FREED = {"chg": {"1": None}, "st": {name: NOP["st"][name] for name in GETCL["st"]}}


def report(*ops):
    """The report on a program that first allocates a packet."""
    return replay.report(replay.Program("p", BOOT.boot, [NOP, GETCL, *ops]))


def fails(error, change=lambda m: None):
    """An operation that changes something and then raises."""

    def perform(machine, op):
        change(machine.m[1])
        raise error

    return perform


def refused(machine, op):
    """An operation whose request for memory is refused, and which then raises Inval."""
    try:
        machine.pool.get(M_NOWAIT)
    except NoBufs:
        raise Inval("no") from None


PULLUP = {"op": "pullup", "m": 1, "len": 300, "r": 0, **FREED}


def test_a_chain_that_the_kernel_has_freed_is_freed():
    assert report(PULLUP) == ("passed", "p: ok (3 ops)")


def test_a_chain_that_the_kernel_has_freed_must_not_have_changed_here(monkeypatch):
    monkeypatch.setitem(OPS, "pullup", fails(Inval("no"), lambda m: m.append(b"abc")))
    word, line = report(PULLUP)
    assert word == "failed"
    assert line == "p: op 2 pullup: state.1.0.l: expected 0, got 3"


def test_an_error_is_reported_if_the_kernel_had_none(monkeypatch):
    monkeypatch.setitem(OPS, "pullup", fails(NoBufs("no")))
    assert report({"op": "pullup", "m": 1, "len": 3, "r": 1})[1] == "p: op 2 pullup: r: expected 1, got NoBufs('no')"


def test_inval_does_not_match_a_lack_of_memory(monkeypatch):
    monkeypatch.setitem(OPS, "pullup", refused)
    fail = {"op": "fail", "zone": "mbuf", "n": 1, "cnt": 1}
    assert report(fail, PULLUP)[1] == "p: op 3 pullup: r: expected 0, got Inval('no')"


def test_only_some_operations_may_raise_inval(monkeypatch):
    monkeypatch.setitem(OPS, "prepend", fails(Inval("no")))
    assert report({**PULLUP, "op": "prepend"})[1] == "p: op 2 prepend: r: expected 0, got Inval('no')"


@pytest.mark.parametrize("error", [NoBufs("no"), Inval("no")])
def test_a_verb_without_result_may_fail_only_if_memory_was_refused(monkeypatch, error):
    monkeypatch.setitem(OPS, "copyback", fails(error))
    copyback = {"op": "copyback", "m": 1, "off": 0, "len": 3, "seed": 1}
    assert report(copyback)[1] == f"p: op 2 copyback: r: expected nothing, got {error!r}"


def test_a_verb_without_result_may_not_fail_if_the_kernel_succeeded():
    copied = GETCL["chg"]["1"][0] | {"l": 2049}
    fail = {"op": "fail", "zone": "mbuf", "n": 1, "cnt": 1}
    copyback = {"op": "copyback", "m": 1, "off": 0, "len": 2049, "seed": 1, "chg": {"1": [copied]}}
    assert report(fail, copyback)[1] == "p: op 3 copyback: r: expected nothing, got NoBufs"
