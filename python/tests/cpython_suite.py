#!/usr/bin/env python3
"""cpython_suite.py [--python PYTHON]... [--modules A,B] [--jobs N]: CPython's own tests of asyncio on libweir's loop.

Each module of test.test_asyncio, from the installed Python, runs in two processes: with asyncio as it is, and
with weir.asyncio.EventLoop in the place of the selector loop. It fails where a test fails, is skipped or is missing
with our loop that is not so with asyncio's own. A test that differs is run again, alone, once on each side: what
passes then is called flaky and counted, and no more than three may be.
"""

import argparse
import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(HERE)
LIMIT = 400  # Seconds for one module.
FLAKY = 3


def modules_of(python):
    code = ("import os, test.test_asyncio as t; print(os.path.dirname(t.__file__))")
    got = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if got.returncode:
        return None
    return sorted("test.test_asyncio." + name[:-3] for name in os.listdir(got.stdout.strip())
                  if name.startswith("test_") and name.endswith(".py"))


def run(python, mode, module, folder, only=(), path=None):
    """The outcomes of one module: name to [outcome, text]. `path` is where Python finds it, if not by itself."""
    name = f"{module}.{mode}" + (".again" if only else "")
    results = os.path.join(folder, name + ".json")
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([PACKAGE] + ([path] if path else [])))
    with open(os.path.join(folder, name + ".log"), "w") as log:
        process = subprocess.Popen(
            [python, "-X", "faulthandler", os.path.join(HERE, "cpython_module.py"), mode, module, results,
             *only], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment,
            cwd=folder, start_new_session=True)
        try:
            status = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)
            process.wait()
            status = f"no end after {LIMIT} s"
    if status != 0:
        with open(log.name, errors="replace") as log:
            end = log.read()[-1500:]
        return {module: ["failed", f"the process: {status}\n{end}"]}
    with open(results) as file:
        return json.load(file)["outcomes"]


def worse(stock, weir):
    """The names whose outcome with our loop is worse than with asyncio's own."""
    rank = {"passed": 0, "skipped": 1, "failed": 2, "lost": 2}
    names = []
    for name in sorted(set(stock) | set(weir)):
        ours = weir.get(name, ["lost", "it did not run"])
        theirs = stock.get(name, ["passed", ""])
        if rank[ours[0]] > rank[theirs[0]]:
            names.append(name)
    return names


def count(outcomes, what):
    return sum(1 for outcome, _ in outcomes.values() if outcome in what)


def suite(python, wanted, jobs, folder):
    version = subprocess.run([python, "-c", "import platform; print(platform.python_version())"],
                             capture_output=True, text=True).stdout.strip()
    modules = modules_of(python)
    if modules is None:
        print(f"CPython {version}: no test.test_asyncio installed (Debian: libpython3.N-testsuite)")
        return None
    if wanted:
        modules = [module for module in modules if module.rpartition(".")[2] in wanted]
    stock, weir = {}, {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        pending = {}
        for module in modules:
            for mode in ("stock", "weir"):
                pending[pool.submit(run, python, mode, module, folder)] = (mode, module)
        for done in concurrent.futures.as_completed(pending):
            mode, module = pending[done]
            (stock if mode == "stock" else weir)[module] = done.result()
    flaky, bad = compare(python, modules, stock, weir, folder)
    return tell(f"CPython {version}", stock, weir, flaky, bad)


def compare(python, modules, stock, weir, folder, path=None):
    """What is worse with our loop: the names that were flaky, and (name, outcome) of the others."""
    flaky, bad = [], []
    for module in modules:
        process = weir[module].get(module)
        if process is not None and process[0] == "failed":
            bad.append((module, process))
            continue
        names = worse(stock[module], weir[module])
        if not names:
            continue
        again = [name for name in names if name.startswith(module) and " " not in name]
        if len(again) == len(names):
            two = {mode: run(python, mode, module, folder, again, path) for mode in ("stock", "weir")}
            still = worse(two["stock"], two["weir"])
            flaky += [name for name in names if name not in still]
            names = still
        bad += [(name, weir[module].get(name, ["lost", ""])) for name in names]
    return flaky, bad


def tell(title, stock, weir, flaky, bad):
    """Prints the figures; gives the numbers passed and failed."""
    both = {}
    for label, results in (("asyncio", stock), ("weir", weir)):
        every = {name: outcome for module in results for name, outcome in results[module].items()}
        both[label] = every
        print(f"{title} {label}: {len(every)} tests, {count(every, ['failed', 'lost'])} failed, "
              f"{count(every, ['skipped'])} skipped")
    for name in flaky:
        print(f"  flaky: {name}")
    for name, (outcome, text) in bad:
        print(f"  {outcome}: {name}\n    " + text.strip().replace("\n", "\n    "))
    return count(both["weir"], ["passed"]), len(bad) + max(0, len(flaky) - FLAKY)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", action="append")
    parser.add_argument("--modules", default="")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", help="a folder for the logs")
    given = parser.parse_args()
    wanted = [name if name.startswith("test_") else "test_" + name
              for name in given.modules.split(",") if name]
    passed = failed = ran = 0
    for python in given.python or [sys.executable]:
        with tempfile.TemporaryDirectory() as folder:
            if given.keep:
                folder = os.path.abspath(given.keep)
                os.makedirs(folder, exist_ok=True)
            got = suite(python, wanted, given.jobs, folder)
        if got is not None:
            ran += 1
            passed += got[0]
            failed += got[1]
    if ran == 0:
        print("skipped: no Python with CPython's tests")
        return 0
    print(f"100% tests passed, 0 tests failed out of {passed}" if not failed else
          f"{100 * passed // (passed + failed)}% tests passed, {failed} tests failed out of "
          f"{passed + failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
