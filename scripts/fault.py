#!/usr/bin/env python3
"""Kills things in the middle of an import and checks what is left. Started by `scripts/fault`, which explains it."""

import argparse
import json
import random
import re
import shutil
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import dbcheck
from jetstream import last_seq, subjects
from rig import OPENER, Failed, Rig, check_import, free_port, main, options, same_hash, say, until

# From nats-server's return to the next applied message.
READ_ON_S = 6.0
# How the reason names a log that ends too early.
TAIL_LOST = re.compile(r"ends (at|before)|older copy")


def rows(csv):
    with open(csv, encoding="utf-8") as lines:
        return sum(1 for _ in lines) - 1


def pace(args):
    """Fixes per second: as asked, or so that the import lasts as long as the kills need."""
    if args.rate:
        return args.rate
    seconds = args.rounds * 3.0 + 10 if args.what == "kill" else 30.0
    return max(20, round(rows(args.csv) / seconds))


def begin(rig, args):
    """nats-server, the server and a paced import with a client on every order."""
    nats = rig.start_nats()
    server, ready_s = rig.start_server()
    say(f"server ready after {ready_s:.2f} s: {rig.http_url}, {rig.nats_url}, {rig.db}")
    rate = pace(args)
    summary = rig.folder / "import.json"
    command = rig.import_command(args.csv, summary, "--speed", "max", "--watch", "--resume-safe", "--limit-rate", rate)
    say(f"import of {rows(args.csv)} rows of {Path(args.csv).name}, {rate} fixes/s")
    return nats, server, rig.child("import", command), summary


def reach(rig, playing, share, total, seconds=180):
    """Waits until the cursor has passed this share of the expected log; returns the cursor."""

    def passed():
        if not playing.alive():
            raise Failed(f"the import ended before {share:.0%} of the log was applied:\n{playing.tail()}")
        cursor = rig.cursor()
        return cursor if cursor is not None and cursor >= share * total else None

    return until(seconds, f"{share:.0%} of the log is applied", passed, 0.02)[0]


def finish(rig, playing, seconds=900):
    """Waits for the import's end and for the log to be applied."""
    until(seconds, "the import ends", lambda: not playing.alive(), 0.2)
    if playing.process.returncode:
        raise Failed(f"import: exit code {playing.process.returncode}\n{playing.tail(60)}")
    cursor = rig.settle()
    say(f"import done, its client agrees with the server; cursor {cursor}")
    return cursor


def verify(rig, args, summary):
    """Nothing lost, nothing twice, no gap: by SQL and by an independent count over the file."""
    found = dbcheck.figures(rig.db)
    say(f"{found['orders']} orders ({found['completed']} completed), {found['fixes']} fixes")
    say(f"{found['versions']} versions")
    say(f"fixes twice: {len(found['twice'])}, orders with a gap in their versions: {len(found['gaps'])}")
    wrong = dbcheck.complaints(found)
    if not found["fixes"]:
        wrong.append("no fix was stored")
    if wrong:
        raise Failed("\n".join(wrong))
    check_import(rig, args.csv, "--db", rig.db, "--summary-json", summary)


def kill(args):
    """kill -9 of the server at random moments of the import, restarted each time."""
    chance = random.Random(args.seed)
    shares = sorted(chance.uniform(0.02, 0.92) for _ in range(args.rounds))
    total = rows(args.csv)
    with Rig(args) as rig:
        nats, server, playing, summary = begin(rig, args)
        slowest = 0.0
        for n, share in enumerate(shares, 1):
            reach(rig, playing, share, total)
            time.sleep(chance.uniform(0.0, 0.25))
            before = rig.cursor()
            server.kill()
            server, ready_s = rig.start_server()
            slowest = max(slowest, ready_s)
            say(f"kill -9 {n}/{args.rounds} at {share:.0%} (cursor {before}): ready again after {ready_s:.2f} s")
        finish(rig, playing)
        say(f"{args.rounds} kills, slowest restart {slowest:.2f} s")
        verify(rig, args, summary)
        if not server.stop():
            raise Failed("the server didn't stop when asked to")
        same_hash(rig, rig.db, ("a fresh server, whole log in one go", rig.rebuild("rebuilt")))
        nats.stop()


