"""Rows of Rust variables become frames without being copied, and come back; frames outlive who wrote them."""

import json
import os
import pathlib
import signal
import time

import duckdb
import nbformat
import pytest

from conftest import Home, in_units
from test_leaks import engines

ROWS = 1_000_000
GONE_SECONDS = 10
# Parts of 125,000 rows, a megabyte and more per column; the text column has nulls.
MAKE = f"""let large: Table = {{
    let ids = 0..{ROWS}_i64;
    let text = |id: i64| (id % 5 > 0).then(|| format!("number {{id}}"));
    Table::new([
        Column::new("k", ids.clone().collect::<Vec<i64>>()),
        Column::new("g", ids.clone().map(|id| id % 97).collect::<Vec<i64>>()),
        Column::new("s", ids.map(text).collect::<Vec<Option<String>>>()),
    ])?
}};"""
TOTALS = "SELECT count(*) AS n, sum(k) AS k, sum(g) AS g, count(s) AS s, max(s) AS m FROM {}"
EXPECTED = [
    str(ROWS),
    str(ROWS * (ROWS - 1) // 2),
    str(sum(k % 97 for k in range(ROWS))),
    str(ROWS * 4 // 5),
    f"number {ROWS - 1}",
]


@pytest.fixture
def cluster(binary, request):
    home = Home(binary)
    home.environment |= getattr(request, "param", {})
    try:
        home.bireme("cluster", "start", "--engines", 2)
        yield home
    finally:
        home.close()


def run(home, cells):
    """Runs cells in a kernel of their own, of session `s`, which then ends."""
    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    path = pathlib.Path(home.path) / "cells.ipynb"
    notebook = {"cells": [cell | {"source": text, "id": f"c{n}"} for n, text in enumerate(cells)]}
    path.write_text(json.dumps(notebook | {"metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return home.bireme("run", path, "--session", "s", "--keep-going", check=False)


def sql(home, statements, check=True):
    done = home.bireme("sql", "--session", "s", "--format", "csv", statements, check=check)
    return done.stdout.decode() if check else done.stderr.decode()


def totals(home, frame):
    return sql(home, TOTALS.format(frame)).splitlines()[1].split(",")


def taken_over(home):
    """Mappings of engines of memory that a kernel made."""
    maps = [pathlib.Path(f"/proc/{engine}/maps").read_text() for engine in engines(home)]
    return [text.count("memfd:bireme rows") for text in maps]


def no_mapping_is_left(home):
    deadline = time.monotonic() + GONE_SECONDS
    while sum(taken_over(home)) > 0:
        assert time.monotonic() < deadline, taken_over(home)
        time.sleep(0.05)


def succeeds(home, cells):
    done = run(home, cells)
    assert done.returncode == 0, done.stderr.decode()


def test_a_scattered_variable_outlives_its_cell_and_its_kernel(cluster):
    done = run(cluster, [MAKE, "%scatter large --as f", "std::process::abort();", "large.num_rows()"])
    assert b"abort" in done.stderr.lower(), done.stderr.decode()
    # Each engine has four of the eight parts, and of each a file per column.
    assert taken_over(cluster) == [12, 12]
    assert totals(cluster, "f") == EXPECTED
    joined = "SELECT count(*) AS n FROM f AS a JOIN f AS b ON a.k = b.k AND a.s = b.s"
    assert sql(cluster, joined) == f"n\n{ROWS * 4 // 5}\n"
    sql(cluster, "DROP TABLE f")
    no_mapping_is_left(cluster)


def test_another_notebook_reads_what_is_published(cluster):
    def other(statements, check=True):
        done = cluster.bireme("sql", "--session", "other", "--format", "csv", statements, check=check)
        return (done.stdout if check else done.stderr).decode()

    made = "CREATE TABLE shared AS SELECT value AS k FROM range(1000); CREATE TABLE own AS SELECT 1 AS k"
    succeeds(cluster, [f"%%sql\n{made}", "%publish shared"])
    count = "SELECT count(*) AS n FROM shared"
    assert other(count) == "n\n1000\n"
    # Names are a session's own otherwise, and its own come first.
    assert "no table or view" in other("SELECT * FROM own", check=False)
    other("CREATE TABLE shared AS SELECT 1 AS k")
    assert other(count) == "n\n1\n"
    other("DROP TABLE shared")
    assert other(count) == "n\n1000\n"
    # What an engine takes along is made again for whoever reads it.
    os.kill(engines(cluster)[1], signal.SIGKILL)
    assert other(count) == "n\n1000\n"
    succeeds(cluster, ["%publish shared --withdraw"])
    assert "no table or view" in other(count, check=False)
    assert sql(cluster, count) == "n\n1000\n"


def test_rows_that_move_are_laid_out_like_others(cluster):
    cells = [MAKE, "%scatter large --as f --by g", "%scatter large --as r --replicate"]
    cells.append("let short = large.slice(7, 100_000);\n%scatter short --as t")
    succeeds(cluster, cells)
    assert totals(cluster, "f") == totals(cluster, "r") == EXPECTED
    by_group = "SELECT count(*) AS n FROM (SELECT g, count(*) AS n FROM f GROUP BY g)"
    assert sql(cluster, by_group) == "n\n97\n"
    assert sql(cluster, "SELECT min(k) AS a, max(k) AS b, count(*) AS n FROM t") == "a,b,n\n7,100006,100000\n"
    # What moved is the engines' own; what did not leave its place is not copied.
    sql(cluster, "DROP TABLE f; DROP TABLE r; DROP TABLE t")
    no_mapping_is_left(cluster)


def test_scattered_rows_move_when_the_cluster_is_scaled(cluster):
    succeeds(cluster, [MAKE, "%scatter large --as f"])
    for count in (3, 1, 2):
        cluster.bireme("cluster", "scale", count)
        assert totals(cluster, "f") == EXPECTED, f"on {count} engines"
    sql(cluster, "DROP TABLE f")
    no_mapping_is_left(cluster)


def test_rows_without_a_layout_spread_to_new_engines(cluster):
    def held():
        """Memory that each engine holds of `f`, as `%memory` tells it."""
        succeeds(cluster, ["%memory"])
        cells = nbformat.read(pathlib.Path(cluster.path) / "cells.out.ipynb", as_version=4).cells
        text = "".join(output.data["text/plain"] for output in cells[0].outputs)
        rows = [line.strip("│").split("┆") for line in text.splitlines() if "┆ frame f " in line]
        return {int(engine): in_units(memory) for engine, _, memory, *_ in rows}

    sql(cluster, f"CREATE TABLE f AS SELECT value AS k, value % 97 AS g, 'number ' || value AS s FROM range({ROWS})")
    before = totals(cluster, "f")
    assert list(held()) == [0, 1]
    cluster.bireme("cluster", "scale", 4)
    deadline = time.monotonic() + 3 * GONE_SECONDS
    while list(shares := held()) != [0, 1, 2, 3]:
        assert time.monotonic() < deadline, shares
        time.sleep(0.1)
    assert max(shares.values()) < 0.5 * sum(shares.values()), shares
    assert totals(cluster, "f") == before


# Each engine may hold about 60 MiB, and the two frames have 120.
@pytest.mark.parametrize("cluster", [{"BIREME_MEMORY_HOST_LIMIT": str(120 << 20)}], indirect=True)
def test_scattered_rows_give_way_to_others(cluster):
    succeeds(cluster, [MAKE, "%scatter large --as f", "%scatter large --as g", "%scatter large --as h"])
    for frame in ("f", "g", "h", "f"):
        assert totals(cluster, frame) == EXPECTED, frame
    sql(cluster, "DROP TABLE f; DROP TABLE g; DROP TABLE h")
    no_mapping_is_left(cluster)
    spill = pathlib.Path(cluster.path) / "spill"
    assert not list(spill.glob("engine-*/spill-*"))


def test_a_frame_comes_back_as_it_went(cluster):
    succeeds(
        cluster,
        [
            MAKE,
            "%scatter large --as f",
            "%gather f --to back",
            # A frame of a query, with views of text and a segment more.
            "%%sql g --persist --by g\nSELECT * FROM f\n",
            "%%sql\nINSERT INTO g SELECT k + 1000000, g, NULL FROM f WHERE k < 10",
            "%gather g --to other",
            "%drop f\n%drop g",
            # The variables are the notebook's own.
            "assert_eq!(back.num_rows(), large.num_rows());\n"
            "let mut at = 0;\n"
            "for batch in back.batches() {\n"
            "    let there = large.slice(at, batch.num_rows());\n"
            "    assert_eq!(&there.batches()[0], batch);\n"
            "    at += batch.num_rows();\n"
            "}",
            "use arrow_array::cast::AsArray;\n"
            "use arrow_array::types::Int64Type;\n"
            "use arrow_array::Array;\n"
            "fn column(batch: &RecordBatch) -> Vec<i64> {\n"
            "    batch.column(0).as_primitive::<Int64Type>().values().to_vec()\n"
            "}\n"
            "let mut ids: Vec<i64> = other.batches().iter().flat_map(column).collect();\n"
            "ids.sort();\n"
            f"assert_eq!(ids, (0..{ROWS}_i64 + 10).collect::<Vec<_>>());\n"
            "let nulls: usize = other.batches().iter().map(|batch| batch.column(2).null_count()).sum();\n"
            f"assert_eq!(nulls, {ROWS // 5} + 10);",
        ],
    )
    no_mapping_is_left(cluster)


def test_files_and_views_become_frames(cluster, tmp_path):
    rows = "SELECT range AS k, range % 97 AS g, CASE WHEN range % 5 > 0 THEN 'number ' || range END AS s FROM range(200000)"
    duckdb.sql(f"COPY ({rows}) TO '{tmp_path}/rows.parquet' (ROW_GROUP_SIZE 30000)")
    duckdb.sql(f"COPY ({rows}) TO '{tmp_path}/rows.csv'")
    succeeds(
        cluster,
        [
            f"%scatter '{tmp_path}/*.parquet' --as p",
            f"%scatter '{tmp_path}/rows.csv' --as c --by g",
            f"%%sql v --lazy\nSELECT k, g, upper(s) AS s FROM '{tmp_path}/rows.parquet' WHERE g < 90",
            "%scatter v --as w --replicate",
            "%show w",
        ],
    )
    shown = nbformat.read(pathlib.Path(cluster.path) / "cells.out.ipynb", as_version=4).cells[-1].outputs[-1]
    # The frame is there without its files.
    for path in tmp_path.iterdir():
        path.rename(path.with_suffix(".gone"))
    query = "SELECT count(*) AS n, sum(k) AS k, sum(g) AS g, count(s) AS s, max(s) AS m FROM {}"
    expected = duckdb.sql(query.format(f"({rows})")).fetchall()[0]
    assert totals(cluster, "p") == totals(cluster, "c") == list(map(str, expected))
    of_view = f"(SELECT k, g, upper(s) AS s FROM ({rows}) WHERE g < 90)"
    expected = duckdb.sql(query.format(of_view)).fetchall()[0]
    assert totals(cluster, "w") == list(map(str, expected))
    assert f"{expected[0]:_} rows" in shown.data["text/plain"], shown.data["text/plain"]


def test_a_lost_part_says_what_it_was(cluster):
    succeeds(cluster, [MAKE, "%scatter large --as f"])
    os.kill(engines(cluster)[1], signal.SIGKILL)
    deadline = time.monotonic() + GONE_SECONDS * 3
    while "scatter it again" not in (told := sql(cluster, "SELECT count(*) FROM f", check=False)):
        assert time.monotonic() < deadline, told
        time.sleep(0.1)


def test_memory_that_is_none_is_refused(cluster):
    for path, reason in [("/proc/1/fd/999999", "shared memory"), ("/proc/self/fd/1", "")]:
        told = sql(cluster, f"SELECT * FROM '{path}'", check=False)
        assert reason in told and path in told, told
