"""Runs a command on a pseudo-terminal of its own, as a person would, and prints what it wrote there.

    terminal.py COLUMNS LIMIT_S STEP... -- COMMAND...

The steps are done one after another, each once the one before is done:

    await:TEXT      waits until TEXT has been written, behind where the last await has found its own
    resize:COLUMNS
    type:TEXT       \\n and \\x.. as in Python
    kill:SIGNAL     a signal's name, as in TERM, to the command

Ends with the command's exit status (128 + n: ended by signal n), or with 124 after LIMIT_S seconds.
"""

import codecs
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

ROWS = 24


def resize(fd, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))


def start(command, columns):
    pid, fd = pty.fork()
    if pid != 0:
        return pid, fd
    resize(0, columns)
    os.execvp(command[0], command)


class Session:
    def __init__(self, command, columns, steps):
        self.pid, self.fd = start(command, columns)
        self.steps = steps
        self.written = b""
        self.seen = 0

    def do(self, kind, what):
        """False: not yet."""
        if kind == "await":
            at = self.written.find(what.encode(), self.seen)
            if at < 0:
                return False
            self.seen = at + len(what.encode())
        elif kind == "resize":
            resize(self.fd, int(what))
            self.seen = len(self.written)
        elif kind == "type":
            os.write(self.fd, codecs.escape_decode(what.encode())[0])
        elif kind == "kill":
            os.kill(self.pid, getattr(signal, "SIG" + what))
        else:
            raise SystemExit("no such step: " + kind)
        return True

    def run(self, until):
        while time.monotonic() < until:
            while self.steps and self.do(*self.steps[0].split(":", 1)):
                self.steps.pop(0)
            if not select.select([self.fd], [], [], 0.05)[0]:
                continue
            try:
                chunk = os.read(self.fd, 65536)
            except OSError:  # the other end is closed
                chunk = b""
            if not chunk:
                return self.status()
            self.written += chunk
        os.kill(self.pid, signal.SIGKILL)
        self.status()
        return 124

    def status(self):
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return code if code >= 0 else 128 - code


def main(arguments):
    columns, limit_s, rest = int(arguments[0]), float(arguments[1]), arguments[2:]
    at = rest.index("--")
    session = Session(rest[at + 1 :], columns, rest[:at])
    status = session.run(time.monotonic() + limit_s)
    sys.stdout.buffer.write(session.written)
    sys.stdout.flush()
    for step in session.steps:
        print("not done:", step, file=sys.stderr)
    return status


sys.exit(main(sys.argv[1:]))
