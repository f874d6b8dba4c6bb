"""The plugin for pytest, in runs of pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

import mbuf_pytest

pytest_plugins = ("pytester",)

LEAK = """
def receive(pool):
    return pool.getcl()

kept = []

def test_leak(mbuf_pool):
    kept.extend(receive(mbuf_pool) for _ in range(2))
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs pytest on a file with this text."""
    # It runs in another directory, and the plugin may not be installed.
    monkeypatch.setenv("PYTHONPATH", str(Path(mbuf_pytest.__file__).resolve().parent))

    def run(text):
        pytester.makepyfile(test_it=text)
        return pytester.runpytest_subprocess(
            "-p", "no:cacheprovider", "-p", "mbuf_pytest", "-W", "error", "--strict-markers"
        )

    return run


def test_a_test_that_leaves_mbufs_out_is_an_error_that_says_where(run):
    result = run(LEAK)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "2 mbufs are out:",
            "  2 allocated at *test_it.py:*",
        ]
    )


def test_a_test_that_frees_all_passes(run):
    run("def test_it(mbuf_pool):\n    mbuf_pool.getcl().freem()\n    assert mbuf_pool.debug").assert_outcomes(passed=1)


def test_of_a_test_that_fails_only_the_failure_is_shown(run):
    result = run("def test_it(mbuf_pool):\n    m = mbuf_pool.getcl()\n    assert len(m) == 1")
    result.assert_outcomes(failed=1)


def test_a_fixture_may_free_what_the_test_used(run):
    result = run(
        """
        import pytest

        @pytest.fixture
        def packet(mbuf_pool):
            m = mbuf_pool.getcl()
            yield m
            m.freem()

        def test_it(packet):
            assert len(packet) == 0
        """
    )
    result.assert_outcomes(passed=1)


def test_the_marker_gives_the_arguments_of_the_pool(run):
    result = run(
        """
        import pytest
        from mbuf import NoBufs

        pytestmark = pytest.mark.mbuf_pool(limits={"clust": 2})

        def test_of_a_module(mbuf_pool):
            kept = mbuf_pool.getcl_bulk(2)
            with pytest.raises(NoBufs):
                mbuf_pool.getcl()
            mbuf_pool.free_bulk(kept)

        @pytest.mark.mbuf_pool("1M", debug=False)
        def test_of_a_test(mbuf_pool):
            assert not mbuf_pool.debug
            assert mbuf_pool.vm.realmem == 1 << 20
        """
    )
    result.assert_outcomes(passed=2)


def test_a_run_without_the_fixture_loads_nothing_else():
    code = "import sys, mbuf_pytest; print([name for name in sys.modules if name.split('.')[0] == 'mbuf'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
