"""Processes that begin with torch imported: forked from one that has imported it already.

Starting an actor takes some 4 s, and all but 0.3 s of that goes into importing torch and transformers. Ray starts the
workers of the tests' cluster through this file: it asks a server, which has everything in memory, for a fork that
becomes Ray's own worker. That is a process like any other: Ray watches it, and a signal kills it alone. Ray itself is
not imported before the fork, for it reads its environment when it is.
"""

from __future__ import annotations

import gc
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

SOCKET = "MELO_TESTS_FORKING"
"""Environment variable with the path of the server's socket, at most 107 bytes."""

ROOT = Path(__file__).resolve().parents[2]

MODULES = (
    "transformers.models.t5.modeling_t5",
    "pipeline.editing.model",
    "pipeline.evaluation.figures",
    "pipeline.registry.tracking",
    "pipeline.sources",
    "pipeline.units",
)
"""What an actor or a run takes long to import."""


class Fork:
    """A process that was asked for. Its connection is open for as long as it lives."""

    def __init__(self, path: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(path)
        self._connection.sendall(json.dumps({"argv": list(argv), "env": dict(env)}).encode() + b"\n")
        self.pid = int(self._connection.recv(20))

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has ended, after so many seconds at most; None: as long as it takes."""
        if self._connection.fileno() >= 0 and select.select([self._connection], [], [], seconds)[0]:
            self._connection.close()
        return self._connection.fileno() < 0


class Forking:
    """The server. It ends with this process, or with ``close``.

    Args:
        path: of its socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        command = [sys.executable, "-m", "tests.workers.forking", self.path]
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

    def ready(self) -> None:
        """Waits until it forks."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", "the server of forks did not start"

    def fork(self, argv: Sequence[str], env: Mapping[str, str]) -> Fork:
        """A new process that runs a Python script.

        Args:
            argv: the script and its arguments.
            env: its whole environment.
        """
        return Fork(self.path, argv, env)

    def children(self) -> dict[int, str]:
        """The forks that live: process ids and titles."""
        own = self._process.pid
        found = {}
        for pid in map(int, Path(f"/proc/{own}/task/{own}/children").read_text().split()):
            try:
                title = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
            if title:
                found[pid] = title.rstrip(b"\0").decode()
        return found

    def close(self) -> None:
        """Ends the server and the forks that still live."""
        for pid in self.children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.communicate(timeout=60)


def serve(path: str) -> list[str]:
    """Forks until stdin is closed. Returns in the forks alone, each with its environment: what it is to run."""
    for module in MODULES:
        import_module(module)
    assert "ray" not in sys.modules, "one of MODULES imports ray"
    gc.collect()
    gc.freeze()  # the forks share these objects for as long as nobody's collector writes to them
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            line = connection.makefile().readline()
            if not line:  # who asked was killed meanwhile
                continue
            order = json.loads(line)
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                connection.detach()  # stays open until the process ends
                os.dup2(2, 1)  # nobody reads what the server prints
                os.setpgid(0, 0)  # Ray ends a worker with its whole group
                random.seed()
                os.environ.clear()
                os.environ.update(order["env"])
                argv: list[str] = order["argv"]
                return argv
            with suppress(BrokenPipeError), connection:
                connection.sendall(str(pid).encode())
    sys.exit()


if __name__ == "__main__":
    if SOCKET in os.environ:  # Ray starts a worker
        worker = [argument for argument in sys.argv[1:] if not argument.startswith("--language=")]
        Fork(os.environ[SOCKET], worker, os.environ).wait()
    else:
        sys.argv = serve(sys.argv[1])
        runpy.run_path(sys.argv[0], run_name="__main__")
