"""Random calls with random arguments: whatever a program does through the objects, the interpreter lives.

Each seed has a process of its own. RANDOM_SEEDS and RANDOM_CALLS make it longer; a failure names its seed.
"""

import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM = r"""
import faulthandler, gc, inspect, math, os, random, signal, socket, subprocess, sys, tempfile, threading
import weir
faulthandler.enable()
seed, calls = int(sys.argv[1]), int(sys.argv[2])
random = random.Random(seed)
os.chdir(sys.argv[3])
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
    signal.signal(number, lambda *_: None)
child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
contexts = [weir.Context(pool_slots=random.choice([0, 2]), pool_slot_size=random.choice([0, 256]))]
handles, others = [], [weir.Until(b"\r\n", 100), weir.Until(b"", 0), weir.Until(b"x", 5)]
budget = 200

class Mine(Exception):
    pass

def callback(*arguments):
    global budget
    for argument in arguments:
        if isinstance(argument, weir.Handle):
            handles.append(argument)
        elif isinstance(argument, list) and arguments[0] is None and all(isinstance(one, int) for one in argument):
            for fd in argument:
                os.close(fd)
    budget -= 1
    if budget > 0:
        step()
    if random.random() < 0.02:
        raise Mine

def number():
    return random.choice([-1, 0, 1, 2, 3, 5, 10, 16, 100, 4096, 65536, -(1 << 31) - 1, 1 << 41, 1 << 64, -(1 << 63),
                          random.randrange(1 << 20)])

def argument():
    return random.choice([
        number, number, number, lambda: random.choice([0.0, 0.001, math.inf, -math.inf, math.nan, 1e300]),
        lambda: callback, lambda: callback, lambda: callback, lambda: None,
        lambda: random.choice(["", "127.0.0.1:0", "[::1]:0", "unix:a", "unix:@weir%d" % os.getpid(), "x\0y", "\udcff"]),
        lambda: random.choice([("127.0.0.1", 0), ("::1", 0), ("127.0.0.1", 9), ("", 0), (1, 2), ("a", "b")]),
        lambda: os.urandom(random.randrange(2000)), lambda: bytearray(random.randrange(100)),
        lambda: memoryview(bytearray(10))[::random.choice([1, 2])], lambda: [], lambda: [0, 1], lambda: [number()],
        lambda: [("127.0.0.1", 9), ("::1", 9)], lambda: random.choice(others),
        lambda: random.choice(handles) if handles else None, lambda: random.choice(contexts),
        lambda: socket.socketpair()[0], lambda: tempfile.TemporaryFile(), lambda: object(),
    ])()

# They end the test, give fds away that the library or Python needs, or wait.
LEFT_OUT = {"adopt", "run", "run_one", "poll", "set_fd", "bind_to_device", "kill"}

def make():
    context = random.choice(contexts)
    kind = random.randrange(9)
    if kind == 0:
        handles.extend(weir.Stream.pair(context))
    elif kind == 1:
        handles.extend(weir.Datagram.pair(context))
    elif kind == 2:
        handles.append(weir.Watch(context, socket.socketpair()[0].detach()))
    elif kind == 3:
        handles.append(weir.Signals(context, signal.SIGUSR1))
    elif kind == 4:
        handles.append(weir.Process(context, child.pid))
    elif kind == 5:
        acceptor = weir.Acceptor(context)
        acceptor.bind(("127.0.0.1", 0))
        acceptor.listen()
        stream = weir.Stream(context)
        stream.connect(acceptor.local_address, callback)
        handles.extend([acceptor, stream])
    elif kind == 6:
        one = weir.Datagram(context)
        one.bind(("127.0.0.1", 0))
        one.connect(one.local_address)
        handles.append(one)
    else:
        handles.append(random.choice([weir.Timer, weir.Resolver, weir.Stream, weir.Acceptor, weir.Datagram])(context))

def call(thing):
    name = random.choice([name for name in dir(type(thing)) if not name.startswith("_") and name not in LEFT_OUT])
    if isinstance(thing, weir.Context) and name == "close" and random.random() < 0.9:
        return
    method = getattr(thing, name)
    if not callable(method):
        return
    keywords, arguments = {}, []
    for parameter in inspect.signature(method).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            if random.random() < 0.3:
                keywords[parameter.name] = argument()
        elif parameter.kind is parameter.VAR_POSITIONAL:
            arguments.extend(argument() for _ in range(random.randrange(3)))
        elif parameter.name == "callback" and random.random() < 0.8:
            arguments.append(callback)
        elif parameter.name in ("data", "buffer") and random.random() < 0.8:
            arguments.append(bytearray(random.randrange(1, 3000)))
        elif parameter.name in ("size", "limit") and random.random() < 0.8:
            arguments.append(random.randrange(300))
        elif parameter.name == "command" or parameter.default is parameter.empty or random.random() < 0.5:
            arguments.append(argument())
    method(*arguments, **keywords)

def step():
    try:
        choice = random.random()
        if choice < 0.2:
            make()
        elif choice < 0.25 and handles:
            handles.pop(random.randrange(len(handles)))
        elif choice < 0.26:
            gc.collect()
        elif choice < 0.27:
            os.kill(os.getpid(), random.choice([signal.SIGUSR1, signal.SIGUSR2]))
        elif choice < 0.35 and handles:
            random.choice(handles).close()
        elif choice < 0.4:
            call(random.choice(contexts))
        elif choice < 0.41 and others:
            others[0] = weir.Until(os.urandom(random.randrange(3)), random.randrange(50))
        elif choice < 0.45:
            random.choice(contexts).run_one(0)
        elif handles:
            call(random.choice(handles))
    except (OSError, TypeError, ValueError, OverflowError, AttributeError, MemoryError, BufferError, Mine,
            RecursionError):
        pass

for at in range(calls):
    step()
    if at % 5 == 0:
        budget = 50
        for context in list(contexts):
            try:
                context.run(0)
            except (OSError, Mine):
                if context.closed:
                    contexts.remove(context)
        if not contexts or len(contexts) < 2 and random.random() < 0.02:
            contexts.append(weir.Context())
        del handles[:-40]
budget = 0
for context in contexts:
    if random.random() < 0.5:
        try:
            context.close()
        except (Mine, OSError):
            pass
child.kill()
child.wait()
print("lived")
"""


class Random(unittest.TestCase):
    def test_random_calls(self):
        seeds, calls = int(os.environ.get("RANDOM_SEEDS", "4")), os.environ.get("RANDOM_CALLS", "2000")
        for seed in range(seeds):
            with self.subTest(seed=seed), tempfile.TemporaryDirectory() as folder:
                done = subprocess.run([sys.executable, "-c", PROGRAM, str(seed), calls, folder], capture_output=True,
                                      text=True, errors="replace", timeout=300, stdin=subprocess.DEVNULL)
                self.assertEqual((done.returncode, done.stdout), (0, "lived\n"), done.stderr[-3000:])


if __name__ == "__main__":
    unittest.main()
