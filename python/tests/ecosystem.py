#!/usr/bin/env python3
"""ecosystem.py [--folder DIR] [--short]: programs from PyPI on the loop of weir.asyncio.

aiohttp (server and client), httpx with uvicorn, anyio, websockets, redis-py with a redis-server and asyncpg with a
PostgreSQL, each in a process of its own; then the tests of uvloop that it has for asyncio's loop, from its source
package, once with asyncio's loop and once with ours in its place. Packages are installed in a virtual environment in
DIR, which is kept. --short leaves uvloop's tests out. What cannot be installed or is not there is told as skipped.
"""

import argparse
import glob
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

import cpython_suite

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(HERE)
PACKAGES = ["aiohttp", "httpx", "uvicorn", "anyio", "websockets", "redis", "asyncpg", "uvloop",
            "psutil", "pyOpenSSL"]  # The last two are for uvloop's tests.
LIMIT = 120


def environment(folder):
    """The interpreter of a virtual environment with the packages, or None."""
    folder = os.path.abspath(folder)
    python = os.path.join(folder, "venv", "bin", "python")
    marker = os.path.join(folder, "installed")
    if os.path.exists(marker):
        return python
    os.makedirs(folder, exist_ok=True)
    for command in ([sys.executable, "-m", "venv", "--clear", os.path.join(folder, "venv")],
                    [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--retries", "1",
                     "--timeout", "15", *PACKAGES]):
        if subprocess.run(command, timeout=500).returncode:
            return None
    open(marker, "w").close()
    return python


def program(python, name, *arguments):
    """Whether a program came to its end."""
    try:
        got = subprocess.run(
            [python, "-X", "faulthandler", os.path.join(HERE, "ecosystem_programs.py"), name, *arguments],
            env=dict(os.environ, PYTHONPATH=PACKAGE), capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        print(f"{name}: no end after {LIMIT} s")
        return False
    good = got.returncode == 0 and got.stdout.endswith("ok\n")
    print(got.stdout.strip() if good else f"{name}: FAILED\n{got.stdout}{got.stderr}", flush=True)
    return good


def wait_for(check, seconds=30):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            raise RuntimeError("a server did not start")
        time.sleep(0.05)


def with_redis(python, folder):
    server = shutil.which("redis-server")
    if not server:
        return None
    path = os.path.join(folder, "redis.socket")
    process = subprocess.Popen([server, "--port", "0", "--unixsocket", path, "--save", ""], cwd=folder,
                               stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: os.path.exists(path))
        return program(python, "redis", path)
    finally:
        process.terminate()
        process.wait()


def with_postgres(python, folder):
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found:
        return None
    data = os.path.join(folder, "data")
    os.makedirs(data)
    user = []
    if os.getuid() == 0:
        # It refuses to run as root.
        user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        os.chmod(folder, 0o755)
        shutil.chown(data, "postgres", "postgres")
    subprocess.run([*user, os.path.join(found[-1], "initdb"), "-D", data, "-U", "postgres", "-A", "trust",
                    "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd=data)
    process = subprocess.Popen([*user, os.path.join(found[-1], "postgres"), "-D", data, "-k", data, "-h", "",
                                "-F"], cwd=data, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: os.path.exists(os.path.join(data, ".s.PGSQL.5432")))
        # The socket is there a moment before it takes connections.
        ready = [os.path.join(found[-1], "pg_isready"), "-q", "-h", data]
        wait_for(lambda: subprocess.run(ready).returncode == 0)
        return program(python, "asyncpg", data)
    finally:
        process.terminate()
        process.wait()


def uvloop_tests(python, folder):
    """Passed and failed of uvloop's own tests, or None."""
    source = os.path.join(folder, "uvloop")
    if not glob.glob(os.path.join(source, "*", "tests")):
        version = subprocess.run([python, "-c", "import uvloop; print(uvloop.__version__)"],
                                 capture_output=True, text=True, check=True).stdout.strip()
        for command in ([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "Cython",
                         "setuptools", "wheel"],
                        [python, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                         "--no-build-isolation", "--no-binary", ":all:", "-d", source,
                         f"uvloop=={version}"]):
            if subprocess.run(command, timeout=300).returncode:
                return None
        with tarfile.open(glob.glob(os.path.join(source, "*.tar.gz"))[0]) as archive:
            archive.extractall(source)
    root = glob.glob(os.path.join(source, "*", "tests"))[0][:-len("/tests")]
    # The package is installed; of the source only the tests are wanted.
    tests = os.path.join(source, "only")
    shutil.rmtree(tests, ignore_errors=True)
    shutil.copytree(os.path.join(root, "tests"), os.path.join(tests, "tests"))
    modules = sorted("tests." + os.path.basename(name)[:-3]
                     for name in glob.glob(os.path.join(tests, "tests", "test_*.py")))
    stock, weir = {}, {}
    with tempfile.TemporaryDirectory() as logs:
        for module in modules:
            for mode, into in (("stock", stock), ("weir", weir)):
                into[module] = cpython_suite.run(python, mode, module, logs, path=tests)
        flaky, bad = cpython_suite.compare(python, modules, stock, weir, logs, tests)
    return cpython_suite.tell("uvloop's tests for asyncio", stock, weir, flaky, bad)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", default="build/ecosystem")
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    python = environment(given.folder)
    if python is None:
        print("skipped: the packages cannot be installed from PyPI")
        return 0
    passed = failed = 0
    results = {name: program(python, name) for name in ("aiohttp", "httpx", "anyio", "websockets")}
    for name, function in (("redis", with_redis), ("asyncpg", with_postgres)):
        with tempfile.TemporaryDirectory() as folder:
            results[name] = function(python, folder)
    for name, good in results.items():
        if good is None:
            print(f"skipped: {name}: no server is installed")
        passed += good is True
        failed += good is False
    if not given.short:
        got = uvloop_tests(python, os.path.abspath(given.folder))
        if got is None:
            print("skipped: uvloop's source package cannot be had")
        else:
            passed += got[0]
            failed += got[1]
    print(f"{100 * passed // max(1, passed + failed)}% tests passed, {failed} tests failed out of {passed + failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