def entries(rig):
    """Log entries that the server has applied. Asked over HTTP alone: NATS may be away."""
    return rig.metric("trunkline_log_entries_total") or 0


def nats(args):
    """kill -9 of nats-server in the middle of an import; later its store is put back to an older copy."""
    total = rows(args.csv)
    with Rig(args) as rig:
        broker, server, playing, summary = begin(rig, args)
        slowest, older = 0.0, rig.folder / "nats-older"
        for n in range(1, args.rounds + 1):
            reach(rig, playing, 0.1 + 0.7 * n / (args.rounds + 1), total)
            broker.kill()
            time.sleep(1.0)
            applied = entries(rig)
            if n == 1:
                shutil.copytree(rig.nats_store, older)
            broker = rig.start_nats()
            _, took = until(30, "the server reads on", lambda: entries(rig) > applied, 0.02)
            slowest = max(slowest, took)
            say(f"kill -9 {n}/{args.rounds} of nats-server: reading again {took:.2f} s after it was back")
        finish(rig, playing)
        if not server.alive():
            raise Failed("the server ended during the outage")
        verify(rig, args, summary)
        if slowest > READ_ON_S:
            raise Failed(f"read on after {slowest:.2f} s, at most {READ_ON_S} s")
        say(f"slowest return {slowest:.2f} s, at most {READ_ON_S} s")
        older_copy(rig, broker, server, older)


def older_copy(rig, broker, server, older):
    """The log lost its tail: the server must not serve, and must say why; with the right log it serves again."""
    broker.kill()
    newer = rig.folder / "nats-newer"
    rig.nats_store.rename(newer)
    older.rename(rig.nats_store)
    broker = rig.start_nats()
    say("nats-server's store is an older copy now")

    def refuses():
        status, body = rig.get("/readyz")
        return body if status == 503 and TAIL_LOST.search(body) else None

    reason, took = until(30, "/readyz says 503 and that the log lost its tail", refuses, 0.1)
    say(f"after {took:.2f} s /readyz says 503: {reason.strip()}")
    log = [line for line in Path(server.log).read_text(errors="replace").splitlines() if TAIL_LOST.search(line)]
    if not log:
        raise Failed("the server's log doesn't say why")
    say(f"its log: {log[-1].strip()}")
    if not server.alive():
        raise Failed("the server ended instead of refusing")
    server.stop()

    # A server that starts with the wrong log must refuse just the same.
    server, _ = rig.start_server(wait=False)
    _, took = until(30, "a new server refuses too", refuses, 0.1)
    say(f"a server started now refuses after {took:.2f} s")
    server.stop()
    before = rig.state_hash(rig.db)
    broker.kill()
    shutil.rmtree(rig.nats_store)
    newer.rename(rig.nats_store)
    broker = rig.start_nats()
    server, ready_s = rig.start_server()
    rig.settle()
    server.stop()
    if rig.state_hash(rig.db) != before:
        raise Failed("the refusals changed the state")
    say(f"with its own log back it is ready after {ready_s:.2f} s, the state unchanged")
    broker.stop()


def halves(rig, csv):
    """Two files, each with every other track; returns their paths."""
    paths = [rig.folder / "first.csv", rig.folder / "second.csv"]
    with open(csv, encoding="utf-8") as lines, open(paths[0], "w") as first, open(paths[1], "w") as second:
        header = next(lines)
        first.write(header)
        second.write(header)
        seen = {}
        for line in lines:
            track = line.split(",", 1)[0]
            (second if seen.setdefault(track, len(seen)) % 2 else first).write(line)
    return paths


def backup(rig, name):
    """`trunkline backup` while the server runs; returns the folder and the state hash that its manifest names."""
    folder = rig.folder / name
    begin = time.monotonic()
    rig.run("backup", [rig.trunkline, "backup", "--data", rig.data, "--nats", rig.nats_url, "--to", folder])
    manifest = json.loads((folder / "manifest.json").read_text())
    database, log = manifest["database"], manifest["streams"][0]
    say(f"backup {name} in {time.monotonic() - begin:.2f} s: database at {database['cursor']}, log to {log['last_seq']}")
    return folder, database["state_hash"]


