"""nbclient runs notebooks with the kernel: outputs, stopping at a failure, views over a restart."""

import nbclient
import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient.exceptions import CellExecutionError

from bireme_kernel import bireme_kernel  # noqa: F401 (fixture)
from jupyter_kernels import install_kernel, jupyter_home  # noqa: F401

CELL_SECONDS = 300


def run(cells, kernel, **options):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(notebook, kernel_name=kernel, timeout=CELL_SECONDS, **options)
    try:
        client.execute()
    finally:
        nbformat.validate(notebook)
    return notebook.cells


def plain(cell):
    return "\n".join(
        output["data"]["text/plain"]
        for output in cell.outputs
        if output["output_type"] in ("display_data", "execute_result")
    )


def test_sql_cells_give_tables_and_views_last(bireme_kernel):
    cells = run(
        [
            "%param most = 3",
            "%%sql numbers --lazy\nSELECT n FROM (VALUES (1), (2), (3), (4)) AS t (n) WHERE n <= $most",
            "%%sql\nSELECT sum(n) AS total FROM numbers",
        ],
        bireme_kernel,
    )
    assert "total" in plain(cells[2]) and "6" in plain(cells[2]), plain(cells[2])
    assert [cell.execution_count for cell in cells] == [1, 2, 3]


def test_rust_values_are_bound_in_sql(bireme_kernel):
    cells = run(
        [
            "let counts = vec![3_u64, 4]; let name = String::from(\"it's \\\"x\\\"\\n\"); let none: Option<f32> = None;",
            "%%sql\nSELECT {{ counts.iter().sum::<u64>() * 2 }} AS twice, {{name}} AS name, {{none}} IS NULL AS nothing",
            "counts.len()",
        ],
        bireme_kernel,
    )
    shown = plain(cells[1])
    assert "14" in shown and "it's \"x\"" in shown and "true" in shown, shown
    # Above it stands how long the cell compiled, where that took long.
    assert plain(cells[2]).splitlines()[-1] == "2", plain(cells[2])


def test_rows_become_a_rust_variable(bireme_kernel):
    cells = run(
        [
            "let before = 7;",
            "%%sql --to rows\nSELECT n, 'v' || n AS name FROM generate_series(1, 1000) AS t (n) ORDER BY n",
            "use arrow_array::cast::AsArray;\n"
            "use arrow_array::types::Int64Type;\n"
            "let total: i64 = rows.batches().iter()"
            ".flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).sum();\n"
            "format!(\"{before} {} {total}\", rows.num_rows())",
            "rows.tail(1)",
        ],
        bireme_kernel,
    )
    assert "rows: Table, 1_000 rows × 2 columns" in plain(cells[1]), plain(cells[1])
    assert '"7 1000 500500"' in plain(cells[2]), cells[2].outputs
    assert "v1000" in plain(cells[3]), plain(cells[3])


def test_variables_are_scattered_and_frames_gathered(bireme_kernel):
    cells = run(
        [
            'let speeds = vec![1.5, 2.5, 3.5]; let names = vec!["a".to_string(), "b".to_string()];',
            "%scatter speeds --as knots\n%scatter names",
            "%%sql\nSELECT sum(value) AS knots, (SELECT max(value) FROM names) AS name FROM knots",
            "%%sql f --persist --by g\nSELECT value AS k, value % 7 AS g FROM generate_series(1, 1000)",
            "%gather f --to rows",
            "(rows.num_rows(), rows.schema().field(1).name().clone())",
            "%frames",
            "%drop f\n%drop knots\n%drop names\n%frames",
        ],
        bireme_kernel,
    )
    assert "frame knots: 3 rows × 1 column" in plain(cells[1])
    assert "7.5" in plain(cells[2]) and "b" in plain(cells[2])
    assert "frame f: 1_000 rows × 2 columns" in plain(cells[3])
    assert "rows: Table, 1_000 rows × 2 columns" in plain(cells[4])
    assert '(1000, "g")' in plain(cells[5])
    assert "by g" in plain(cells[6]) and "names" in plain(cells[6])
    assert "no frames" in plain(cells[7])


def test_what_cannot_be_scattered_or_gathered_says_so(bireme_kernel):
    def fails(cell):
        with pytest.raises(CellExecutionError) as failed:
            run(["let thing = std::time::Instant::now();", "%config rust.bind_limit 1MB", BIG, cell], bireme_kernel)
        return str(failed.value)

    assert "thing" in fails("%scatter thing --as f")
    assert "rust.bind_limit" in fails("%gather big --to rows")


BIG = "%%sql big --persist\nSELECT value, repeat('wide', 20) AS s FROM generate_series(1, 100000)"


def test_memory_and_time_of_a_cell_are_limited_and_cost_no_variable(bireme_kernel):
    def fails(cell):
        cell = nbformat.v4.new_code_cell(cell)
        cell.metadata["tags"] = ["raises-exception"]
        return cell

    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("%config rust.memory_limit 500MB\n%config rust.timeout 2s"),
            nbformat.v4.new_code_cell("let kept = vec![1u8; 10_000_000];"),
            fails("let large = vec![1u8; 2_000_000_000]; large.len()"),
            fails("loop { std::hint::spin_loop(); }"),
            nbformat.v4.new_code_cell("kept.len()"),
        ]
    )
    nbclient.NotebookClient(notebook, kernel_name=bireme_kernel, timeout=CELL_SECONDS).execute()
    _, _, large, loop, kept = notebook.cells
    error = large.outputs[-1]
    assert error.ename == "Crashed" and "rust.memory_limit" in "\n".join(error.traceback), large.outputs
    assert loop.outputs[-1].ename == "TimedOut", loop.outputs
    assert "10000000" in plain(kept)


