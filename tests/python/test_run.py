"""`bireme run`: notebooks without a front end, written as valid nbformat."""

import subprocess
import sys

import nbformat

FAILING = ["%%sql\nSELECT 1 AS one", "%%sql\nSELECT nothing FROM nowhere", "%%sql\nSELECT 3 AS three"]


def write(directory, cells, **metadata):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    for index, tags in metadata.items():
        notebook.cells[int(index[1:])].metadata.tags = tags
    path = directory / "notebook.ipynb"
    nbformat.write(notebook, path)
    return path


def run(home, path, *arguments):
    """Runs a notebook; returns how `bireme run` ended and the cells it wrote."""
    out = path.with_suffix(".out.ipynb")
    done = home.bireme("run", path, "-o", out, *arguments, check=False)
    written = nbformat.read(out, as_version=4)
    nbformat.validate(written)
    return done, written.cells


def shown(cell):
    return "".join(output.get("data", {}).get("text/plain", "") for output in cell.outputs)


def test_a_failing_cell_ends_the_run(home, tmp_path):
    done, cells = run(home, write(tmp_path, FAILING))
    assert done.returncode == 1, done
    said = done.stderr.decode()
    assert "cell 2" in said and "nowhere" in said, said
    (error,) = [output for output in cells[1].outputs if output.output_type == "error"]
    assert error.ename == "SqlPlanError"
    assert any("^" in line for line in error.traceback), error.traceback
    assert "one" in shown(cells[0])
    assert cells[2].outputs == [] and cells[2].execution_count is None


def test_keep_going_runs_the_rest_and_fails(home, tmp_path):
    done, cells = run(home, write(tmp_path, FAILING), "--keep-going")
    assert done.returncode == 1, done
    assert "three" in shown(cells[2])


def test_a_cell_that_may_fail_does_not_end_the_run(home, tmp_path):
    done, cells = run(home, write(tmp_path, FAILING, _1=["raises-exception"]))
    assert done.returncode == 0, done.stderr.decode()
    assert "three" in shown(cells[2])


def test_parameters_replace_those_of_the_notebook(home, tmp_path):
    cells = ["%param year = 2020\n%param port = 'Rotterdam'", "%%sql\nSELECT $year + 1 AS next, $port AS port"]
    done, cells = run(home, write(tmp_path, cells, _0=["parameters"]), "-p", "year=2024")
    assert done.returncode == 0, done.stderr.decode()
    assert "2025" in shown(cells[-1]) and "Rotterdam" in shown(cells[-1]), shown(cells[-1])


def test_a_file_that_is_no_notebook_is_refused(home, tmp_path):
    path = tmp_path / "broken.ipynb"
    path.write_text('{"cells": [')
    done = home.bireme("run", path, check=False)
    assert done.returncode != 0 and "broken.ipynb" in done.stderr.decode(), done

def test_what_ran_becomes_a_page_with_its_tables(home, tmp_path):
    path = write(tmp_path, ["%%sql\nSELECT 41 + 1 AS answer"])
    run(home, path)
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--stdout", path.with_suffix(".out.ipynb")]
    page = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "<table" in page and "answer" in page and "42</td>" in page