def wipe_and_restore(rig, server, broker, folder, expected):
    """kill -9 of both, no file left; the restored database must have the backup's state. Returns the new broker."""
    server.kill()
    broker.kill()
    shutil.rmtree(rig.data)
    shutil.rmtree(rig.nats_store)
    broker = rig.start_nats()
    begin = time.monotonic()
    rig.run("restore", [rig.trunkline, "restore", "--from", folder, "--data", rig.data, "--nats", rig.nats_url])
    found = rig.state_hash(rig.db)
    say(f"wiped and restored {folder.name} in {time.monotonic() - begin:.2f} s: state hash {found}")
    if found != expected:
        raise Failed(f"the restored state differs from the backup's, {expected}")
    return broker


def restore(args):
    """Backups under load and at rest; wipe, restore, and on from there."""
    with Rig(args) as rig:
        first, second = halves(rig, args.csv)
        begun = argparse.Namespace(**{**vars(args), "csv": first})
        broker, server, playing, summary = begin(rig, begun)
        reach(rig, playing, 0.5, rows(first))
        busy, busy_hash = backup(rig, "busy")
        if not playing.alive():
            raise Failed("the import was over before the backup was made: it says nothing")
        finish(rig, playing)
        verify(rig, begun, summary)
        calm, calm_hash = backup(rig, "calm")
        if rig.state_hash(rig.db) != calm_hash:
            raise Failed("the backup of a server at rest isn't its state")

        broker = wipe_and_restore(rig, server, broker, busy, busy_hash)
        server, ready_s = rig.start_server()
        cursor = rig.settle()
        say(f"ready after {ready_s:.2f} s; the rest of the backed up log is applied, cursor {cursor}")
        if not server.stop():
            raise Failed("the server didn't stop when asked to")
        same_hash(rig, rig.db, ("a fresh server, whole log in one go", rig.rebuild("rebuilt-busy")))

        broker = wipe_and_restore(rig, server, broker, calm, calm_hash)
        server, ready_s = rig.start_server()
        say(f"ready after {ready_s:.2f} s; the other tracks follow")
        summary = rig.folder / "import-second.json"
        rig.run("import", rig.import_command(second, summary, "--speed", "max", "--watch"))
        rig.settle()
        found = dbcheck.figures(rig.db)
        wrong = dbcheck.complaints(found)
        if wrong:
            raise Failed("\n".join(wrong))
        say(f"{found['orders']} orders, {found['fixes']} fixes, {found['versions']} versions without a gap")
        check_import(rig, first, second, "--db", rig.db)
        if not server.stop():
            raise Failed("the server didn't stop when asked to")
        same_hash(rig, rig.db, ("a fresh server, whole log in one go", rig.rebuild("rebuilt-calm")))
        broker.stop()


def figures_of(http_url):
    """A server's cursor and how many timers run; None while it doesn't answer."""
    try:
        with OPENER.open(http_url + "/metrics", timeout=3) as answer:
            metrics = answer.read().decode()
    except OSError:
        return None
    found = {name: re.search(rf"^trunkline_{name} (\d+)$", metrics, re.M) for name in ("timers", "backlog", "outbox_entries")}
    return {name: int(match.group(1)) for name, match in found.items() if match}


def position(path):
    """Where a database stands in its log."""
    with closing(dbcheck.connect(path)) as db:
        return db.execute("SELECT cursor FROM cell_state").fetchone()[0]


