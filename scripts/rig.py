"""A nats-server, a `trunkline serve` and the programs around them as children, for the tests that kill things.

Everything listens on loopback, on ports that were free, with stores under one temporary folder; everything is stopped
and removed at the end, however it comes. A wait is always for a state and always bounded.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CELL = "default"
# Columns of the recorded tracks.
COLUMNS = "id=id,time=time,wkt=geometry"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failed(Exception):
    """Something isn't as it should be; the text is for people."""


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(seconds, what, condition, pause=0.05):
    """Calls `condition` until it gives something true, and returns that with the seconds that it took."""
    begin = time.monotonic()
    while True:
        found = condition()
        took = time.monotonic() - begin
        if found:
            return found, took
        if took > seconds:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(pause)


class Child:
    """A process in a group of its own."""

    def __init__(self, name, command, log, folder, settings=None):
        self.name, self.log = name, log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder, start_new_session=True,
                env={**os.environ, **(settings or {})},
            )

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        """kill -9 of the whole group, at once."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)

    def stop(self, seconds=20):
        """Asks it to end; returns whether it did in time."""
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                say(f"{self.name} didn't end within {seconds} s; killed")
                self.kill()
                return False
        return True

    def tail(self, lines=25):
        return "\n".join(Path(self.log).read_text(errors="replace").splitlines()[-lines:])


class Rig:
    """Paths, ports and children of one run. Use it with `with`."""

    def __init__(self, args):
        self.trunkline, self.nats_server = Path(args.trunkline).resolve(), Path(args.nats_server).resolve()
        self.folder = Path(tempfile.mkdtemp(prefix="trunkline-"))
        self.keep = args.keep
        self.nats_port, self.monitor_port, self.http_port = free_port(), free_port(), free_port()
        self.nats_store = self.folder / "nats"
        self.data = self.folder / "data"
        self.children = []

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _trace):
        for child in reversed(self.children):
            child.stop()
        if isinstance(error, Failed):
            for child in self.children:
                print(f"--- end of {child.log}\n{child.tail()}", file=sys.stderr)
        if self.keep:
            say(f"kept {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def nats_url(self):
        return f"nats://127.0.0.1:{self.nats_port}"

    @property
    def http_url(self):
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def db(self):
        return self.data / "cells" / f"{CELL}.sqlite"

    def child(self, name, command, folder=ROOT, settings=None):
        child = Child(name, command, self.folder / f"{name}.log", folder, settings)
        self.children.append(child)
        return child

    def start_nats(self):
        """Starts nats-server on the run's port and store; returns it when it speaks."""
        # The binary itself, with the project's settings but ports of its own: several runs may go on at once.
        command = [
            self.nats_server, "--config", ROOT / "nats.conf", "--addr", "127.0.0.1", "--port", self.nats_port,
            "--http_port", self.monitor_port,
        ]
        # Its store_dir is relative to where it is started.
        self.nats_store.mkdir(exist_ok=True)
        child = self.child("nats", command, self.nats_store)

        def speaks():
            if not child.alive():
                raise Failed(f"nats-server ended:\n{child.tail()}")
            try:
                with socket.create_connection(("127.0.0.1", self.nats_port), 1) as s:
                    return s.recv(4) == b"INFO"
            except OSError:
                return False

        until(20, "nats-server's greeting", speaks)
        return child

    def start_server(self, wait=True, settings=None):
        """Starts `trunkline serve` against the run's nats-server; returns it and the seconds to ready. `settings`: of the
        environment; where they name no keys, everybody is believed."""
        address = f"127.0.0.1:{self.http_port}"
        guarded = any(name.startswith("TRUNKLINE_AUTH__") for name in settings or {})
        command = [self.trunkline, "serve", *([] if guarded else ["--insecure"]), "--http", address]
        child = self.child("server", [*command, "--nats", self.nats_url, "--data", self.data], settings=settings)
        return child, self.await_ready(child) if wait else 0.0

    def await_ready(self, child, seconds=30):
        def ready():
            if not child.alive():
                raise Failed(f"the server ended:\n{child.tail()}")
            return self.get("/readyz")[0] == 200

        return until(seconds, "/readyz says 200", ready)[1]

    def get(self, path):
        """Status and body; status 0 where nobody answers."""
        try:
            with OPENER.open(self.http_url + path, timeout=3) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError as error:
            return 0, str(error)

    def metric(self, name):
        """A metric without labels, or None while nobody answers."""
        status, text = self.get("/metrics")
        found = re.search(rf"^{name} ([0-9.eE+-]+)$", text, re.M) if status == 200 else None
        return float(found.group(1)) if found else None

    def cursor(self):
        """The cell's cursor, or None while it can't be had."""
        status, text = self.get("/v1/cell")
        return json.loads(text)["cursor"] if status == 200 else None

    def settle(self, seconds=120):
        """Waits until the whole log is applied: no backlog and a cursor that rests for a second."""
        last = [None, 0.0]

        def at_rest():
            cursor = self.cursor() if self.metric("trunkline_backlog") == 0 else None
            if cursor is None or cursor != last[0]:
                last[:] = [cursor, time.monotonic()]
                return None
            return cursor if time.monotonic() - last[1] > 1.5 else None

        return until(seconds, "the log is applied", at_rest, 0.2)[0]

    def run(self, name, command, seconds=600):
        """Runs a program to its end; returns its standard output. A failure is shown with its own words."""
        try:
            done = subprocess.run(
                [str(part) for part in command], capture_output=True, text=True, timeout=seconds, cwd=ROOT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{name}: not done within {seconds} s") from error
        if done.returncode:
            raise Failed(f"{name}: exit code {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done.stdout

    def import_command(self, csv, summary, *more):
        return [
            self.trunkline, "import", "--csv", csv, "--map", COLUMNS, "--http", self.http_url,
            "--nats", self.nats_url, "--summary-json", summary, *more,
        ]

    def state_hash(self, db):
        """`trunkline doctor --state-hash`: 64 hexadecimal digits."""
        text = self.run("doctor --state-hash", [self.trunkline, "doctor", "--state-hash", db])
        found = re.search(r"\b[0-9a-f]{64}\b", text)
        if not found:
            raise Failed(f"doctor --state-hash printed no hash:\n{text}")
        return found.group(0)

    def rebuild(self, name, *more):
        """Reads the whole log into a database of its own; returns the database."""
        data = self.folder / name
        command = [self.trunkline, "doctor", "--rebuild", "--nats", self.nats_url, "--data", data, *more]
        self.run("doctor --rebuild", command)
        return data / "cells" / f"{CELL}.sqlite"

    def verify(self):
        """Plays the whole log again and compares the database with it; prints how fast that was."""
        command = [self.trunkline, "replay", "--verify", self.db, "--nats", self.nats_url]
        text = self.run("replay --verify", command)
        print("\n".join("  " + line for line in text.splitlines()))


def check_import(rig, *arguments):
    """The independent count over the file."""
    text = rig.run("check-import", [sys.executable, ROOT / "scripts" / "check-import", *arguments])
    print("\n".join("  " + line for line in text.splitlines()))


def same_hash(rig, live, *rebuilds):
    """Each rebuild's state must equal the live database's."""
    expected = rig.state_hash(live)
    say(f"state hash of the server's database        {expected}")
    for what, db in rebuilds:
        found = rig.state_hash(db)
        say(f"state hash, {what:<30} {found}")
        if found != expected:
            raise Failed(f"the state isn't a function of the log: {what} differs")


def options(parser):
    """What every program of this kind takes."""
    parser.add_argument("--trunkline", required=True, help="the binary")
    parser.add_argument("--nats-server", required=True, help="the binary")
    parser.add_argument("--csv", required=True, help="recorded tracks")
    parser.add_argument("--keep", action="store_true", help="keep stores and logs")


def main(run):
    """Runs `run`; a failure is printed and becomes exit code 1."""
    try:
        run()
    except Failed as error:
        print(f"FAILED: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        return 130
    return 0
