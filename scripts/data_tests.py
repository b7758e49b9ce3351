#!/usr/bin/env python3
"""The promises that need recorded tracks: import, disorder, replay. Started by `scripts/data-tests`."""

import argparse
import sys

import dbcheck
from rig import Failed, Rig, check_import, main, options, same_hash, say

REBUILDS = [
    ("batches of 1", "--batch", "1"),
    ("batches of 7", "--batch", "7"),
    ("batches of 1,000", "--batch", "1000"),
    ("passivated after each input", "--passivate-each"),
]


def play(rig, args, what, *more):
    """One import with a client on every order; returns the summary file once the server has stopped."""
    rig.start_nats()
    server, ready_s = rig.start_server()
    say(f"{what}: server ready after {ready_s:.2f} s")
    summary = rig.folder / "import.json"
    text = rig.run("import", rig.import_command(args.csv, summary, "--speed", "max", "--watch", *more))
    print("\n".join("  " + line for line in text.splitlines()))
    rig.settle()
    found = dbcheck.figures(rig.db)
    wrong = dbcheck.complaints(found)
    if wrong or not found["fixes"]:
        raise Failed("\n".join(wrong) or "no fix was stored")
    say(f"{found['orders']} orders, {found['fixes']} fixes, {found['versions']} versions without a gap")
    if not server.stop():
        raise Failed("the server didn't stop when asked to")
    return summary


def everything(args):
    with Rig(args) as straight, Rig(args) as disordered:
        summary = play(straight, args, "the file as it is")
        check_import(straight, args.csv, "--db", straight.db, "--summary-json", summary)

        say("the same log, read anew in different ways")
        databases = []
        for n, (what, *options) in enumerate(REBUILDS):
            databases.append((what, straight.rebuild(f"rebuilt-{n}", *options)))
        same_hash(straight, straight.db, *databases)
        straight.verify()

        disorder = ["--shuffle-window", "1h", "--seed", "7", "--repeat", "2"]
        play(disordered, args, "shuffled within an hour, sent twice", *disorder)
        check_import(straight, "--same-tracks", straight.db, disordered.db)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    options(parser)
    ARGS = parser.parse_args()
    code = main(lambda: everything(ARGS))
    print(f"data tests: {'FAILED' if code else 'passed'}")
    sys.exit(code)
