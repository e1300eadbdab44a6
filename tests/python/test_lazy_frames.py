"""Lazy frames of Rust cells, through the real kernel: every verb beside DuckDB, names that are hard,
errors told whole, an interrupt while rows are waited for."""

import json
import math
import pathlib
import time

import duckdb
import nbformat
import pytest
from nbclient import NotebookClient

from bireme_kernel import bireme_kernel  # noqa: F401 (fixture)
from jupyter_kernels import install_kernel, jupyter_home  # noqa: F401
from test_interrupt import (  # noqa: F401 (fixtures)
    LONG,
    PROMPT_SECONDS,
    files,
    open_notebook,
    wait_until_freed,
    wait_until_under_way,
)

CELL_SECONDS = 300
ROWS = 2_000

# Rows as JSON, told in the cell: what Rust has, not what is drawn.
TO_JSON = """
fn json(table: &Table) -> String {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
    let mut rows = Vec::new();
    for batch in table.batches() {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|array| {
                if array.is_null(row) { return "null".to_string(); }
                match array.data_type() {
                    DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
                    DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
                    DataType::Float64 => array.as_primitive::<Float64Type>().value(row).to_string(),
                    DataType::Boolean => array.as_boolean().value(row).to_string(),
                    DataType::Utf8 => format!("{:?}", array.as_string::<i32>().value(row)),
                    DataType::Utf8View => format!("{:?}", array.as_string_view().value(row)),
                    other => panic!("{other}"),
                }
            });
            rows.push(format!("[{}]", values.collect::<Vec<_>>().join(",")));
        }
    }
    format!("[{}]", rows.join(","))
}
"""

