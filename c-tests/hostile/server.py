"""A server program under attack: started with limits, measured by what /proc tells, ended politely."""
import os
import resource
import signal
import socket
import struct
import subprocess
import time

LIMIT = 60  # seconds that anything may take
# Memory is what a sanitizer makes it.
SANITIZED = bool(os.environ.get("HOSTILE_SANITIZED"))


def wait_for(condition, what):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"{LIMIT} s went by: {what}"
        time.sleep(0.02)


class Server:
    """The program, until the end of a `with`. It must live, and end with status 0 when it is asked to."""

    def __init__(self, *arguments, files=None):
        self.arguments = arguments
        self.files = files

    def __enter__(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.files, self.files))

        self.process = subprocess.Popen(self.arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=limit if self.files else None)
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), self.process.stderr.read()
        host, port = line.split()[-1].rsplit(":", 1)
        self.address = (host, int(port))
        self.descriptors_before = self.descriptors()
        self.memory_before = self.memory()
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.process.stderr.read()}"
        self.process.send_signal(signal.SIGTERM)
        try:
            self.out, self.errors = self.process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        if kind is None:
            assert self.process.returncode == 0, (self.process.returncode, self.errors)

    def memory(self):
        """Resident kB."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))

    def processor(self):
        """Seconds of processor time so far."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def check_memory(self, more_kb):
        now = self.memory()
        if not SANITIZED:
            assert now <= self.memory_before + more_kb, f"{self.memory_before} kB before, {now} kB now"

    def check_idle(self, seconds=1.0):
        """It sleeps, however many connections there are: a loop that spins takes all of the time."""
        began = self.processor()
        time.sleep(seconds)
        used = self.processor() - began
        assert used < seconds / 2, f"{used} s of processor time in {seconds} s with nothing to do"

    def wait_until_gone(self):
        """Every connection is closed on the server's side."""
        wait_for(lambda: self.descriptors() <= self.descriptors_before,
                 f"{self.descriptors_before} descriptors before, {self.descriptors()} now")

    def connect(self, receive_buffer=None):
        peer = socket.socket()
        peer.settimeout(LIMIT)
        if receive_buffer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer.connect(self.address)
        return peer


def reset(peer):
    """Closes with an RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def vanish(peer):
    """Closes without a word to the other side; False where this process may not."""
    TCP_REPAIR = 19
    try:
        peer.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        gone = True
    except PermissionError:
        gone = False
    peer.close()
    return gone


def is_closed_by_server(peer):
    """True once the other side has ended the connection; what it had sent is passed over."""
    peer.settimeout(0)
    try:
        while True:
            if not peer.recv(1 << 16):
                return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def flood_until_full(peer, data):
    """Sends until nothing more goes for a while; the number of bytes."""
    peer.settimeout(0.3)
    sent = 0
    try:
        while True:
            sent += peer.send(data)
    except TimeoutError:
        return sent
    except OSError:
        return sent
