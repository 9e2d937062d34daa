"""Random calls on random objects from several threads and from callbacks, in processes of their own.

Whatever is called, the interpreter lives, each operation calls back at most once (a repeating one ends once), and after the close
every one that was begun has ended. WEIR_SEED and WEIR_STEPS choose another run.
"""

import os
import subprocess
import sys
import unittest

PYTHON = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

PROGRAM = r"""
import faulthandler, gc, math, os, random, signal, socket, sys, threading
faulthandler.dump_traceback_later(50, exit=True)
import weir

seed, steps = int(sys.argv[1]), int(sys.argv[2])
context = weir.Context(pool_slots=8, pool_slot_size=512)
objects = []            # shared by all threads, without a lock
failed = []
begun = []              # [how often it has ended], one for each operation
expected = (OSError, TypeError, ValueError, OverflowError, BufferError)
data = os.urandom(3000)
reader, writer = os.pipe()
os.set_blocking(writer, False)


class Mine(Exception):
    pass


def main(draw, thread):
    def told(repeats=False):
        ended = [0]

        def callback(error, *values):
            if error is not None or not repeats or values[:1] == (b"",) and len(values) == 1:
                ended[0] += 1
                if ended[0] != 1:
                    failed.append("ended twice")
            for value in values:
                if isinstance(value, weir.Handle):
                    objects.append(value)
            if not context.closed and draw.random() < 0.3:
                step()
            if draw.random() < 0.01:
                raise Mine
        return ended, callback

    def begin(method, *arguments, repeats=False):
        ended, callback = told(repeats)
        method(*arguments, callback)
        begun.append(ended)

    def some(*types):
        found = [one for one in objects[-60:] if isinstance(one, types)]
        return draw.choice(found) if found and draw.random() < 0.9 else draw.choice(objects)

    def make():
        kind = draw.randrange(8)
        if kind == 0:
            objects.extend(weir.Stream.pair(context))
        elif kind == 1:
            objects.extend(weir.Datagram.pair(context))
        elif kind == 2:
            one = weir.Acceptor(context)
            one.bind(("127.0.0.1", 0))
            one.listen()
            objects.append(one)
        elif kind == 3:
            one = weir.Datagram(context)
            one.bind(("127.0.0.1", 0))
            objects.append(one)
        else:
            objects.append((weir.Stream, weir.Timer, weir.Resolver, lambda context: weir.Watch(context, reader))[kind - 4](context))

    def step():
        what = draw.randrange(30)
        size = draw.choice((0, 1, 10, 1000))
        if what < 4 or not objects:
            make()
        elif what == 4:
            some().close()
        elif what == 5:
            some().cancel()
        elif what == 6:
            objects.pop(draw.randrange(len(objects)))
        elif what < 10:
            begin(some(weir.Stream).send, data[:size])
        elif what == 10:
            begin(some(weir.Stream).write, data[:size])
        elif what == 11:
            begin(some(weir.Stream).read_some, size)
        elif what == 12:
            begin(some(weir.Stream).read_each, repeats=True)
        elif what == 13:
            begin(some(weir.Stream).read_into, bytearray(size))
        elif what == 14:
            begin(some(weir.Stream).read_until, weir.Until(data[:2], 100))
        elif what == 15:
            begin(some(weir.Stream).connect, some(weir.Acceptor).local_address)
        elif what == 16:
            begin(some(weir.Acceptor).accept)
        elif what == 17:
            begin(some(weir.Acceptor).accept_each, repeats=True)
        elif what == 18:
            begin(some(weir.Datagram).receive_each, repeats=True)
        elif what == 19:
            begin(some(weir.Datagram).receive_from, size)
        elif what == 20:
            begin(some(weir.Datagram).send_to, data[:size], some(weir.Datagram).local_address)
        elif what == 21:
            some(weir.Timer).expires_after(draw.choice((0, 0.001, math.inf)))
            begin(some(weir.Timer).wait)
        elif what == 22:
            begin(some(weir.Timer).start, 0, 0.001, repeats=True)
        elif what == 23:
            ended, callback = told(True)
            some(weir.Watch).start(weir.WATCH_READ, callback, persistent=True)
            begun.append(ended)
        elif what == 24:
            some(weir.Watch).feed(weir.WATCH_READ)
        elif what == 25:
            begin(lambda callback: some(weir.Resolver).resolve("127.0.0.1", 1, callback))
        elif what == 26:
            some(weir.Stream).shutdown(draw.randrange(4))
            some(weir.Stream).set_timeout(read=draw.choice((0, 0.001, math.inf)))
        elif what == 27:
            begin(some(weir.Stream).write_fds, data[:size], [reader])
            begin(some(weir.Stream).read_fds, size, 3)
        elif what == 28:
            context.poll()
        else:
            one = some(weir.Stream)
            one.try_read(size)
            one.try_write(data[:size])

    for _ in range(steps):
        try:
            step()
            if draw.random() < 0.2:
                context.run_one(0)
        except expected + (Mine, AttributeError):
            if isinstance(sys.exc_info()[1], AttributeError) and "object has no attribute" not in str(sys.exc_info()[1]):
                raise
            continue


def guarded(thread):
    try:
        main(random.Random(seed * 10 + thread), thread)
    except BaseException as error:
        failed.append(error)
        raise


threads = [threading.Thread(target=guarded, args=(number,)) for number in range(3)]
for one in threads:
    one.start()
for one in threads:
    one.join()
try:
    context.close()
except expected + (Mine, AttributeError):
    pass        # of a callback
assert not failed, failed
assert context.pending == 0, context.pending
missing = sum(1 for ended in begun if not ended[0])
assert missing == 0, f"{missing} of {len(begun)} never ended"
assert len(begun) > steps / 10, len(begun)
objects.clear()
del context
gc.collect()
print("good", len(begun))
"""


class Random(unittest.TestCase):
    def test_random_calls(self):
        first = int(os.environ.get("WEIR_SEED", "1"))
        steps = os.environ.get("WEIR_STEPS", "1500")
        for seed in range(first, first + 3):
            with self.subTest(seed=seed):
                done = subprocess.run([sys.executable, "-c", PROGRAM, str(seed), steps], capture_output=True, text=True,
                                      env={**os.environ, "PYTHONPATH": PYTHON}, timeout=100)
                self.assertEqual((done.returncode, done.stdout[:4]), (0, "good"), done.stderr[-3000:])


if __name__ == "__main__":
    unittest.main()
