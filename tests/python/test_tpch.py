"""All 22 TPC-H queries give DuckDB's answers, over files on every number of engines and over frames on some.

BIREME_TPCH_SCALE chooses the scale (0.1), BIREME_TPCH_ENGINES the numbers of engines (1,2,3,5).
"""

import datetime
import decimal
import math
import os

import duckdb
import pytest

from conftest import REPOSITORY, Home

SCALE = os.environ.get("BIREME_TPCH_SCALE", "0.1")
ENGINES = [int(count) for count in os.environ.get("BIREME_TPCH_ENGINES", "1,2,3,5").split(",")]
QUERIES = sorted((REPOSITORY / "engines/workloads/src/queries/tpch").glob("q*.sql"))
TABLES = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]

# How frames lie: joins of these keys need no exchange.
LAYOUT = {
    "customer": "PARTITION BY c_custkey", "lineitem": "PARTITION BY l_orderkey", "orders": "PARTITION BY o_orderkey",
    "part": "PARTITION BY p_partkey", "partsupp": "PARTITION BY ps_partkey", "nation": "WITH (replicate = true)",
}  # fmt: skip
SESSIONS = [(count, "files") for count in ENGINES] + [(count, "frames") for count in ENGINES[1:3]]

# Columns that ORDER BY names, by position; other columns may come in any order among equals.
ORDER = {
    1: [0, 1], 2: [0, 2, 1, 3], 3: [1, 2], 4: [0], 5: [1], 6: [], 7: [0, 1, 2], 8: [0],
    9: [0, 1], 10: [2], 11: [1], 12: [0], 13: [1, 0], 14: [], 15: [0], 16: [3, 0, 1, 2],
    17: [], 18: [4, 3], 19: [], 20: [0], 21: [1, 0], 22: [0],
}  # fmt: skip

# Averages and quotients of decimals have 6 digits in one system and are doubles in the other.
RELATIVE = 1e-9
ABSOLUTE = 1e-6


@pytest.fixture(scope="module")
def tables(binary, data_directory):
    """The generated tables."""
    directory = data_directory / f"tpch-{SCALE}"
    home = Home(binary)
    home.bireme("datagen", "tpch", "--scale", SCALE, "--out", directory)
    home.close()
    return directory


@pytest.fixture(scope="module")
def expected(tables):
    """DuckDB's answers, by query number."""
    connection = duckdb.connect()
    for table in TABLES:
        connection.execute(f"CREATE VIEW {table} AS FROM '{tables}/{table}/*.parquet'")
    return {number(path): connection.execute(path.read_text()).fetchall() for path in QUERIES}


@pytest.fixture(scope="module", params=SESSIONS, ids=lambda of: f"{of[0]}-engines-{of[1]}")
def session(request, binary, tables):
    """A cluster whose session `tpch` knows the tables."""
    engines, kind = request.param
    home = Home(binary)
    home.bireme("cluster", "start", "--engines", engines)
    create = {
        "files": "CREATE EXTERNAL TABLE {0} STORED AS PARQUET LOCATION '{1}/{0}/'",
        "frames": "CREATE TABLE {0} {2} AS SELECT * FROM '{1}/{0}/*.parquet'",
    }[kind]
    statements = "; ".join(create.format(table, tables, LAYOUT.get(table, "")) for table in TABLES)
    home.bireme("sql", "--session", "tpch", statements)
    yield home
    home.close()


def number(path):
    """The number of a query, from the name of its file."""
    return int(path.stem.removeprefix("q"))


@pytest.mark.parametrize("query", QUERIES, ids=lambda path: path.stem)
def test_tpch(session, expected, query, tmp_path):
    arguments = ["sql", "--session", "tpch", "--format", "parquet", "-f", query]
    result = tmp_path / "result.parquet"
    result.write_bytes(session.bireme(*arguments).stdout)
    rows = duckdb.sql(f"FROM '{result}'").fetchall()
    compare(rows, expected[number(query)], ORDER[number(query)])


def compare(rows, expected, order):
    """Fails unless both hold the same rows in an order that ORDER BY allows."""
    assert len(rows) == len(expected)
    for position, (row, wanted) in enumerate(zip(rows, expected)):
        for column in order:
            assert same(row[column], wanted[column]), f"row {position}: {row}, not {wanted}"
    for row, wanted in zip(sorted(rows, key=sort_key), sorted(expected, key=sort_key)):
        assert all(map(same, row, wanted)), f"{row}, not {wanted}"


def sort_key(row):
    """Sorts by what is exact first, so that last digits of floats do not decide."""
    exact = [str(value) for value in row if isinstance(value, (str, int, datetime.date))]
    rest = [float(value) for value in row if isinstance(value, (float, decimal.Decimal))]
    return exact, rest


def same(value, wanted):
    """Whether two values are equal; exactly, unless a float is among them."""
    if isinstance(value, float) or isinstance(wanted, float):
        return value is not None and wanted is not None and math.isclose(
            float(value), float(wanted), rel_tol=RELATIVE, abs_tol=ABSOLUTE
        )
    if isinstance(value, datetime.datetime):
        value = value.date()
    if isinstance(wanted, datetime.datetime):
        wanted = wanted.date()
    return value == wanted
