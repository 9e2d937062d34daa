"""The wheel installs into an empty environment and works there without anything else."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = os.path.dirname(HERE)
LIBRARY = os.environ.get("WEIR_LIBRARY", "")

sys.path.insert(0, PYTHON)

import wheel_backend  # noqa: E402

PROGRAM = """
import weir, weir.abi
context = weir.Context()
first, second = weir.Stream.pair(context)
first.write(b"hello")
second.read_some(100, lambda error, data: print(data.decode(), weir.abi.lib.path))
context.run()
context.close()
"""


def clean(**changes):
    """The environment without what leads to another package or library."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("PYTHONPATH", "WEIR_LIBRARY", "WEIR_WHEEL_LIBRARY", "PYTHONHOME")}
    return {**environment, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **changes}


def run(*command, **changes):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean(**changes), cwd="/",
                          stdin=subprocess.DEVNULL)
    if done.returncode:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@unittest.skipUnless(importlib.util.find_spec("ensurepip"), "this Python makes no environments (Debian: python3-venv)")
@unittest.skipUnless(shutil.which("readelf"), "no readelf (binutils)")
@unittest.skipUnless(os.path.isfile(LIBRARY), "WEIR_LIBRARY does not say which library goes into the wheel")
class Wheel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.python = os.path.join(folder.name, "venv", "bin", "python")
        run(sys.executable, "-m", "venv", os.path.join(folder.name, "venv"))
        run(sys.executable, os.path.join(PYTHON, "wheel"), "--library", os.path.abspath(LIBRARY),
            "--output", folder.name)
        cls.wheel, = (os.path.join(folder.name, name) for name in os.listdir(folder.name) if name.endswith(".whl"))
        cls.install(cls.wheel)

    @classmethod
    def install(cls, *what):
        run(cls.python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", *what)

    def test_it_works_with_the_library_inside(self):
        word, path = run(self.python, "-I", "-c", PROGRAM).split()
        self.assertEqual(word, "hello")
        self.assertTrue(path.startswith(os.path.join(self.folder, "venv")), path)

    def test_another_library_by_WEIR_LIBRARY(self):
        copy = os.path.join(self.folder, "another.so")
        os.symlink(os.path.abspath(LIBRARY), copy)
        self.assertEqual(run(self.python, "-c", PROGRAM, WEIR_LIBRARY=copy).split(), ["hello", copy])

    def test_the_sources_install_without_PyPI_and_find_the_systems_library(self):
        target, system = os.path.join(self.folder, "target"), os.path.join(self.folder, "system")
        self.install(PYTHON, "--target", target)
        os.mkdir(system)
        os.symlink(os.path.abspath(LIBRARY), os.path.join(system, "libweir.so.0"))
        done = run(self.python, "-c", PROGRAM, PYTHONPATH=target, LD_LIBRARY_PATH=system)
        self.assertEqual(done.split(), ["hello", "libweir.so.0"])

    def test_what_is_inside(self):
        with zipfile.ZipFile(self.wheel) as file:
            names = file.namelist()
            self.assertIsNone(file.testzip())
        self.assertIn("weir/py.typed", names)
        self.assertIn("weir/lib/libweir.so.0", names)
        self.assertEqual(len(names), len(set(names)))
        sources = {name for name, _ in wheel_backend.sources()}
        self.assertEqual(sources, {name for name in names if name.startswith("weir/") and "/lib/" not in name})
        self.assertFalse([name for name in names if "__pycache__" in name])

    def test_the_same_content_gives_the_same_bytes(self):
        with open(self.wheel, "rb") as file:
            first = file.read()
        again = os.path.join(self.folder, "again")
        run(sys.executable, os.path.join(PYTHON, "wheel"), "--library", os.path.abspath(LIBRARY), "--output", again)
        with open(os.path.join(again, os.path.basename(self.wheel)), "rb") as file:
            self.assertEqual(first, file.read())

    def test_the_tag_is_that_of_the_glibc_that_is_needed(self):
        _, major, minor = os.path.basename(self.wheel).split("-")[-1].split(".")[0].split("_", 3)[:3]
        self.assertEqual((int(major), int(minor)), wheel_backend.glibc_needed(LIBRARY))

    def test_a_file_that_is_no_library_is_refused(self):
        with self.assertRaises(SystemExit):
            wheel_backend.machine_of(__file__)


if __name__ == "__main__":
    unittest.main()
