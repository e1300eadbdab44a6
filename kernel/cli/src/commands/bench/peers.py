"""Runs TPC-H queries in a peer of Bireme: one JSON object per line in, one per line out."""

import json
import os
import sys
import time

TABLES = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]


def open_duckdb(data):
    import duckdb

    connection = duckdb.connect()
    for table in TABLES:
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM '{data}/{table}/*.parquet'")
    return duckdb.__version__, lambda sql: len(connection.execute(sql).fetchall())


def open_polars(data):
    import polars

    frames = {table: polars.scan_parquet(f"{data}/{table}/*.parquet") for table in TABLES}
    context = polars.SQLContext(frames)
    return polars.__version__, lambda sql: context.execute(sql).collect(engine="streaming").height


def open_datafusion(data):
    import datafusion

    context = datafusion.SessionContext()
    for table in TABLES:
        context.register_parquet(table, f"{data}/{table}/")
    return datafusion.__version__, lambda sql: context.sql(sql).to_arrow_table().num_rows


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What a library prints must not be taken for an answer.

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    peer, data = sys.argv[1:]
    opener = {"duckdb": open_duckdb, "polars": open_polars, "datafusion": open_datafusion}[peer]
    try:
        version, run = opener(data)
    except ImportError as error:
        answer(error=str(error))
        return
    answer(version=version)
    for line in sys.stdin:
        started = time.perf_counter()
        try:
            rows = run(json.loads(line)["sql"])
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}"[:500])
        else:
            answer(seconds=time.perf_counter() - started, rows=rows)


main()
