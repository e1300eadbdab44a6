"""Frames give DuckDB's answers on every number of engines and partitions, in plenty of memory and in
a part of what the data needs.

BIREME_FRAME_ROWS is the number of rows; BIREME_FRAME_CASES=all runs every combination, not a few of them. The rows are others each time; BIREME_FRAME_SEED makes those of a run that failed.
"""

import itertools
import os
import random

import duckdb
import pytest

from conftest import Home

ROWS = int(os.environ.get("BIREME_FRAME_ROWS", "400000"))
CASES = os.environ.get("BIREME_FRAME_CASES", "few")
SEED = int(os.environ.get("BIREME_FRAME_SEED", random.SystemRandom().randrange(1_000_000)))
ENGINES = [1, 2, 3, 5]
PARTITIONS = [2, 4, 7]
# Parts of what the rows take in memory.
MEMORY = [1.0, 0.25, 0.05]
# Every number of each; the rows have 11, 25, 25 and 46 % of what they take, in the others all. With soak's rows, four
# times as many, 1 engine of 2 or 4 partitions has 5 %, of 7 it has 5.5, and 5 engines of 7 have 28 % at least.
FEW_CASES = [(1, 2, 0.05), (2, 2, 0.25), (1, 7, 0.25), (3, 4, 0.25), (2, 4, 1.0), (5, 7, 0.05)]
# What an engine needs for itself and for each partition, all of which sort at once: each with a batch and a merge.
ENGINE_BYTES_MIN = 8 << 20
PARTITION_BYTES_MIN = 3 << 20
# What a row of DATA is taken to need in memory, reckoned from its types and not measured. With texts as Arrow views
# it is about 100 bytes: 28 of numbers, 20 of the list, 32 of views, 17 of texts that are too long for a view. Some are
# added for what comes with them.
ROW_BYTES = 115

# Half of the rows have one key; others have few rows or none; keys, numbers and texts may be missing.
DATA = """
SELECT CASE WHEN i % 2 = 0 THEN 7 WHEN i % 61 = 0 THEN NULL ELSE (hash(i * {seed}) % ({rows} // 3))::BIGINT END AS k,
       i AS id,
       CASE WHEN i % 13 = 0 THEN NULL ELSE (hash(i + {seed}) % 1000)::INTEGER END AS n,
       CASE WHEN i % 17 = 0 THEN NULL WHEN i % 5 = 0 THEN repeat('long text ', 1 + (i % 20)::INTEGER) || i ELSE 'text ' || (i % 97) END AS s,
       {{'a': i % 3, 'b': 'x' || (i % 11)}} AS nested,
       [i % 5, i % 7] AS list
FROM range({rows}) AS r(i)
"""

