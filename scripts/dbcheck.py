#!/usr/bin/env python3
"""What a cell's database says about itself, asked by SQL and by nothing of Trunkline's own code.

    scripts/dbcheck.py DB                    prints the figures; exits 1 if a version or a fix is wrong
    scripts/dbcheck.py DB --watch FILE       … and what a watching client saw (`trunkline watch --summary-json FILE`)
"""

import argparse
import json
import sqlite3
import sys
from pathlib import Path

COMPLETED = 4
CLIENT_FIGURES = ["orders", "completed", "snapshots", "deltas", "gaps", "equal", "mismatches"]


def connect(path):
    """A read-only connection; the server may be running."""
    if not Path(path).is_file():
        raise SystemExit(f"there is no database {path}")
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)


def figures(path):
    """Counts, and the orders and fixes that break a promise."""
    db = connect(path)
    try:
        one = lambda sql: db.execute(sql).fetchone()[0]
        # An order's history must name every version from 1 to the present one.
        gaps = db.execute(
            """SELECT o.id, o.version, count(DISTINCT t.version), min(t.version), max(t.version)
               FROM orders o LEFT JOIN order_tracking t ON t.order_id = o.id AND t.version > 0
               GROUP BY o.id
               HAVING count(DISTINCT t.version) IS NOT o.version OR min(t.version) IS NOT 1
                   OR max(t.version) IS NOT o.version"""
        ).fetchall()
        # (rider, device time, sequence) identifies a fix: no order has one twice.
        twice = db.execute(
            """SELECT order_id, operator_id, device_time, fix_seq, count(*) FROM order_tracking
               WHERE kind = 'fix' GROUP BY 1, 2, 3, 4 HAVING count(*) > 1"""
        ).fetchall()
        # Versions never step back in the order in which the history was written.
        backwards = one(
            """SELECT count(*) FROM (SELECT version < lag(version) OVER (PARTITION BY order_id ORDER BY id) AS back
               FROM order_tracking) WHERE back"""
        )
        return {
            "orders": one("SELECT count(*) FROM orders"),
            "completed": one(f"SELECT count(*) FROM orders WHERE status = {COMPLETED}"),
            "fixes": one("SELECT count(*) FROM order_tracking WHERE kind = 'fix'"),
            "marked": one("SELECT count(*) FROM order_tracking WHERE kind = 'fix' AND mark IS NOT 'good'"),
            "versions": one("SELECT coalesce(sum(version), 0) FROM orders"),
            "gaps": gaps,
            "twice": twice,
            "backwards": backwards,
        }
    finally:
        db.close()


def complaints(found):
    """Broken promises of the database, in words."""
    said = [f"order {o}: version {v}, history has {n} versions, {a} to {b}" for o, v, n, a, b in found["gaps"]]
    said += [f"order {o}: fix of {r} at {t} (seq {s}) is there {n} times" for o, r, t, s, n in found["twice"]]
    if found["backwards"]:
        said.append(f"{found['backwards']} history lines have a lower version than the line before them")
    return said


def watched(path):
    """The client's figures by name, wherever in its summary they stand; a missing one is an error."""
    flat = {}

    def walk(value):
        for name, inner in value.items():
            if isinstance(inner, dict):
                walk(inner)
            else:
                flat.setdefault(name, inner)

    walk(json.loads(Path(path).read_text()))
    missing = [name for name in CLIENT_FIGURES if name not in flat]
    if missing:
        raise SystemExit(f"{path} has no {', '.join(missing)}")
    return flat


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("db")
    parser.add_argument("--watch", metavar="FILE")
    parser.add_argument("--need-completed", action="store_true", help="fail if no order was completed")
    args = parser.parse_args()

    found = figures(args.db)
    wrong = complaints(found)
    print("by SQL, from the database:")
    print(f"  orders               {found['orders']}")
    print(f"  orders completed     {found['completed']}")
    print(f"  fixes stored         {found['fixes']} ({found['marked']} of them marked)")
    print(f"  fixes stored twice   {len(found['twice'])}")
    print(f"  versions             {found['versions']}")
    print(f"  orders with a gap    {len(found['gaps'])}")
    if args.need_completed and not found["completed"]:
        wrong.append("no order was completed")

    if args.watch:
        wrong += client(watched(args.watch), found)
    for line in wrong:
        print(f"WRONG: {line}", file=sys.stderr)
    print("result: " + ("WRONG" if wrong else "as it should be"))
    return 1 if wrong else 0


def client(seen, found):
    """Prints what the watching client saw, and returns what it complains of."""
    wrong = []
    mismatches = seen["mismatches"]
    print("by a WebSocket client that followed every order:")
    print(f"  orders followed      {seen['orders']}")
    print(f"  orders completed     {seen['completed']}")
    print(f"  snapshots received   {seen['snapshots']}")
    print(f"  deltas received      {seen['deltas']}")
    print(f"  gaps in the deltas   {seen['gaps']}")
    print(f"  state as the server's {seen['equal']} of {seen['orders']} orders")
    if seen["gaps"]:
        wrong.append(f"the client found {seen['gaps']} gaps")
    if mismatches or seen["equal"] != seen["orders"]:
        wrong.append(f"the client's state differs from the server's: {mismatches}")
    if seen["orders"] != found["orders"]:
        wrong.append(f"the client followed {seen['orders']} orders, the database has {found['orders']}")
    if not seen["deltas"]:
        wrong.append("the client received no delta")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