# A frame in Rust, the same in DuckDB's SQL, and whether the order of rows is part of it.
QUERIES = [
    ('t.select(["k", "n"])', "SELECT k, n FROM t", False),
    ('t.filter(col("n").gt(1990).and(col("name").is_not_null()))', "SELECT * FROM t WHERE n > 1990 AND name IS NOT NULL", False),
    ('t.with_columns([(col("x") * 2.0 - 1).alias("y"), col("k").eq(1).alias("k")])', 'SELECT n, k = 1 AS k, name, x, x * 2 - 1 AS y FROM t', False),
    (
        't.group_by("k").agg([len(), col("n").sum().alias("total"), col("x").mean(), col("name").n_unique().alias("names"), '
        'col("name").min().alias("least"), col("x").std().alias("spread"), col("x").count().alias("known")])',
        "SELECT k, count(*), sum(n), avg(x), count(DISTINCT name), min(name), stddev_samp(x), count(x) FROM t GROUP BY k",
        False,
    ),
    ('t.group_by([(col("n") % 3).alias("m"), col("k")]).agg(col("n").max())', "SELECT n % 3, k, max(n) FROM t GROUP BY 1, 2", False),
    ('t.select([col("n").sum(), len()])', "SELECT sum(n), count(*) FROM t", False),
    ('t.sort([col("k").desc(), col("n")]).limit(20)', "SELECT * FROM t ORDER BY k DESC NULLS LAST, n LIMIT 20", True),
    ('t.sort(col("x").nulls_first()).sort([col("x").nulls_first(), col("n").desc()]).slice(3, 15)', "SELECT * FROM t ORDER BY x NULLS FIRST, n DESC LIMIT 15 OFFSET 3", True),
    ('t.sort(col("n").desc()).select(["n", "name"])', "SELECT n, name FROM t ORDER BY n DESC", True),
    ('t.sort(col("n").desc()).with_column((col("n") + 1).alias("m")).filter(col("m").gt(100)).limit(30)', "SELECT *, n + 1 AS m FROM t WHERE n + 1 > 100 ORDER BY n DESC LIMIT 30", True),
    ('t.select(["k", "name"]).unique()', "SELECT DISTINCT k, name FROM t", False),
    ('t.drop_nulls().drop("x").rename([("n", "number")])', "SELECT n, k, name FROM t WHERE n IS NOT NULL AND k IS NOT NULL AND name IS NOT NULL AND x IS NOT NULL", False),
    ('t.select([col("n"), (col("x") - col("x").mean().over("k")).alias("off")])', "SELECT n, x - avg(x) OVER (PARTITION BY k) FROM t", False),
    (
        't.select([col("n"), rank().over_ordered("k", col("x").desc()).alias("place"), col("n").shift(1).over_ordered("k", "n").alias("before")])',
        "SELECT n, rank() OVER (PARTITION BY k ORDER BY x DESC NULLS LAST), lag(n) OVER (PARTITION BY k ORDER BY n) FROM t",
        False,
    ),
    ('t.filter(col("x").gt(col("x").mean()))', "SELECT * FROM t WHERE x > (SELECT avg(x) FROM t)", False),
    ('t.inner_join(&u, "k")', "SELECT t.*, u.label, u.n AS n_right FROM t JOIN u USING (k)", "columns"),
    ('t.join(&u, "n", "k", JoinType::Left)', "SELECT t.*, u.label, u.n FROM t LEFT JOIN u ON t.n = u.k", False),
    ('t.limit(0).join(&u, "k", "k", JoinType::Full)', "SELECT NULL, k, NULL, NULL, label, n FROM u", False),
    ('u.join(&t.limit(0), "k", "k", JoinType::Right)', "SELECT 1 LIMIT 0", False),
    ('t.join(&u, "n", "k", JoinType::Semi)', "SELECT * FROM t WHERE n IN (SELECT k FROM u)", False),
    ('t.join(&u, "n", "k", JoinType::Anti)', "SELECT * FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.n)", False),
    ('u.cross_join(&u.select(col("label").alias("other")))', "SELECT a.*, b.label FROM u a, u b", False),
    ('t.select(["n", "k"]).union(&u.select(["k", "n"]))', "SELECT n, k FROM t UNION ALL SELECT n, k FROM u", False),
    (
        't.select(when(col("k").eq(0)).then("zero").when(col("k").is_in([1, 2])).then(col("name")).otherwise(lit("more")).alias("word"))',
        "SELECT CASE WHEN k = 0 THEN 'zero' WHEN k IN (1, 2) THEN name ELSE 'more' END FROM t",
        False,
    ),
    (
        't.select([col("n").cast(DataType::Float64).alias("f"), col("name").fill_null("none").upper().alias("upper"), '
        'col("n").between(5, 7).alias("near"), col("x").round(1).alias("round"), -col("n"), (!col("k").eq(1)).alias("not"), '
        'col("name").str_len().cast(DataType::Int64).alias("len"), col("name").starts_with("v1").alias("v1")])',
        "SELECT n::DOUBLE, upper(coalesce(name, 'none')), n BETWEEN 5 AND 7, round(x, 1), -n, NOT k = 1, length(name), starts_with(name, 'v1') FROM t",
        False,
    ),
]


@pytest.fixture
def tables(tmp_path):
    """Two tables in Parquet and DuckDB: with nulls, and with names that are hard."""
    database = duckdb.connect()
    database.execute(
        f"""CREATE TABLE t AS SELECT i::BIGINT AS n, (i % 7)::BIGINT AS k,
        CASE WHEN i % 11 = 0 THEN NULL ELSE 'v' || (i % 50) END AS name,
        CASE WHEN i % 13 = 0 THEN NULL ELSE ((i * 7919) % 1000) / 8.0 END::DOUBLE AS x FROM range({ROWS}) r (i)"""
    )
    database.execute("CREATE TABLE u AS SELECT i::BIGINT AS k, 'l' || i AS label, (i * i)::BIGINT AS n FROM range(5) r (i)")
    database.execute(
        """CREATE TABLE hard AS SELECT i::BIGINT AS "select", 'it''s ' || i AS "a ""b""; --", i % 2 = 0 AS "Größe {{!n}} $x",
        CASE WHEN i = 3 THEN NULL ELSE i END::BIGINT AS "order by" FROM range(6) r (i)"""
    )
    for table in ["t", "u", "hard"]:
        database.execute(f"COPY {table} TO '{tmp_path / table}.parquet' (FORMAT parquet, ROW_GROUP_SIZE 500)")
    return tmp_path, database


