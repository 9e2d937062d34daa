"""cpython_module.py stock|weir MODULE RESULT: runs one module of CPython's test.test_asyncio.

With `weir` our loop takes the place of asyncio's selector loop, under all of its names, before the tests are
imported. Of the tests of uvloop (a MODULE of its package `tests`) only those for asyncio's loop are run. RESULT becomes
a JSON object: the outcome of each test by its name. A helper of cpython_suite.py.
"""

import asyncio
import json
import sys
import time
import unittest
import warnings
from asyncio import unix_events


def inject():
    from weir.asyncio import EventLoop

    for module in (asyncio, unix_events):
        module.SelectorEventLoop = EventLoop
        if hasattr(module, "EventLoop"):
            module.EventLoop = EventLoop
    unix_events._UnixSelectorEventLoop = EventLoop
    unix_events._UnixDefaultEventLoopPolicy._loop_factory = EventLoop
    # What makes no loop of ours would be a test of asyncio against itself.
    loop = asyncio.new_event_loop()
    assert isinstance(loop, EventLoop), loop
    loop.close()


class Result(unittest.TextTestResult):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.outcomes = {}
        self.began = time.monotonic()  # Python 3.12.1 stops tests that it did not start.
        self.seconds = {}

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        # Only a pass overwrites nothing: a test that did not get to its end says so.
        self.outcomes[test.id()] = ["lost", "it began and had no outcome"]

    def stopTest(self, test):
        self.seconds[test.id()] = time.monotonic() - self.began
        super().stopTest(test)

    def note(self, test, outcome, text=""):
        self.outcomes[test.id()] = [outcome, text]

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test, "passed")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped", reason)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.note(test, "failed", self.failures[-1][1])

    def addError(self, test, error):
        super().addError(test, error)
        self.note(test, "failed", self.errors[-1][1])

    def addExpectedFailure(self, test, error):
        super().addExpectedFailure(test, error)
        self.note(test, "passed", "expected failure")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.note(test, "failed", "unexpected success")

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.note(subtest, "failed", str(error[1]))


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def for_asyncio(suite):
    from uvloop import _testbase

    # A module that cannot be imported is a test that fails.
    wanted = (_testbase.AIOTestCase, unittest.loader._FailedTest)
    return unittest.TestSuite(test for test in flat(suite) if isinstance(test, wanted))


def main():
    mode, module, path, *only = sys.argv[1:]
    if mode == "weir":
        inject()
    try:
        from test import support
        # As `python -m test` does it: a short pause of the machine is no failure.
        support.use_resources = None
    except ImportError:
        pass
    loader = unittest.TestLoader()
    results = {"outcomes": {}, "error": None}
    try:
        suite = loader.loadTestsFromNames(only or [module])
    except unittest.SkipTest as skip:
        results["outcomes"][module] = ["skipped", str(skip)]
        suite = None
    if suite is not None and module.startswith("tests."):
        suite = for_asyncio(suite)
    if suite is not None:
        warnings.simplefilter("default")
        runner = unittest.TextTestRunner(verbosity=2, resultclass=Result)
        got = runner.run(suite)
        results["outcomes"] = got.outcomes
        results["seconds"] = got.seconds
        for test, text in got.failures + got.errors:
            # What failed outside a test: setUpModule, setUpClass.
            results["outcomes"].setdefault(test.id(), ["failed", text])
        for test, reason in got.skipped:
            results["outcomes"].setdefault(test.id(), ["skipped", reason])
    with open(path, "w") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main()
