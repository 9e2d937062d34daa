"""What could crash the interpreter, or hang it: each in a process of its own, which must end as told."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import unittest

PYTHON = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

PREFACE = """
import errno, gc, os, signal, socket, sys, threading, time
import weir
context = weir.Context()
calls = []
def note(*arguments):
    calls.append(arguments)
"""


class Hazards(unittest.TestCase):
    def start(self, program, *flags):
        environment = {**os.environ, "PYTHONPATH": PYTHON}
        return subprocess.Popen([sys.executable, "-X", "faulthandler", *flags, "-c", PREFACE + textwrap.dedent(program)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    def finish(self, child, status=0):
        try:
            output, errors = child.communicate(timeout=60)
        finally:
            child.kill()
        self.assertEqual(child.returncode, status, errors)
        return output, errors

    def check(self, program, *flags):
        """The program must end with "good", and say nothing else on stderr."""
        output, errors = self.finish(self.start(textwrap.dedent(program) + "\nprint('good')", *flags))
        self.assertEqual(output.strip().splitlines()[-1:], ["good"])
        return errors

    def clean(self, program, *flags):
        self.assertEqual(self.check(program, *flags), "")

    def test_exit_with_operations_pending(self):
        self.clean("""
            first, second = weir.Stream.pair(context)
            first.read_some(1000000, note)
            second.write(bytes(10000000), note)
            timer = weir.Timer(context)
            timer.start(0, 0.001, note)
            weir.Resolver(context).resolve("localhost", 80, note)
            context.run(0.01)
            """)

    def test_exit_while_a_daemon_thread_runs_the_context(self):
        self.clean("""
            def busy():
                context.call_later(0.0001, busy)
            for _ in range(50):
                busy()
            first, second = weir.Stream.pair(context)
            first.read_each(note)
            def more(error, count):
                second.write(b"x" * 100, more)
            more(None, 0)
            threading.Thread(target=context.run, daemon=True).start()
            time.sleep(0.05)
            """)

    def test_exit_while_a_daemon_thread_waits(self):
        self.clean("""
            context.work_begin()
            threading.Thread(target=context.run, daemon=True).start()
            time.sleep(0.05)
            """)

    def test_everything_is_garbage_with_operations_pending(self):
        self.clean("""
            for _ in range(50):
                inner = weir.Context()
                first, second = weir.Stream.pair(inner)
                buffer = bytearray(100000)
                first.read_into(buffer, lambda *_: inner)
                second.write(bytes(5000000), note)
                inner.poll()
                del inner, first, second
                gc.collect()
                buffer.extend(b"x")        # nobody holds it any more
            assert not calls
            """)

    def test_buffers_of_closed_streams_are_never_written(self):
        self.clean("""
            for _ in range(200):
                first, second = weir.Stream.pair(context)
                buffer = bytearray(4096)
                first.read_into(buffer, note)
                first.close()
                second.write(b"x" * 4096)
                context.run(10)
                assert bytes(buffer) == bytes(4096)
            """)

    def test_a_callback_that_raises(self):
        self.clean("""
            def fail(*_):
                raise KeyError("mine")
            for begin in (lambda: context.post(fail), lambda: context.call_later(0, fail)):
                begin()
                try:
                    context.run()
                except KeyError:
                    note()
            assert len(calls) == 2
            context.post(sys.exit, 0)
            try:
                context.run()
            except SystemExit:
                pass
            """)

    def test_a_handle_closed_in_its_own_callback(self):
        self.clean("""
            reader, writer = os.pipe()
            watch = weir.Watch(context, reader)
            watch.start(weir.WATCH_READ, lambda error, events: watch.close(), persistent=True)
            os.write(writer, b"x")
            first, second = weir.Stream.pair(context)
            first.read_each(lambda error, data: first.close())
            second.write(b"x" * 100000)
            acceptor = weir.Acceptor(context)
            acceptor.bind(("127.0.0.1", 0)); acceptor.listen()
            acceptor.accept_each(lambda error, peer: acceptor.close())
            socket.create_connection(acceptor.local_address)
            context.run(20)
            assert watch.closed and first.closed and acceptor.closed and not context.pending
            """)

    def test_every_method_of_closed_handles(self):
        self.clean("""
            import inspect
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os._exit(0)
            handles = [weir.Stream(context), weir.Acceptor(context), weir.Datagram(context), weir.Timer(context),
                       weir.Signals(context), weir.Resolver(context), weir.Watch(context, reader),
                       weir.Process(context, child)]
            values = {"address": ("127.0.0.1", 1), "callback": note, "size": 10, "data": b"x", "how": 1, "option": 1,
                      "level": 1, "name": 2, "value": 1, "seconds": 1, "first": 1, "period": 1, "events": 1, "fd": 0,
                      "signo": 10, "host": "::1", "service": 1, "group": ("224.0.0.1", 1), "sock": 0, "backlog": 1,
                      "family": 2, "buffer": bytearray(5), "until": weir.Until(b"x"), "addresses": [("::1", 1)],
                      "file": 0, "offset": 0, "fds": [0], "limit": 1, "at_ns": 1, "interface": 1}
            def every(handle):
                for name, method in inspect.getmembers(type(handle)):
                    if name.startswith("_") or name in ("pair", "close"):
                        continue
                    yield name, method
            for state in "closed", "context closed":
                for handle in handles:
                    if state == "closed":
                        handle.close()
                    else:
                        handle._handle = 0x1234567812345678
                    for name, method in every(handle):
                        try:
                            if isinstance(method, property):
                                method.fget(handle)
                                assert name in ("context", "closed"), name
                                continue
                            wanted = [parameter.name for parameter in inspect.signature(method).parameters.values()
                                      if parameter.default is parameter.empty and parameter.name != "self"]
                            given = [values[one] for one in wanted]
                            if name in ("set_name", "bind_to_device"):
                                given = ["x"]
                            method(handle, *given)
                        except OSError as error:
                            assert error.errno == errno.EBADF, (handle, name, error)
                            note()
                            continue
                        assert name == "set_timeout", (handle, name)
                    handle._handle = 0
                context.close()
            assert len(calls) > 100, len(calls)
            assert not context.pending
            """)

    def test_arguments_of_wrong_types(self):
        self.clean("""
            first, second = weir.Stream.pair(context)
            for bad in ("text", None, 1.5, object(), [1]):
                for method in (first.write, first.send, first.try_write, first.read_into):
                    try:
                        method(bad, note)
                    except TypeError:
                        continue
                    raise AssertionError((method, bad))
            for bad in (-1, 1 << 60):
                for method in (first.read_some, first.read):
                    try:
                        method(bad, note)
                    except (OverflowError, MemoryError):
                        continue
                    raise AssertionError((method, bad))
            for bad in ("text", 5, object()):
                for begin in (weir.Timer, weir.Stream, weir.Resolver):
                    try:
                        begin(bad)
                    except TypeError:
                        continue
                    raise AssertionError((begin, bad))
            blank = weir.Stream.__new__(weir.Stream)
            for method in (blank.fileno, blank.cancel):
                try:
                    method()
                except OSError:
                    note()
            assert len(calls) == 2
            del blank
            weir.Context.__new__(weir.Context)
            """)

    def test_an_interrupt_while_run_waits(self):
        for begin in ("context.work_begin()", "ends = weir.Stream.pair(context); ends[0].read_some(1, note)"):
            child = self.start(f"""
                {begin}
                print("ready", flush=True)
                try:
                    context.run()
                except KeyboardInterrupt:
                    context.post(note)
                    context.call_later(0, context.stop)
                    context.run()
                    assert calls == [()]
                    print("interrupted")
                """)
            self.assertEqual(child.stdout.readline().strip(), "ready")
            time.sleep(0.05)
            child.send_signal(signal.SIGINT)
            self.assertEqual(self.finish(child)[0].strip(), "interrupted")

    def test_a_python_signal_handler_runs_while_run_waits(self):
        self.clean("""
            signal.signal(signal.SIGALRM, lambda *_: context.stop())
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            context.work_begin()
            context.run()
            """)

    def interrupts(self, where, limit, end):
        """A signal handler that raises, twice a millisecond, wherever the object layer is in these functions."""
        self.clean(f"""
            class Alarm(Exception):
                pass
            alarms = 0
            def handler(signo, frame):
                global alarms
                if {where}:
                    alarms += 1
                    raise Alarm
            first, second = weir.Stream.pair(context)
            sent = b"".join(bytes([n % 251]) * 100 for n in range(4000))
            got = bytearray()
            def on_data(error, data):
                got.extend(data)
                # Not when it is the end that is told: an interrupt may have cut off the cancel, and close ends it.
                if error is None and len(got) == len(sent):
                    first.cancel()
            first.read_each(on_data)
            for start in range(0, len(sent), 1000):
                second.send(sent[start:start + 1000])
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            deadline = time.monotonic() + {limit}
            while time.monotonic() < deadline:
                try:
                    if not context.pending:
                        break
                    context.run_one(0.001)
                except Alarm:
                    pass
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            {end}
            context.close()
            """)

    def test_interrupts_of_the_loop_lose_no_record(self):
        self.interrupts('frame.f_code.co_name in ("_run", "_reap")', 30, "assert not context.pending and got == sent")

    def test_interrupts_anywhere_do_no_harm(self):
        self.interrupts('"/weir/" in frame.f_code.co_filename', 1, "pass")

    def test_a_fork(self):
        self.clean("""
            first, second = weir.Stream.pair(context)
            first.read_some(10, note)
            context.call_later(1000, note)
            context.poll()
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    for misuse in (first.cancel, context.run, lambda: second.write(b"stolen"), context.fileno):
                        try:
                            misuse()
                        except OSError as error:
                            assert error.errno == errno.EBADF
                            continue
                        raise AssertionError(misuse)
                    context.close(); first.close()
                    del first, second, context
                    gc.collect()
                    own = weir.Context()
                    own.post(note, 5)
                    own.run()
                    assert calls == [(5,)]
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
            second.write(b"ours")
            while not calls:
                context.run_one(10)
            assert calls == [(None, b"ours")]
            """)

    def test_a_fork_while_another_thread_runs_the_context(self):
        self.clean("""
            def busy():
                context.call_later(0.0001, busy)
            busy()
            thread = threading.Thread(target=context.run)
            thread.start()
            for _ in range(20):
                child = os.fork()
                if child == 0:
                    status = 1
                    try:
                        own = weir.Context()
                        own.call_later(0.001, note)
                        own.run()
                        own.close()
                        status = 0 if len(calls) == 1 else 2
                    finally:
                        os._exit(status)
                assert os.waitpid(child, 0)[1] == 0
            context.stop()
            thread.join(20)
            assert not thread.is_alive()
            """, "-W", "ignore::DeprecationWarning")

    def test_threads_that_use_everything_at_once(self):
        self.clean("""
            stop = False
            def use(number):
                while not stop:
                    try:
                        first, second = weir.Stream.pair(context)
                        first.read_some(100, note)
                        second.write(b"x" * 50)
                        timer = weir.Timer(context)
                        timer.start(0, 0.0001, note)
                        context.post(note)
                        if number % 2:
                            first.close(); timer.close()
                        else:
                            first.cancel(); timer.cancel()
                    except OSError as error:
                        assert error.errno in (errno.EBADF, errno.EMFILE), error
            threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            context.run(0.5)
            stop = True
            for thread in threads:
                thread.join()
            context.close()
            assert calls and not context.pending
            """)

    def test_close_while_another_thread_runs_is_refused(self):
        self.clean("""
            context.work_begin()
            thread = threading.Thread(target=context.run)
            thread.start()
            refused = 0
            while not refused:
                try:
                    time.sleep(0.01)
                    context.run_one(0)
                except OSError as error:
                    assert error.errno == errno.EBUSY
                    refused = 1
            for method in (context.close, context.run):
                try:
                    method()
                except OSError as error:
                    assert error.errno == errno.EBUSY
                    note()
            context.stop()
            thread.join()
            context.close()
            assert len(calls) == 2
            """)

    def test_nested_runs(self):
        self.clean("""
            depth = 0
            def deeper():
                global depth
                depth += 1
                if depth < 50:
                    context.post(deeper)
                    context.run()
                note(depth)
            context.post(deeper)
            context.run()
            assert len(calls) == 50
            """)


if __name__ == "__main__":
    unittest.main()
