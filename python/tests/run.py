#!/usr/bin/env python3
"""run.py [--tools DIR] [PATTERN]: the tests of the package, then mypy, auditwheel and twine.

Those three come from PyPI into a virtual environment in DIR; where they are not to be had one line says so. The
library is the one that WEIR_LIBRARY names.
"""

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = os.path.dirname(HERE)
sys.path.insert(0, PYTHON)
os.environ["PYTHONPATH"] = PYTHON
TOOLS = ("mypy", "auditwheel", "twine")


def sources():
    for top in ("weir", "examples"):
        for folder, _, files in os.walk(os.path.join(PYTHON, top)):
            for name in sorted(files):
                if name.endswith(".py"):
                    yield os.path.join(folder, name)


class Source(unittest.TestCase):
    def test_python_3_9_reads_it(self):
        for path in sources():
            with open(path, encoding="utf-8") as file:
                ast.parse(file.read(), path, feature_version=(3, 9))


class Tools(unittest.TestCase):
    """What PyPI's tools say."""

    folder = None
    problem = "not asked for (--tools)"

    @classmethod
    def setUpClass(cls):
        if cls.folder is None:
            raise unittest.SkipTest(cls.problem)
        cls.bin = os.path.join(cls.folder, "bin")
        if all(os.path.exists(os.path.join(cls.bin, name)) for name in TOOLS):
            return
        try:
            subprocess.run([sys.executable, "-m", "venv", cls.folder], check=True, capture_output=True, timeout=300)
            subprocess.run([os.path.join(cls.bin, "pip"), "install", "--quiet", "--retries", "1", "--timeout", "15",
                            *TOOLS], check=True, capture_output=True, timeout=300)
        except (OSError, subprocess.SubprocessError) as error:
            problem = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
            raise unittest.SkipTest("not to be had from PyPI: " + (problem[-1] if problem else str(error)))

    def tool(self, name, *arguments):
        environment = {**os.environ, "PATH": self.bin + os.pathsep + os.environ["PATH"], "NO_COLOR": "1"}
        del environment["PYTHONPATH"]
        done = subprocess.run([os.path.join(self.bin, name), *arguments], cwd=PYTHON, env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_mypy_strict(self):
        cache = os.path.join(self.folder, "mypy-cache")
        self.tool("mypy", "--strict", "--cache-dir", cache, "weir", "examples")

    @unittest.skipUnless(shutil.which("readelf"), "no readelf (binutils)")
    @unittest.skipUnless(os.path.isfile(os.environ.get("WEIR_LIBRARY", "")), "WEIR_LIBRARY names no file")
    def test_the_wheel(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, os.path.join(PYTHON, "wheel"), "--output", folder, "--library",
                            os.environ["WEIR_LIBRARY"]], check=True, capture_output=True)
            name, = os.listdir(folder)
            path = os.path.join(folder, name)
            self.tool("twine", "check", "--strict", path)
            tag = name[:-len(".whl")].split("-")[-1]
            self.assertIn(f'following platform tag: "{tag}"', " ".join(self.tool("auditwheel", "show", path).split()))


class Result(unittest.TextTestResult):
    def addSkip(self, test, reason):
        unittest.TestResult.addSkip(self, test, reason)
        self.stream.writeln(f"skipped: {test}: {reason}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tools", metavar="DIR")
    parser.add_argument("pattern", nargs="?", default="test_*.py")
    given = parser.parse_args()
    loader = unittest.defaultTestLoader
    suite = unittest.TestSuite([loader.discover(HERE, given.pattern, HERE)])
    if given.pattern == "test_*.py":
        Tools.folder = os.path.abspath(given.tools) if given.tools else None
        suite.addTests([loader.loadTestsFromTestCase(Source), loader.loadTestsFromTestCase(Tools)])
    result = unittest.TextTestRunner(stream=sys.stdout, resultclass=Result).run(suite)
    bad = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    # In the words of cargo's tests, which scripts/test counts.
    print(f"test result: {'FAILED' if bad else 'ok'}. {result.testsRun - bad} passed; {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
