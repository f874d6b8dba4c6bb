"""A replay reports every difference."""

import subprocess
import sys
from copy import deepcopy

import pytest

from conformance import replay
from conformance.chain_state import pat
from conformance.machine import DRAINS
from conformance.ops import OPS
from mbuf import Inval

(BOOT,) = replay.load(replay.TRACES / "h_boot_default.jsonl.gz")
NOP = BOOT.ops[0]


def test_the_byte_pattern_is_that_of_the_traces():
    assert pat(1, 8).hex() == "74fb69dee1194c4f"
    assert pat(1024, 8).hex() == "d5927d393bbe2bd5"
    assert pat(0, 4).hex() == "dc0465aa"


# (operation, path in its line, the value written there, the message)
CHANGED = [
    (1, ["r"], 0, "op 1 getcl: r: expected 0, got 1"),
    (1, ["ev"], [{"k": "apply"}], "op 1 getcl: ev: expected [{'k': 'apply'}], got []"),
    (1, ["chg", "1", 0, "f"], 3, "op 1 getcl: chain 1 mbuf 0.f: expected 3, got 1"),
    (1, ["chg", "1", 0, "x", "rc"], 2, "op 1 getcl: chain 1 mbuf 0.x.rc: expected 2, got 1"),
    (1, ["chg", "1", 0, "h"], {"len": 0}, "op 1 getcl: chain 1 mbuf 0.h.len: expected 0, got nothing"),
    (1, ["chg", "1", 0, "np"], 1, "op 1 getcl: chain 1 mbuf 0.np: expected 1, got nothing"),
    (1, ["chg"], {}, "op 1 getcl: handles: expected [], got [1]"),
    (2, ["chg", "2", 0, "id"], 1, "op 2 get: chain 2 mbuf 0.id: expected 1, got another mbuf"),
    (4, ["chg", "3", 0, "id"], 2, "op 4 clget: chain 3 mbuf 0.id: expected 2, got another mbuf"),
    (4, ["chg", "3", 0, "x", "b"], 1, "op 4 clget: chain 3 mbuf 0.x.b: expected 1, got another buffer"),
    (1, ["st", "cur.pack"], 2, "op 1 getcl: cur.pack: expected 2, got 1"),
    (14, ["st", "eh.nmbclusters"], 0, "op 14 sysctl: eh.nmbclusters: expected 0, got 1"),
    (1, ["st", "drain0"], 1, "op 1 getcl: drain0 called: expected True, got False"),
    (2, ["flags"], 0, None),
    (2, ["how"], 3, "op 2 get: r: expected 1, got Inval('how 3: give M_NOWAIT or M_WAITOK')"),
]


@pytest.mark.parametrize(("index", "path", "value", "message"), CHANGED)
def test_a_changed_trace_differs(index, path, value, message):
    program = deepcopy(BOOT)
    place = program.ops[index]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    report = replay.report(program)
    assert report == (
        ("failed", f"h_boot_default: {message}") if message else ("passed", "h_boot_default: ok (31 ops)")
    )


def test_what_a_trace_does_not_mention_must_not_change(monkeypatch):
    monkeypatch.setitem(OPS, "meddle", lambda machine, op: setattr(machine.m[1], "len", 5))
    program = replay.Program("p", BOOT.boot, [NOP, BOOT.ops[1], {"op": "meddle"}])
    assert replay.report(program)[1].startswith("p: op 2 meddle: chain 1 mbuf 0.l: expected 0, got 5")


def limited(drains: int) -> replay.Program:
    """A program that gets the only cluster, and then requests another."""
    tun = {"kern.ipc.nmbclusters": 1}
    nop = {"op": "nop", "st": NOP["st"] | {"max.clust": 1, "nmbclusters": 1}}
    again = BOOT.ops[1] | {"m": 2, "r": 0, "chg": {}, "st": dict.fromkeys(DRAINS, drains)}
    return replay.Program("p", {"tun": tun}, [nop, BOOT.ops[1], again])


def test_a_request_at_the_limit_calls_the_drains():
    assert replay.report(limited(drains=1)) == ("passed", "p: ok (3 ops)")


def test_an_unexpected_call_of_the_drains_differs():
    found = replay.report(limited(drains=0))
    assert found == ("failed", "p: op 2 getcl: drain0 called: expected False, got True (without caches)")


@pytest.mark.parametrize(
    ("last", "outcome", "message"),
    [
        ({"op": "nop"}, "returned", "p: ok (2 ops)"),
        ({"op": "nop"}, "panic", "p: op 1 nop: outcome: expected raised, got returned"),
        ({"op": "get", "m": 1, "how": 0, "type": 1}, "fault", "p: ok (2 ops)"),
        (
            {"op": "get", "m": 1, "how": 0, "type": 1},
            "returned",
            "p: op 1 get: outcome: expected returned, got raised",
        ),
    ],
)
def test_the_last_operation_must_have_the_stated_outcome(last, outcome, message):
    assert replay.report(replay.Program("p", BOOT.boot, [NOP], last, outcome))[1] == message


def test_a_refused_operation_changes_nothing(monkeypatch):
    def refuse(machine, op):
        machine.m[1].len = 5
        raise Inval("no")

    monkeypatch.setitem(OPS, "refuse", refuse)
    program = replay.Program("p", BOOT.boot, [NOP, BOOT.ops[1]], {"op": "refuse"}, "panic")
    word, line = replay.report(program)
    assert word == "failed"
    assert line.startswith("p: op 2 refuse: state.1.0.l: expected 0, got 5")


def test_a_program_with_an_unknown_operation_is_skipped():
    program = replay.Program("p", BOOT.boot, [NOP, {"op": "fly"}])
    assert replay.report(program) == ("skipped", "p: skipped (operation fly is not built)")


@pytest.mark.parametrize("option", [[], ["--pure"]])
def test_the_command_prints_the_result_of_each_trace(option):
    file = replay.TRACES / "h_boot_default.jsonl.gz"
    done = subprocess.run([sys.executable, replay.__file__, *option, file], capture_output=True, text=True, check=True)
    assert done.stdout == "h_boot_default: ok (31 ops)\n1 passed, 0 failed, 0 skipped\n"
    assert not done.stderr