# Half of these rows have the key that half of all rows have.
FEW = "(SELECT * FROM b WHERE id % 1999 = 0)"
# Names of the frames: `a` and `b` lie by their key, `c` does not.
QUERIES = {
    "count": "SELECT count(*), count(k), sum(n), count(DISTINCT s) FROM a",
    "distinct counts": "SELECT n, count(*), count(DISTINCT id), count(DISTINCT s), count(DISTINCT k) FILTER (WHERE id % 2 = 0) FROM c GROUP BY n",
    "group": "SELECT k, count(*) AS c, sum(n) AS n, min(s) AS s FROM a GROUP BY k",
    "group by text": "SELECT s, count(*) AS c, max(id) AS id FROM c GROUP BY s",
    "inner": "SELECT a.id, b.id, a.s, b.nested FROM a JOIN b ON a.k = b.k WHERE a.k <> 7",
    "filtered": "SELECT a.id, b.id FROM a JOIN b ON a.k = b.k AND a.n < b.n WHERE a.k <> 7",
    "left": "SELECT a.id, b.id, b.s FROM a LEFT JOIN b ON a.k = b.k AND b.n > 500 AND b.k <> 7",
    "right": "SELECT a.id, c.id, a.list FROM a RIGHT JOIN c ON a.id = c.id AND a.n = c.n",
    "full": "SELECT a.id, c.id FROM (SELECT * FROM a WHERE n < 300) a FULL JOIN c ON a.id = c.id",
    "skewed inner": f"SELECT count(*), sum(a.n), max(a.s) FROM a JOIN {FEW} b ON a.k = b.k",
    "skewed left": f"SELECT count(*), count(b.id), sum(b.n) FROM a LEFT JOIN {FEW} b ON a.k = b.k",
    "skewed right": f"SELECT count(*), count(a.id), sum(a.n) FROM {FEW} a RIGHT JOIN b ON a.k = b.k AND a.n < b.n",
    "skewed full": f"SELECT count(*), count(a.id), count(b.id) FROM a FULL JOIN {FEW} b ON a.k = b.k AND a.n < b.n",
    "skewed semi": f"SELECT count(*), sum(id) FROM a WHERE EXISTS (SELECT 1 FROM {FEW} b WHERE b.k = a.k AND b.n > a.n)",
    "skewed anti": f"SELECT count(*), sum(id) FROM {FEW} a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.n < a.n)",
    "two keys": "SELECT count(*), sum(b.n) FROM a JOIN b ON a.s = b.s AND a.n = b.n",
    "semi": "SELECT id FROM a WHERE k IN (SELECT k FROM b WHERE n < 20)",
    "anti": "SELECT id FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.k <> 7)",
    "not in": "SELECT id FROM c WHERE n NOT IN (SELECT n FROM a WHERE n IS NOT NULL AND n > 10)",
    "window": "SELECT id, sum(n) OVER (PARTITION BY k) AS n, row_number() OVER (PARTITION BY s ORDER BY id) AS r FROM a",
    "sort": "SELECT id, s FROM c ORDER BY s DESC NULLS LAST, id LIMIT 1000",
    "distinct": "SELECT DISTINCT k, s FROM a",
    "nested": "SELECT id, nested['a'] AS a, list[1] AS l FROM a WHERE nested['b'] = 'x3'",
}


def cases():
    """The combinations that run."""
    return list(itertools.product(ENGINES, PARTITIONS, MEMORY)) if CASES == "all" else FEW_CASES


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Parquet files of the tables, and what DuckDB answers."""
    directory = tmp_path_factory.mktemp("frames")
    connection = duckdb.connect()
    for seed, table in enumerate(["a", "b", "c"], start=SEED):
        connection.execute(f"CREATE TABLE {table} AS {DATA.format(rows=ROWS, seed=seed)}")
        size = max(ROWS // 4, 1)
        connection.execute(f"COPY {table} TO '{directory}/{table}.parquet' (ROW_GROUP_SIZE {size})")
    expected = {name: rows(connection.execute(sql)) for name, sql in QUERIES.items()}
    return directory, expected


def rows(result):
    """The rows of a result, in an order of their own."""
    return sorted((tuple(map(repr, row)) for row in result.fetchall()), key=str)


@pytest.mark.parametrize(("engines", "partitions", "memory"), cases())
def test_frames_answer_alike(binary, tables, tmp_path, engines, partitions, memory):
    print(f"BIREME_FRAME_SEED={SEED}")
    directory, expected = tables
    home = Home(binary)
    size = 3 * ROWS * ROW_BYTES
    least = ENGINE_BYTES_MIN + partitions * PARTITION_BYTES_MIN
    limit = max(int(size * memory), engines * least)
    home.environment["BIREME_MEMORY_HOST_LIMIT"] = str(limit)
    try:
        home.bireme("cluster", "start", "--engines", engines)
        sql = lambda *statements: home.bireme("sql", "--session", "t", *statements)  # noqa: E731
        sql(f"SET query.partitions = {partitions}")
        for table, by in [("a", "k"), ("b", "k"), ("c", "")]:
            make(home, table, directory, by)
        for name, query in QUERIES.items():
            result = tmp_path / "result.parquet"
            result.write_bytes(sql("--format", "parquet", query).stdout)
            answer = rows(duckdb.sql(f"FROM '{result}'"))
            assert answer == expected[name], f"{name}: {len(answer)} rows of {len(expected[name])}"
        if limit < size / 2:
            assert sum(home.stats()["copy-host-to-disk-bytes"]) > 0, "frames fit in half of what they take"
        sql("DROP TABLE a; DROP TABLE b; DROP TABLE c")
    finally:
        home.close()


def make(home, table, directory, by):
    """Makes a frame, by its key if it has one."""
    layout = f"PARTITION BY {by}" if by else ""
    select = f"CREATE TABLE {table} {layout} AS SELECT * FROM '{directory}/{table}.parquet'"
    home.bireme("sql", "--session", "t", select)
