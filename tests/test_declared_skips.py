"""The rules about skips, on small suites; and that nothing in tests/ skips by other means."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
RULED_OUT = re.compile(r"importorskip|skipif|pytest\.skip\(|unittest.*skip|mark\.skip\b")
SUITE = """
    import pytest
    from tests.needs import needs_program

    def test_passes():
        pass

    @needs_program("no-such-program", "apt-get install it")
    @pytest.mark.parametrize("n", [1, 2])
    def test_program(n):
        pass

    @pytest.mark.xfail
    def test_expected_to_fail():
        assert False
"""
ENTRY = """
    [[allowed]]
    tests = "test_suite.py::test_*"
    says = "needs no-such-program*"
    why = "nobody has it"
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    """Runs a suite with a list of allowed skips, in this process or in two workers."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS.parent))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(code, allowed, strict="1", workers=False):
        monkeypatch.setenv("M3EVAL_NO_SKIPS", strict)
        pytester.makepyfile(test_suite=code)
        pytester.makefile(".toml", skips=allowed)
        pytester.makeini("[pytest]\nallowed_skips = skips.toml")
        words = ["-p", "tests.declared_skips"]
        if workers:
            return pytester.runpytest_subprocess(*words, "-p", "xdist", "-n", "2")
        return pytester.runpytest_inprocess(*words)

    return run


WORKERS = pytest.mark.parametrize("workers", [False, True], ids=["one process", "workers"])


@WORKERS
def test_a_skip_outside_the_list_fails(suite, workers):
    result = suite(SUITE, "", workers=workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, errors=2, xfailed=1)
    result.stdout.fnmatch_lines(
        ["*test_program?1? was skipped: needs no-such-program: apt-get install it"]
    )


@WORKERS
def test_an_allowed_skip_is_shown_with_its_reason(suite, workers):
    result = suite(SUITE, ENTRY, workers=workers)
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, skipped=2, xfailed=1)
    result.stdout.fnmatch_lines(
        ["2 skipped, needs no-such-program: apt-get install it (allowed: nobody has it)"]
    )


def test_a_module_that_is_skipped_as_a_whole_is_seen(suite):
    code = "import pytest\npytest.importorskip('no_such_package')\ndef test(): pass"
    assert suite(code, "").ret != pytest.ExitCode.OK
    entry = "[[allowed]]\ntests = '*'\nsays = \"could not import 'no_such_package'*\"\nwhy = 'none'"
    assert suite(code, entry).parseoutcomes()["skipped"] == 1


def test_an_entry_without_a_skip_is_shown(suite):
    result = suite("def test(): pass", ENTRY)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["0 skipped by the entry tests='test_suite.py::test_[*]'*"])


def test_without_the_variable_skips_are_only_told(suite):
    result = suite(SUITE, "", strict="0")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["2 skipped, needs no-such-program*(not in the list*"])


def test_a_package_that_is_broken_fails_and_one_that_is_absent_is_skipped(suite, pytester):
    pytester.makepyfile(broken="import a_module_that_is_gone")
    code = """
        from tests import needs
        needs.EXTRAS |= {"broken": "dev", "absent": "dev"}

        @needs.needs("broken")
        def test_marked():
            import broken

        def test_imported():
            needs.imported("broken")

        @needs.needs("absent")
        def test_absent():
            pass

        def test_absent_in_a_fixture():
            needs.imported("absent.part")
    """
    result = suite(code, "", strict="0")
    result.assert_outcomes(failed=2, skipped=2)
    result.stdout.fnmatch_lines(["*No module named 'a_module_that_is_gone'"])
    result.stdout.fnmatch_lines(["2 skipped, needs absent: pip install 'm3eval?dev?'*"])


def test_every_skip_goes_through_needs():
    own = {TESTS / "needs.py", Path(__file__)}
    found = [
        f"{path.relative_to(TESTS)}:{number}: {line.strip()}"
        for path in sorted(set(TESTS.rglob("*.py")) - own)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if RULED_OUT.search(line)
    ]
    assert found == [], "use tests/needs.py"
