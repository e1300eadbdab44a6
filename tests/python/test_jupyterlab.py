"""JupyterLab with the real kernel: open, run all, see the table, complete, interrupt, restart."""

import contextlib
import pathlib
import shutil
import time

import nbformat
import pytest
from bireme_kernel import bireme_kernel  # noqa: F401 (fixture)
from conftest import processes_of
from jupyter_kernels import REPOSITORY, install_kernel, jupyter_home  # noqa: F401
from lab import lab  # noqa: F401
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser

CELL_SECONDS = 60
# The first Rust cell compiles the `bireme` crate once per home.
NOTEBOOK_SECONDS = 300
ROWS = 200_000
# From the click to the prompt: half a second is promised, the rest is the browser's.
INTERRUPT_SECONDS = 2

# Hours of work in every engine, without a file.
ENDLESS = "%%sql\nSELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.value * b.value % 7 = 8"


def write(directory, kernel, cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {"name": kernel, "display_name": kernel, "language": "rust"}
    nbformat.write(notebook, directory / "notebook.ipynb")
    return "notebook.ipynb"


def test_the_first_notebook_runs_as_a_whole(lab, bireme_kernel, home, tmp_path):
    home.bireme("datagen", "ais", "--rows", ROWS, "--out", tmp_path / "data" / "ais")
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / "first.ipynb"
    shutil.copy(REPOSITORY / "notebooks" / "01-first-query.ipynb", path)
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.kernelspec.name = bireme_kernel
    nbformat.write(notebook, path)

    lab.open("notebooks/first.ipynb")
    lab.menu("Run", "Run All Cells")
    last = len(lab.cells()) - 1
    lab.wait_until_ran(last, NOTEBOOK_SECONDS)

    errors = lab.all(".jp-Notebook .jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']")
    assert not errors, errors[0].text
    counted = next(i for i, cell in enumerate(lab.cells()) if "count(*) AS reports, count(DISTINCT" in cell.text)
    assert f"{ROWS:,}" in lab.output(counted).replace("_", ","), lab.output(counted)
    tables = lab.all(".jp-Notebook .jp-OutputArea-output table")
    assert len(tables) >= 4, f"{len(tables)} tables"
    assert all(table.is_displayed() for table in tables)
    assert lab.output(last).startswith("plan:") and "HashJoinExec" in lab.output(last), lab.output(last)


def test_interrupt_gives_the_prompt_back(lab, bireme_kernel, tmp_path):
    lab.open(write(tmp_path, bireme_kernel, ["%%sql\nSELECT 1 AS one", ENDLESS, "%%sql\nSELECT 2 AS two"]))
    lab.run_cell(0)
    lab.wait_until_ran(0, CELL_SECONDS)
    lab.run_cell(1)
    # The progress line: the query runs on the engines.
    lab.wait(CELL_SECONDS, "progress line", lambda: lab.output(1))
    assert lab.prompt(1) == "[*]:"
    lab.menu("Kernel", "Interrupt Kernel")
    clicked = time.monotonic()
    shown = lab.wait_until_ran(1, CELL_SECONDS)
    assert time.monotonic() - clicked < INTERRUPT_SECONDS
    assert "interrupt" in shown.lower(), shown
    lab.run_cell(2)
    assert "two" in lab.wait_until_ran(2, CELL_SECONDS)


def kernels(home):
    """Ids of the kernel processes that run."""
    commands = {pid: pathlib.Path(f"/proc/{pid}/cmdline") for pid in processes_of(home.path)}
    return {pid for pid, command in commands.items() if b"\0kernel\0" in command.read_bytes()}


def test_restart_keeps_views_and_drops_variables(lab, bireme_kernel, home, tmp_path):
    cells = ["%%sql kept --lazy\nSELECT 41 + 1 AS answer", "let gone = 7;", "%%sql\nSELECT answer FROM kept", "gone"]
    lab.open(write(tmp_path, bireme_kernel, cells))
    for index in range(2):
        lab.run_cell(index)
        lab.wait_until_ran(index, NOTEBOOK_SECONDS)
    before = kernels(home)
    lab.menu("Kernel", "Restart Kernel…")
    lab.confirm()
    lab.wait(CELL_SECONDS, "new kernel process", lambda: kernels(home) - before)
    lab.wait(CELL_SECONDS, "idle kernel", lambda: lab.status() == "Idle")
    lab.run_cell(2)
    assert "42" in lab.wait_until_ran(2, CELL_SECONDS)
    lab.run_cell(3)
    assert "gone" in lab.wait_until_ran(3, NOTEBOOK_SECONDS)
    assert lab.cells()[3].find_elements("css selector", "[data-mime-type='application/vnd.jupyter.stderr']")


def test_tab_completes_a_column(lab, bireme_kernel, tmp_path):
    cells = ["%%sql ships --lazy\nSELECT 1 AS draught, 2 AS length", "%%sql\nSELECT length FROM ships WHERE dra"]
    lab.open(write(tmp_path, bireme_kernel, cells))
    lab.run_cell(0)
    lab.wait_until_ran(0, CELL_SECONDS)
    lab.type(1, Keys.TAB)

    def chosen():
        return "draught" in lab.cells()[1].text

    def offered():
        return any("draught" in item.text for item in lab.all(".jp-Completer-item"))

    # A single match is taken at once, or offered when the editor was not at rest.
    lab.wait(CELL_SECONDS, "completion", lambda: chosen() or offered())
    if not chosen():
        lab.keys(Keys.ENTER)
    lab.wait(CELL_SECONDS, "the column in the cell", chosen)


def test_a_cell_asks_and_rust_completes_meanwhile(lab, bireme_kernel, tmp_path):
    reads = 'let mut name = String::new();\nprint!("your name? ");\nstd::io::stdin().read_line(&mut name)?;\nname.trim()'
    cells = ["let vessels = vec![1, 2, 3];", reads, "vessels.is_emp"]
    lab.open(write(tmp_path, bireme_kernel, cells))
    lab.run_cell(0)
    lab.wait_until_ran(0, NOTEBOOK_SECONDS)
    lab.run_cell(1)
    answer = lab.wait(CELL_SECONDS, "input field", lambda: lab.all(".jp-Notebook .jp-Stdin-input"))[0]
    assert "your name?" in lab.output(1)

    def completed():
        return "vessels.is_empty" in lab.cells()[2].text

    def offered():
        return any("is_empty" in item.text for item in lab.all(".jp-Completer-item"))

    # What completes beside a running cell starts at the first question, which is answered with nothing.
    begun = time.monotonic()
    while not completed() and time.monotonic() - begun < CELL_SECONDS:
        lab.type(2, Keys.TAB)
        with contextlib.suppress(TimeoutException):
            lab.wait(3, "completion of a variable", lambda: completed() or offered())
            if not completed():
                lab.keys(Keys.ENTER)
    assert completed(), lab.cells()[2].text
    assert lab.prompt(1) == "[*]:"
    lab.screenshot(tmp_path / "asks.png")
    lab.click_element(answer)
    lab.keys("Grace")
    lab.keys(Keys.ENTER)
    assert '"Grace"' in lab.wait_until_ran(1, CELL_SECONDS)
    lab.screenshot(tmp_path / "answered.png")


def test_frames_and_memory_are_tables_that_survive_sanitising(lab, bireme_kernel, tmp_path):
    make = "%%sql f --persist --by g\nSELECT value AS k, value % 97 AS g, 'a text ' || value AS s FROM range(200000)"
    joined = "%%sql\nSELECT a.g, count(*) AS n FROM f a JOIN f b ON a.g = b.g AND a.k = b.k GROUP BY a.g ORDER BY g LIMIT 5"
    cells = [make, "%frames", "%memory", "%stats", joined, "f?"]
    lab.open(write(tmp_path, bireme_kernel, cells))
    lab.menu("Run", "Run All Cells")
    lab.wait_until_ran(len(cells) - 1, CELL_SECONDS)
    assert "frame f: 200_000 rows" in lab.output(0)
    for index, words in [(1, "by g"), (2, "frame f"), (3, "alloc-host-bytes"), (4, "2062")]:
        assert words in lab.output(index), lab.output(index)
        table = lab.cells()[index].find_elements("css selector", ".jp-OutputArea-output table")
        assert table and table[0].is_displayed()
    lab.screenshot(tmp_path / "frames.png")


def test_outputs_of_a_notebook_from_elsewhere_keep_their_looks(lab, bireme_kernel, home, tmp_path):
    """JupyterLab sanitises what it has not seen running: no scripts, no styles but those it knows."""
    cells = [
        "%%sql\nSELECT value AS n, CASE WHEN value > 1 THEN 'a <b> text' END AS s FROM range(3) ORDER BY n",
        "%%sql f --persist --by g\nSELECT value AS k, value % 7 AS g FROM range(1000)",
        "%explain --analyze SELECT g, count(*) FROM f GROUP BY g",
        "%memory",
        'Table::new([Column::new("n", vec![1, 2])])?',
        'Shown::new().with("text/plain", "plain").with("text/markdown", "*mark*").with("text/html", "<i>rich</i>").send();',
        'Shown::new().with("text/plain", "bar").with("text/html", "<progress value=\\"5\\" max=\\"9\\"></progress>").send();',
    ]
    path = write(tmp_path, bireme_kernel, cells)
    home.bireme("run", tmp_path / path, "-o", tmp_path / "executed.ipynb")
    executed = nbformat.read(tmp_path / "executed.ipynb", as_version=4)
    wanted = [html_of(cell) for cell in executed.cells]

    lab.open("executed.ipynb")
    lab.wait(CELL_SECONDS, "outputs", lambda: len(lab.all(".jp-Notebook .jp-OutputArea-output")) >= len(cells))
    lab.screenshot(tmp_path / "untrusted.png")
    for index, html in enumerate(wanted):
        cell = lab.cells()[index]
        for tag in ("table", "th", "td", "details", "summary", "small", "meter", "progress"):
            found = cell.find_elements("css selector", f".jp-RenderedHTML {tag}")
            assert len(found) == html.count(f"<{tag}>") + html.count(f"<{tag} "), (index, tag)
    number = lab.cells()[0].find_elements("css selector", ".jp-RenderedHTML td")[0]
    assert number.value_of_css_property("text-align") == "right"
    assert "a <b> text" in lab.output(0) and "null" in lab.output(0)
    # Of several representations the richest is shown.
    assert lab.output(5) == "rich"
    assert lab.cells()[5].find_elements("css selector", "[data-mime-type='text/html'] i")


def html_of(cell):
    outputs = [output for output in cell.outputs if "data" in output]
    return "".join(output["data"].get("text/html", "") for output in outputs)