def owners(args):
    """Two owners of one cell, each with a database of its own, through most of a simulated day."""
    scale = 86_400 // max(60, args.seconds + 30)
    with Rig(args) as rig:
        broker = rig.start_nats()
        server, ready_s = rig.start_server()
        say(f"the first owner is ready after {ready_s:.2f} s")
        truth = rig.folder / "truth.jsonl"
        # Whoever counts orders asks an owner, and the second one knows little at first: the run is judged by the log.
        playing = rig.child("simulate", [
            rig.trunkline, "simulate", "--http", rig.http_url, "--nats", rig.nats_url, "--day", "--orders", args.orders,
            "--scale", scale, "--seed", args.seed, "--truth", truth,
        ])
        until(120, "the day has begun", lambda: position(rig.db) > 200, 0.1)
        other, port = rig.folder / "other", free_port()
        second = rig.child("second", [
            rig.trunkline, "serve", "--insecure", "--http", f"127.0.0.1:{port}", "--nats", rig.nats_url, "--data", other,
        ])
        begun, other_db = time.monotonic(), other / "cells" / rig.db.name
        say(f"a second owner is started by mistake; a day of {args.orders} orders at {scale}x")
        until(900, "the day ends", lambda: not playing.alive(), 0.2)
        say(f"the day is over; two owners for {time.monotonic() - begun:.0f} s")
        if playing.process.returncode:
            raise Failed(f"simulate: exit code {playing.process.returncode}\n{playing.tail(40)}")
        urls = (rig.http_url, f"http://127.0.0.1:{port}")
        quiet = {"timers": 0, "backlog": 0, "outbox_entries": 0}

        def at_rest():
            if not (server.alive() and second.alive()):
                raise Failed("an owner has ended")
            calm = all(figures_of(url) == quiet for url in urls) and position(rig.db) == position(other_db)
            return calm and position(rig.db) == last_seq(rig.nats_port, "CELL_default")

        _, took = until(300, "no timer runs and both are at the log's end", at_rest, 0.3)
        say(f"both are at rest after {took:.1f} s, at {position(rig.db)}")
        lasted = time.monotonic() - begun
        timers = subjects(rig.nats_port, "CELL_default", "timer.>")
        changes = subjects(rig.nats_port, "ALERT_default", "alert.>")
        for child in (server, second):
            if not child.stop():
                raise Failed(f"{child.name} didn't stop when asked to")
        judge_owners(rig, other_db, timers, changes)
        if lasted < args.seconds:
            raise Failed(f"there were two owners for {lasted:.0f} s only")
        same_hash(rig, rig.db, ("the second owner's", other_db), ("a fresh server, whole log in one go", rig.rebuild("rebuilt")))
        broker.stop()


def judge_owners(rig, other_db, timers, changes):
    """Each timer in the log once, each change of an alert in its stream once, and none that a database doesn't know."""
    with closing(dbcheck.connect(rig.db)) as db:
        alerts = db.execute("SELECT kind, order_id, n, change FROM alerts").fetchall()
        twice = db.execute(
            "SELECT order_id, due_at FROM alerts WHERE kind = 'late' GROUP BY 1, 2 HAVING count(*) > 1"
        ).fetchall()
    due = {f"alert.default.{kind}.{order}.{n}.{c}" for kind, order, n, last in alerts for c in range(1, last + 1)}
    kinds = Counter(kind for kind, *_ in alerts)
    say(f"timers in the log: {len(timers)}, by kind {dict(Counter(s.split('.')[3] for s in timers))}")
    say(f"alerts: {len(alerts)}, {dict(kinds)}; changes in the stream: {len(changes)}, known to the database: {len(due)}")
    more = [f"{subject}: {count} times" for subject, count in [*timers.items(), *changes.items()] if count != 1]
    odd = sorted(set(changes) ^ due)
    say(f"subjects with more than one message: {len(more)}; changes missing or unknown: {len(odd)}; late twice: {len(twice)}")
    wrong = more + odd + [f"late twice: {order} for {due_at}" for order, due_at in twice]
    if wrong:
        raise Failed("\n".join(wrong[:20]))
    if not timers or not alerts:
        raise Failed("no timer or no alert: the run says nothing")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["kill", "nats", "restore", "owners"])
    options(parser)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int)
    parser.add_argument("--orders", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    args.rounds = args.rounds or {"kill": 20, "nats": 1, "restore": 1, "owners": 1}[args.what]
    return args


if __name__ == "__main__":
    ARGS = arguments()
    code = main(lambda: {"kill": kill, "nats": nats, "restore": restore, "owners": owners}[ARGS.what](ARGS))
    print(f"fault {ARGS.what}: {'FAILED' if code else 'passed'}")
    sys.exit(code)