def run(cells, kernel, failing=()):
    """Runs cells; those of `failing` may fail."""
    notebook = nbformat.v4.new_notebook()
    for index, cell in enumerate(cells):
        cell = nbformat.v4.new_code_cell(cell)
        if index in failing:
            cell.metadata["tags"] = ["raises-exception"]
        notebook.cells.append(cell)
    NotebookClient(notebook, kernel_name=kernel, timeout=CELL_SECONDS).execute()
    nbformat.validate(notebook)
    return notebook.cells


def printed(cell):
    return "".join(output["text"] for output in cell.outputs if output["output_type"] == "stream" and output["name"] == "stdout")


def result(cell):
    (value,) = [output for output in cell.outputs if output["output_type"] == "execute_result"]
    return value["data"]["text/plain"]


def failure(cell):
    (error,) = [output for output in cell.outputs if output["output_type"] == "error"]
    return "\n".join(error.traceback)


def comparable(rows, is_ordered):
    def value(one):
        return (one is not None, round(one, 6) if isinstance(one, float) and math.isfinite(one) else one)

    rows = [[value(one) for one in row] for row in rows]
    return rows if is_ordered is True else sorted(rows, key=repr)


def numbers_as_floats(rows):
    return [[float(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in row] for row in rows]


def test_every_verb_answers_as_duckdb(bireme_kernel, tables, home):
    directory, database = tables
    # Small tables are to run on all engines too.
    settings = pathlib.Path(home.path) / "config.toml"
    settings.write_text('[query]\ndistribute_above = "0"\n')
    asked = "\n".join(f"println!(\"{{}}\", json(&({frame}).collect()?));" for frame, _, _ in QUERIES)
    cells = run(
        [
            TO_JSON,
            f"let t = scan_parquet({json.dumps(str(directory / 't.parquet'))})?; let u = scan_parquet({json.dumps(str(directory / 'u.parquet'))})?;",
            asked,
        ],
        bireme_kernel,
    )
    answers = printed(cells[2]).splitlines()
    assert len(answers) == len(QUERIES), printed(cells[2])
    for (frame, sql, order), answer in zip(QUERIES, answers):
        wanted = numbers_as_floats(list(map(list, database.execute(sql).fetchall())))
        got = numbers_as_floats(json.loads(answer))
        if order == "columns":
            # USING puts the key first.
            names = [column[0] for column in database.description]
            at = [names.index(name) for name in ["n", "k", "name", "x", "label", "n_right"]]
            wanted = [[row[index] for index in at] for row in wanted]
        assert comparable(got, order) == comparable(wanted, order), frame


def test_hard_names_and_values_come_back(bireme_kernel, tables):
    directory, _ = tables
    cells = run(
        [
            TO_JSON,
            "%param n = 4",
            f"let hard = scan_parquet({json.dumps(str(directory / 'hard.parquet'))})?;\nhard.columns()?",
            'let some = hard.filter(col("a \\"b\\"; --").is_in(["it\'s 1", "it\'s 3", "x\' OR 1=1 --"])).sort("select");\n'
            'println!("{}", json(&some.collect()?));',
            'let words = hard.select([lit("{{!n}} $n \'\\"\\\\").alias("word"), col("Größe {{!n}} $x")]).unique().sort(col("Größe {{!n}} $x"));\n'
            'println!("{}", json(&words.collect()?));',
            'println!("{}", json(&hard.group_by("order by").agg(len()).sort("order by").collect()?));',
            'println!("{}", json(&sql("SELECT $n + 1 AS n -- the end")?.with_column(col("n").alias("$n")).collect()?));',
            'sql("CREATE VIEW \\"my view\\" AS SELECT 1 AS a; SELECT 2 AS b")?; frame("my view")?.columns()?',
        ],
        bireme_kernel,
    )
    assert result(cells[2]) == r'["select", "a \"b\"; --", "Größe {{!n}} $x", "order by"]'
    assert json.loads(printed(cells[3])) == [[1, "it's 1", False, 1], [3, "it's 3", False, None]]
    assert json.loads(printed(cells[4])) == [["{{!n}} $n '\"\\", False], ["{{!n}} $n '\"\\", True]]
    assert json.loads(printed(cells[5])) == [[0, 1], [1, 1], [2, 1], [4, 1], [5, 1], [None, 1]]
    assert json.loads(printed(cells[6])) == [[5, 5]]
    assert result(cells[7]) == '["a"]'


def test_a_frame_shows_itself_where_it_stands(bireme_kernel):
    cells = run(
        [
            'let t = sql("SELECT n FROM generate_series(1, 100000) AS g (n)")?;\nt',
            'println!("before"); t.filter(col("n").lt(3)).show()?; println!("behind");',
            "t.explain()?",
            "t.limit(3).collect()?",
        ],
        bireme_kernel,
    )
    (shown,) = [output for output in cells[0].outputs if output["output_type"] == "execute_result"]
    assert "(100_000, 1)" in shown["data"]["text/plain"] and "<table" in shown["data"]["text/html"]
    texts = [output.get("text") or output["data"]["text/plain"] for output in cells[1].outputs]
    # A line of progress may come before.
    before, rows, behind = texts[-3:]
    assert (before, behind) == ("before\n", "behind\n") and "(2, 1)" in rows, texts
    assert result(cells[2]).startswith("plan: "), result(cells[2])
    assert "(3, 1)" in result(cells[3])


def test_a_frame_is_kept_on_the_engines(bireme_kernel):
    cells = run(
        [
            r'let t = sql(r#"SELECT n, n % 3 AS "k ""k" FROM generate_series(1, 9000) AS g (n)"#)?;',
            r't.group_by("k \"k").agg(len()).sort("k \"k").persist("my \"frame")?',
            r'frame("my \"frame")?.collect()?.num_rows()',
        ],
        bireme_kernel,
        failing=[1, 2],
    )
    errors = [output for output in cells[1].outputs if output["output_type"] == "error"]
    assert not errors and "3000" in result(cells[1]), errors
    assert result(cells[2]) == "3"


def test_errors_are_told_whole_and_cost_nothing(bireme_kernel):
    cells = run(
        [
            'let t = sql("SELECT n FROM generate_series(1, 1000000) AS g (n)")?; let kept = 7_usize;',
            'sql("SELECT *\\nFROM nowhere")?;',
            't.filter(col("m").gt(1)).collect()?;',
            't.select((lit(1) / (col("n") - 1)).alias("x")).collect()?;',
            't.select("m")',
            "%config rust.bind_limit 1MB",
            "t.collect()?;",
            'frame("nowhere")?',
            'sql("SELECT {{kept}}")?;',
            't.select(function("no_such_function", [col("n")])).collect()?',
            "t.limit(5).collect()?.num_rows() + kept",
        ],
        bireme_kernel,
        failing=[1, 2, 3, 4, 6, 7, 8, 9],
    )
    unplanned = failure(cells[1])
    assert "SqlPlanError" in unplanned and "sql:2:6" in unplanned and "help:" in unplanned, unplanned
    assert 'filter: there is no column "m"; there are n' in failure(cells[2])
    assert "Divide by zero" in failure(cells[3]), failure(cells[3])
    assert 'select: there is no column "m"' in failure(cells[4])
    assert "rust.bind_limit is 976.6 KiB" in failure(cells[6]) and "help:" in failure(cells[6]), failure(cells[6])
    assert "nowhere" in failure(cells[7])
    assert "format!" in failure(cells[8]), failure(cells[8])
    assert "no_such_function" in failure(cells[9]), failure(cells[9])
    assert result(cells[10]) == "12"


def test_an_interrupt_ends_the_query_and_the_cell(open_notebook, home, files):  # noqa: F811
    notebook = open_notebook("lazy")
    long = LONG.format(files=files)
    notebook.answer(f'let long = sql(r#"{long}"#)?; let kept = 7_usize;')
    request = notebook.start("long.collect()?.num_rows()")
    pids = wait_until_under_way(home)
    # Other questions are answered while the cell waits.
    asked = notebook.client.complete("long.coll", reply=True, timeout=30)
    assert asked["content"]["status"] == "ok", asked

    interrupted = time.monotonic()
    notebook.interrupt()
    content = notebook.reply(request, CELL_SECONDS)
    took = time.monotonic() - interrupted

    assert content["status"] == "error" and content["ename"] == "Cancelled", content
    assert took < PROMPT_SECONDS, f"the prompt was back after {took:.2f} s"
    wait_until_freed(home, interrupted, pids)
    assert notebook.answer("kept + long.columns()?.len()").endswith("10")