READ_LINE = 'let mut name = String::new();\nprint!("name? ");\nstd::io::stdin().read_line(&mut name)?;\nname.trim()'


def test_a_cell_that_reads_fails_where_nobody_can_answer(bireme_kernel):
    with pytest.raises(CellExecutionError) as raised:
        run([READ_LINE], bireme_kernel)
    assert raised.value.ename == "InputError", raised.value.traceback
    assert "allow_stdin is false" in raised.value.evalue


ASK_WITH_EVCXR_INPUT = ':dep evcxr_input\nevcxr_input::get_password("key? ")'


@pytest.mark.parametrize(
    ("code", "prompt", "printed"),
    [
        (READ_LINE, {"prompt": "", "password": False}, ["name? "]),
        (ASK_WITH_EVCXR_INPUT, {"prompt": "key? ", "password": True}, []),
    ],
)
def test_a_cell_reads_what_the_user_types(bireme_kernel, code, prompt, printed):
    manager, client = start_new_kernel(kernel_name=bireme_kernel)
    try:
        asked = []

        def answer(message):
            asked.append(message["content"])
            client.input("Ada Lovelace")

        outputs = []
        reply = client.execute_interactive(
            code,
            allow_stdin=True,
            stdin_hook=answer,
            output_hook=lambda message: outputs.append(message["content"]),
            timeout=CELL_SECONDS,
        )
        assert reply["content"]["status"] == "ok", reply["content"]
        assert asked == [prompt]
        stdout = [output["text"] for output in outputs if output.get("name") == "stdout"]
        assert stdout == printed, outputs
        values = [output["data"]["text/plain"] for output in outputs if "execution_count" in output and "data" in output]
        assert values == ['"Ada Lovelace"']
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_without_a_toolchain_sql_works_and_rust_says_what_to_install(bireme_kernel, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    cells = ["%%sql\nSELECT 42 AS answer", "1 + 1"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(notebook, kernel_name=bireme_kernel, timeout=CELL_SECONDS)
    with pytest.raises(CellExecutionError) as raised:
        client.execute()
    assert "42" in plain(notebook.cells[0])
    assert "https://rustup.rs" in raised.value.traceback, raised.value.traceback


def test_what_sql_cannot_hold_fails_at_the_expression(bireme_kernel):
    cells = ["let list = vec![1];", "%%sql\nSELECT {{list}} AS list"]
    with pytest.raises(CellExecutionError) as raised:
        run(cells, bireme_kernel)
    assert "a value of type `Vec<i32>` cannot be bound in SQL" in raised.value.traceback, raised.value.traceback
    assert "^" in raised.value.traceback


def test_a_failing_cell_stops_the_notebook(bireme_kernel):
    cells = ["%%sql\nSELECT 1 AS one", "%%sql\nSELECT * FROM nowhere", "%%sql\nSELECT 2 AS two"]
    with pytest.raises(CellExecutionError) as raised:
        run(cells, bireme_kernel)
    assert raised.value.ename == "SqlPlanError"
    assert "nowhere" in raised.value.evalue


def test_views_outlive_the_kernel(bireme_kernel, monkeypatch):
    monkeypatch.setenv("BIREME_SESSION", "kept")
    run(["%%sql numbers --lazy\nSELECT 7 AS n"], bireme_kernel)
    cells = run(["%%sql\nSELECT n FROM numbers"], bireme_kernel)
    assert "7" in plain(cells[0])


@pytest.mark.parametrize(
    ("cell", "ename", "says"),
    [
        ('let answer: i64 = 42;\npanic!("enough of {answer}")', "Panic", "enough of 42"),
        ('let port: u16 = "eighty".parse::<u16>()?;', "Error", "invalid digit"),
        ("let port: u16 = 70000;", "CompileError", "literal out of range"),
    ],
)
def test_a_failing_rust_cell_stops_the_notebook(bireme_kernel, cell, ename, says):
    cells = [nbformat.v4.new_code_cell(one) for one in (cell, "%%sql\nSELECT 2 AS two")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(notebook, kernel_name=bireme_kernel, timeout=CELL_SECONDS)
    with pytest.raises(CellExecutionError) as raised:
        client.execute()
    # A line about what was waited for may come before; nothing goes to standard error as well.
    kinds = [output.output_type for output in notebook.cells[0].outputs]
    assert kinds.count("error") == 1 and "stream" not in kinds, notebook.cells[0].outputs
    assert not notebook.cells[1].outputs
    assert raised.value.ename == ename, raised.value
    assert says in f"{raised.value.evalue}\n{raised.value.traceback}", raised.value

def test_a_cell_saves_one_line_of_progress_whatever_it_does(bireme_kernel):
    query = "SELECT sum(value) AS s FROM range(30000000)"
    rust = f'for _ in 0..3 {{ sql("{query}")?.collect()?; }}'
    cells = run(
        ["%config progress.after 1ms", f"%sql {query}\n%sql {query}", f"%%sql\n{query};\n{query}", rust],
        bireme_kernel,
    )
    for cell in cells[1:]:
        shown = [output["data"]["text/plain"] for output in cell.outputs if output["output_type"] == "display_data"]
        lines = [text for text in shown if text.startswith("1 row in ")]
        assert len(lines) == 1 and not any("[#" in text or "[·" in text for text in shown), shown


def test_cells_can_tell_that_they_run_in_a_notebook(bireme_kernel):
    # As the guide says.
    cells = run(['std::env::var_os("BIREME_HOME").is_some()'], bireme_kernel)
    assert plain(cells[0]).endswith("true"), plain(cells[0])
