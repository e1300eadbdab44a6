"""Runs TPC-H queries, Rust cells, or moves of a table in a peer of Bireme: one JSON object per line in and out."""

import atexit
import json
import os
import shutil
import sys
import tempfile
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


def open_datafusion_memory(data):
    import datafusion
    import pyarrow.parquet

    # The table that the queries read which are compared.
    context = datafusion.SessionContext()
    table = pyarrow.parquet.read_table(f"{data}/lineitem/")
    context.register_record_batches("lineitem", [table.to_batches()])
    return datafusion.__version__, lambda sql: context.sql(sql).to_arrow_table().num_rows


def open_evcxr_jupyter(program):
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import KernelManager

    if shutil.which(program) is None:
        raise ImportError(f"there is no program {program}")

    class Manager(KernelManager):
        kernel_spec = KernelSpec(argv=[program, "--control_file", "{connection_file}"])

    manager = Manager()
    manager.start_kernel(stdout=2)
    # It does not end with its client.
    atexit.register(manager.shutdown_kernel, now=True)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)

    def run(cell):
        reply = client.execute_interactive(cell, output_hook=lambda _: None, timeout=120)
        if reply["content"]["status"] != "ok":
            raise RuntimeError(reply["content"]["evalue"])
        return 0

    return client.kernel_info(reply=True)["content"]["implementation_version"], run


def open_ipyparallel(rows):
    import ipyparallel
    import numpy
    import pandas

    # Its files go with the measurement. The processes it starts look there too.
    directory = tempfile.mkdtemp(prefix="bireme-bench-")
    os.environ["IPYTHONDIR"] = directory
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    cluster = ipyparallel.Cluster(n=2)
    client = cluster.start_and_connect_sync()
    # Before its own way of ending, which waits for nobody: its controller writes files to the last.
    atexit.register(cluster.stop_cluster_sync)
    view = client[:]
    view.execute("import pandas", block=True)
    # The rows of `scatter.rs`.
    ids = numpy.arange(int(rows))
    data = pandas.DataFrame({"id": ids, "key": ids % 1000, "value": ids * 0.5, "share": ids / 7})
    bounds = [len(data) * rank // len(client) for rank in range(len(client) + 1)]

    def scatter():
        # Its own `scatter` divides sequences: of a table it would make lists of columns.
        parts = [data.iloc[start:end] for start, end in zip(bounds, bounds[1:])]
        pushed = [client[rank].push({"data": part}, block=False) for rank, part in enumerate(parts)]
        for one in pushed:
            one.get()
        return sum(len(part) for part in parts)

    def gather():
        return len(pandas.concat(view.pull("data", block=True)))

    ways = {"scatter": scatter, "gather": gather}
    return ipyparallel.__version__, lambda way: ways[way]()


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What a library prints must not be taken for an answer.

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    peer, data = sys.argv[1:]
    opener = globals()[f"open_{peer}"]
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
