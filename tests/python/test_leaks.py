"""After many queries, of which a third are cancelled at a random moment, engines hold what they held before.

BIREME_LEAK_QUERIES is the number of queries.
"""

import os
import pathlib
import random
import subprocess
import time

from conftest import Home, processes_of

QUERIES = int(os.environ.get("BIREME_LEAK_QUERIES", "60"))
IS_LONG = QUERIES >= 1000
# What an engine remembers, such as its latest 16,384 spans, reaches its size first: after 1,000, 2,000 and 3,000 queries
# engines had 6.1, 6.6 and 6.7 MiB in use, and 24, 27 and 28 MB were resident.
WARM_UP = 2 * QUERIES if IS_LONG else 18
# What a short run may add to what engines have in use meanwhile: after 20 queries they have 1.3 MiB, after 80 they have 1.9.
GROWTH = 0 if IS_LONG else 1 << 20
ROWS = 300_000
SETTLED_SECONDS = 60
# Memory goes back to the system when nothing has run for 5 s; ended queries are let go of after 10 s.
STEADY_LOOKS = 20
MAKE = f"""CREATE TABLE f AS SELECT k, n, 'a text of some length ' || n AS s
    FROM (SELECT value % 1000 AS k, value * 7919 % 100003 AS n FROM range({ROWS}))"""
# Sums, exchanges, sorts and joins that spill, frames made and dropped, files written and read.
STATEMENTS = [
    "SELECT k, count(*), sum(n) FROM f GROUP BY k",
    "SELECT count(*) FROM f AS a JOIN f AS b ON a.n = b.n AND a.k < b.k",
    "SELECT * FROM f ORDER BY s DESC, n LIMIT 10",
    "SELECT count(*) FROM (SELECT DISTINCT s, k FROM f)",
    "CREATE TABLE g AS SELECT s, max(n) AS n FROM f GROUP BY s; DROP TABLE g",
    "SELECT sum(n) OVER (PARTITION BY k ORDER BY n) AS n FROM f ORDER BY n DESC LIMIT 5",
    "COPY (SELECT * FROM f WHERE k < 500) TO '{home}/copies.parquet'",
    "SELECT k, max(s) FROM '{home}/rows.parquet' GROUP BY k",
]


def test_nothing_is_left_behind(binary):
    home = Home(binary)
    home.environment["BIREME_MEMORY_HOST_LIMIT"] = str(120 << 20)
    chance = random.Random(7)
    try:
        home.bireme("cluster", "start", "--engines", 2)
        before = after_queries(home, WARM_UP, random.Random(1))
        after = after_queries(home, QUERIES, chance)
        print(f"{QUERIES} queries: {before} -> {after}")
        for rank, (held, now) in enumerate(zip(before, after)):
            assert now["files"] == 0, f"engine {rank} has left files"
            assert now["open"] <= held["open"] + 4, f"engine {rank} has left files open"
            assert now["shared"] <= held["shared"] + (1 << 20), f"engine {rank} has left memory of frames"
            assert now["heap"] <= held["heap"] * 1.1 + GROWTH, f"engine {rank} holds more memory"
        assert reserved(home) == ["0 B", "0 B"]
        if IS_LONG:
            # Engines do the same work, but one may reach its size hundreds of queries before the other: most of it lies
            # free between what is in use.
            largest, now = (max(engine["resident"] for engine in held) for held in (before, after))
            assert now <= largest * 1.1, "engines have grown"
    finally:
        home.close()


def after_queries(home, count, chance):
    """What engines hold after a frame was made, read by so many queries, and dropped."""
    home.bireme("sql", "--session", "s", f"{MAKE}; COPY f TO '{home.path}/rows.parquet'")
    cancelled = 0
    for number in range(count):
        # Some end before the moment comes: others make up for them.
        is_due = 3 * cancelled <= number
        cancelled += run(home, STATEMENTS[number % len(STATEMENTS)], chance.uniform(0.002, 0.08) if is_due else None)
    print(f"{cancelled} of {count} queries were cancelled")
    # The last of those that are due may end before their moment.
    assert cancelled >= count // 3 - 2, "a third is to be cancelled"
    home.bireme("sql", "--session", "s", "DROP TABLE f; DROP TABLE IF EXISTS g")
    held = settled(home)
    # What each engine's allocator has handed out.
    for engine, bytes_in_use in zip(held, home.stats()["heap-live-bytes"]):
        engine["heap"] = bytes_in_use
    return held


def run(home, statement, seconds):
    """Runs a statement, for so many seconds at most. Tells whether it was interrupted."""
    command = [home.binary, "sql", "--session", "s", statement.format(home=home.path)]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": home.environment}
    process = subprocess.Popen(command, **options)
    try:
        process.wait(timeout=seconds or 120)
        return False
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait(timeout=30)
        assert seconds is not None, f"{statement} takes more than 120 s"
        return True


def settled(home):
    """What each engine holds once nothing changes any more."""
    deadline, last, looks = time.monotonic() + SETTLED_SECONDS, [], 0
    while looks < STEADY_LOOKS and time.monotonic() < deadline:
        time.sleep(1)
        now = [held(engine, home) for engine in engines(home)]
        looks = looks + 1 if last and all(steady(a, b) for a, b in zip(last, now)) else 0
        last = now
    return last


def steady(one, other):
    grown = [abs(other[kind] - one[kind]) for kind in ("resident", "shared")]
    return one["files"] == other["files"] and one["open"] == other["open"] and max(grown) < 1 << 20


def reserved(home):
    """What `cluster status` says of it, engine by engine."""
    lines = [line.split("┆") for line in home.bireme("cluster", "status").stdout.decode().splitlines() if "┆" in line]
    column = [name.strip("│ ") for name in lines[0]].index("reserved")
    return [line[column].strip() for line in lines[1:]]


def engines(home):
    found = []
    for process in processes_of(home.path):
        command = pathlib.Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        if b"engine" in command[:2]:
            found.append((command[command.index(b"--rank") + 1], process))
    return [process for _, process in sorted(found)]


def held(engine, home):
    status = pathlib.Path(f"/proc/{engine}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    rank = pathlib.Path(f"/proc/{engine}/cmdline").read_bytes().split(b"--rank\0")[1].split(b"\0")[0].decode()
    spill = pathlib.Path(home.path) / "spill" / f"engine-{rank}"
    return {
        "resident": int(fields["RssAnon"].split()[0]) << 10,
        "shared": int(fields["RssShmem"].split()[0]) << 10,
        "files": len(list(spill.glob("spill-*"))),
        "open": len(list(pathlib.Path(f"/proc/{engine}/fd").iterdir())),
    }
