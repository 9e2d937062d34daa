"""Corners of the object layer: what is left by a nested run, numbers that C would cut, many records at once."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
import unittest

import weir


class Edges(unittest.TestCase):
    def setUp(self):
        self.context = weir.Context()
        self.addCleanup(self.context.close)
        self.calls = []

    def note(self, *arguments):
        self.calls.append(arguments)

    def test_what_a_nested_run_one_leaves_is_not_lost(self):
        def outer():
            for number in range(5):
                self.context.post(self.note, number)
            self.context.run_one()
        self.context.post(outer)
        self.context.run(30)
        self.assertEqual(self.calls, [(number,) for number in range(5)])
        self.assertEqual(self.context.pending, 0)

    def test_what_a_nested_run_leaves_that_raised_is_not_lost(self):
        def fail():
            raise ValueError("mine")

        def outer():
            self.context.post(fail)
            for number in range(5):
                self.context.post(self.note, number)
            self.assertRaises(ValueError, self.context.run)
        self.context.post(outer)
        self.context.run(30)
        self.assertEqual(self.calls, [(number,) for number in range(5)])

    def test_close_tells_all_that_is_complete(self):
        timer = weir.Timer(self.context)
        timer.expires_after(0)
        for _ in range(1000):
            timer.wait(lambda error: self.note(error))
        time.sleep(0.01)
        self.context.close()
        self.assertEqual(self.calls, [(None,)] * 1000)

    def test_close_ends_where_callbacks_post_for_ever(self):
        def again():
            try:
                self.context.post(again)
            except OSError:
                self.note()
        self.context.post(again)
        self.context.close()
        self.assertEqual(self.context.pending, 0)

    def test_fds_at_the_end_of_the_stream(self):
        first, second = weir.Stream.pair(self.context)
        first.close()
        second.read_fds(10, 4, self.note)
        self.context.run(30)
        self.assertEqual(self.calls, [(None, b"", [])])

    def test_bad_numbers_of_fds(self):
        first, second = weir.Stream.pair(self.context)
        for limit in (-1, 1 << 40):
            with self.assertRaises((OSError, OverflowError)):
                second.read_fds(10, limit, self.note)
        first.write(b"x")
        second.read_fds(10, 0, self.note)
        self.context.run(30)
        self.assertIn((None, b"x", []), self.calls)

    def test_fds_without_room_are_told_and_not_leaked(self):
        first, second = weir.Stream.pair(self.context)
        before = len(os.listdir("/proc/self/fd"))
        with open(os.devnull, "rb") as file:
            first.write_fds(b"x", [file.fileno(), file.fileno()])
            second.read_fds(10, 1, self.note)
            self.context.run(30)
        (error, data, fds), = self.calls
        self.assertEqual((error.errno, data, len(fds)), (errno.EMSGSIZE, b"x", 1))
        os.close(fds[0])
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_numbers_that_do_not_fit_are_refused_not_cut(self):
        big = 1 << 32
        stream = weir.Stream(self.context)
        with socket.socket() as sock:
            number = sock.fileno() + big
            for call in (lambda: weir.Watch(self.context, number), lambda: stream.adopt(number),
                         lambda: weir.Process(self.context, os.getppid() + big),
                         lambda: weir.Signals(self.context, signal.SIGUSR1 + big),
                         lambda: stream.open(socket.AF_INET + big), lambda: stream.shutdown(socket.SHUT_WR + big)):
                with self.assertRaises((OverflowError, OSError)):
                    call()
        self.assertTrue(stream.closed or stream.context is self.context)

    def test_what_is_no_whole_number_is_a_type_error(self):
        stream = weir.Stream.pair(self.context)[0]
        for bad in (0.0, 1.5, "1", b"1", None):
            for call in (lambda: stream.read_some(bad, self.note), lambda: stream.try_read(bad),
                         lambda: weir.Stream(self.context).open(bad), lambda: weir.Signals(self.context, bad),
                         lambda: stream.get(bad), lambda: weir.Until(b"x", bad)):
                self.assertRaises(TypeError, call)
        self.assertEqual(self.context.pending, 0)

    def test_ctrl_c_while_run_waits(self):
        program = subprocess.Popen([sys.executable, "-c", (
            "import weir\n"
            "context = weir.Context(); context.work_begin()\n"
            "context.post(lambda: print('waits', flush=True))\n"
            "try:\n"
            "    context.run()\n"
            "except KeyboardInterrupt:\n"
            "    print('interrupted')\n"
            "context.post(lambda: print('goes on'))\n"
            "context.run_one()\n")], stdout=subprocess.PIPE, text=True)
        self.assertEqual(program.stdout.readline(), "waits\n")
        program.send_signal(signal.SIGINT)
        self.assertEqual(program.communicate(timeout=60)[0], "interrupted\ngoes on\n")
        self.assertEqual(program.returncode, 0)


if __name__ == "__main__":
    unittest.main()
