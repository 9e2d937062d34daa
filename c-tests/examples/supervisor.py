"""Drives examples/supervisor as its users would: supervisor.py PROGRAM."""
import os
import signal
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop(1)
SH = ["/bin/sh", "-c"]
LIMIT = 60


def supervisor(*arguments):
    return subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process, text):
    """Reads lines until one holds the text."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"no line with {text!r} in {lines}")


class Supervisor(unittest.TestCase):
    def end(self, process, status):
        out, errors = process.communicate(timeout=LIMIT)
        self.assertEqual(process.returncode, status, errors)
        return out

    def test_programs_that_end_well_are_done(self):
        process = supervisor("--", *SH, "exit 0", "--", *SH, "exit 0")
        out = self.end(process, 0)
        self.assertEqual(out.count("ended with status 0"), 2)
        self.assertEqual(out.count("started as"), 2)

    def test_a_program_that_fails_is_started_again_and_given_up(self):
        process = supervisor("--restarts", "3", "--backoff", "1", "--", *SH, "exit 3")
        out = self.end(process, 1)
        self.assertEqual(out.count("ended with status 3"), 3)
        self.assertIn("given up", out)

    def test_a_program_that_recovers_is_done(self):
        with tempfile.TemporaryDirectory() as folder:
            script = f"cd {folder}; echo x >> runs; test $(wc -l < runs) -ge 3"
            process = supervisor("--backoff", "1", "--", *SH, script)
            out = self.end(process, 0)
        self.assertEqual(out.count("ended with status 1"), 2)
        self.assertEqual(out.count("ended with status 0"), 1)

    def test_a_program_that_is_killed_is_started_again(self):
        process = supervisor("--backoff", "1", "--", *SH, "exec sleep 1000")
        pid = int(wait_for(process, "started as")[-1].split()[-1])
        os.kill(pid, signal.SIGKILL)
        lines = wait_for(process, "started as")
        self.assertIn("killed by signal 9", lines[0])
        process.send_signal(signal.SIGTERM)
        out = self.end(process, 0)
        self.assertIn("killed by signal 15", out)

    def test_a_program_that_cannot_be_run(self):
        process = supervisor("--restarts", "1", "--", "/no/such/program")
        out, errors = process.communicate(timeout=LIMIT)
        self.assertEqual(process.returncode, 1)
        self.assertIn("ended with status 127", out)
        self.assertIn("No such file", errors)

    def test_stop_kills_what_does_not_end(self):
        # The shell says when it ignores SIGTERM.
        stubborn = 'trap "" TERM; echo armed; while :; do sleep 1; done'
        process = supervisor("--grace", "50", "--", *SH, stubborn, "--", *SH, "exec sleep 1000")
        wait_for(process, "armed")
        process.send_signal(signal.SIGINT)
        out = self.end(process, 1)
        self.assertIn("does not end; killed", out)
        self.assertIn("killed by signal 9", out)
        self.assertIn("killed by signal 15", out)

    def test_a_hangup_gives_another_chance(self):
        with tempfile.TemporaryDirectory() as folder:
            go = os.path.join(folder, "go")
            process = supervisor("--restarts", "1", "--", *SH, f"test -e {go}", "--", *SH, "exec sleep 1000")
            wait_for(process, "given up")
            open(go, "w").close()
            process.send_signal(signal.SIGHUP)
            wait_for(process, "ended with status 0")
            process.send_signal(signal.SIGTERM)
            self.end(process, 0)

    def test_bad_arguments(self):
        for arguments in [[], ["--"], ["--grace", "x", "--", "true"], ["--restarts", "0", "--", "true"]]:
            process = supervisor(*arguments)
            process.communicate(timeout=LIMIT)
            self.assertEqual(process.returncode, 2, arguments)


unittest.main()
