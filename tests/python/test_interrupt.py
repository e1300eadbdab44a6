"""A query of a cell ends when its user is done with it: by interrupt, %cancel, --timeout, or the
kernel's death. The prompt is back at once and nothing of the query stays on any engine."""

import contextlib
import json
import os
import pathlib
import re
import signal
import threading
import time

import pytest
from bireme_kernel import bireme_kernel  # noqa: F401 (fixture)
from conftest import processes_of
from jupyter_client import KernelManager
from jupyter_kernels import install_kernel, jupyter_home  # noqa: F401

START_SECONDS = 60
CELL_SECONDS = 120
# What is promised, and what a busy machine may add to it.
PROMPT_SECONDS = 0.5 + 0.2
FREED_SECONDS = 2
ROWS = 300_000

# Every pair of reports of vessels of one type: minutes of work on every engine.
LONG = """
SELECT a."VesselType", count(*) AS pairs, sum(abs(a."SOG" - b."SOG")) AS apart
FROM '{files}' AS a JOIN '{files}' AS b ON a."VesselType" = b."VesselType"
GROUP BY a."VesselType"
"""


@pytest.fixture
def files(home, tmp_path):
    """Parquet files whose queries run on every engine, however small the files are."""
    settings = pathlib.Path(home.path) / "config.toml"
    settings.write_text('[query]\ndistribute_above = "0"\n')
    home.bireme("datagen", "ais", "--rows", ROWS, "--out", tmp_path / "ais")
    return tmp_path / "ais" / "*.parquet"


class Notebook:
    """A running kernel and its front end."""

    def __init__(self, kernel, session):
        self.manager = KernelManager(kernel_name=kernel)
        self.manager.start_kernel(env=os.environ | {"BIREME_SESSION": session})
        self.client = self.manager.client()
        self.client.start_channels()

    def run(self, code):
        """Runs a cell to its end. Returns the reply's content and the plain text of its outputs."""
        shown = []

        def keep(message):
            if message["msg_type"] in ("display_data", "execute_result"):
                shown.append(message["content"]["data"]["text/plain"])

        reply = self.client.execute_interactive(code, timeout=CELL_SECONDS, output_hook=keep)
        return reply["content"], "\n".join(shown)

    def answer(self, code):
        """Runs a cell that must succeed and returns the plain text of its outputs."""
        content, shown = self.run(code)
        # Whole, where pytest would cut a dictionary short.
        assert content["status"] == "ok", json.dumps(content, indent=1)
        return shown

    def start(self, code):
        """Starts a cell and returns its request's id."""
        return self.client.execute(code)

    def reply(self, request, seconds):
        """Waits for the reply to a request and returns its content."""
        deadline = time.monotonic() + seconds
        while True:
            left = max(0, deadline - time.monotonic())
            message = self.client.get_shell_msg(timeout=left)
            if message["parent_header"].get("msg_id") == request:
                return message["content"]

    def interrupt(self):
        """Asks the kernel to interrupt, and does not wait for its answer."""
        message = self.client.session.msg("interrupt_request", content={})
        self.client.control_channel.send(message)

    def kill(self):
        """Kills the kernel: it can do nothing more."""
        os.kill(self.manager.provisioner.pid, signal.SIGKILL)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def open_notebook(bireme_kernel):
    """Starts kernels; they end with the test, before its cluster does."""
    with contextlib.ExitStack() as stack:

        def start(session):
            notebook = Notebook(bireme_kernel, session)
            stack.callback(notebook.close)
            notebook.client.wait_for_ready(timeout=START_SECONDS)
            return notebook

        yield start


def engines(home):
    """What `bireme cluster status` says of each engine, by the names of its columns."""
    rows = []
    for line in home.bireme("cluster", "status").stdout.decode().splitlines():
        if line.startswith("│"):
            rows.append([value.strip() for value in line.strip("│").split("┆")])
    return [dict(zip(rows[0], row)) for row in rows[1:]]


def wait_until(what, seconds, condition):
    """Waits for a condition and returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.2f} s for {what}"
        time.sleep(0.01)
    return value


def wait_until_under_way(home):
    """Waits until one query runs on every engine and holds memory. Returns the engines' ids."""

    def pids():
        now = engines(home)
        is_on_all = all(engine["queries"] == "1" for engine in now)
        holds_memory = any(engine["reserved"] != "0 B" for engine in now)
        return is_on_all and holds_memory and [engine["pid"] for engine in now]

    return wait_until("the query to run on the engines", CELL_SECONDS, pids)


def wait_until_freed(home, ended, pids):
    """Waits until nothing is left on the engines of a query that ended at `ended`."""

    def is_free():
        nothing = ("0", "0 B", "0 B")
        return all(
            (engine["queries"], engine["reserved"], engine["spilled"]) == nothing
            for engine in engines(home)
        )

    left = FREED_SECONDS - (time.monotonic() - ended)
    wait_until("the query's memory and files to be freed", left, is_free)
    spilled = [path for path in pathlib.Path(home.path, "spill").rglob("*") if path.is_file()]
    assert not spilled
    assert [engine["pid"] for engine in engines(home)] == pids, "an engine was restarted"


def long_cell(files, flags=""):
    return f"%%sql {flags}".rstrip() + LONG.format(files=files)


def printed(notebook, code):
    """Runs a cell that must succeed and returns what it printed."""
    texts = []

    def keep(message):
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            texts.append(message["content"]["text"])

    reply = notebook.client.execute_interactive(code, timeout=CELL_SECONDS, output_hook=keep)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(texts)


def test_an_interrupt_gives_the_prompt_back(open_notebook, home, files):
    notebook = open_notebook("interrupted")
    notebook.answer("%%sql\nSELECT 1 AS one")
    request = notebook.start(long_cell(files))
    pids = wait_until_under_way(home)

    asked = time.monotonic()
    notebook.interrupt()
    content = notebook.reply(request, CELL_SECONDS)
    took = time.monotonic() - asked

    assert content["status"] == "error", content
    assert "interrupt" in content["evalue"].lower(), content
    assert took < PROMPT_SECONDS, f"the prompt was back after {took:.2f} s"
    wait_until_freed(home, asked, pids)
    assert "2" in notebook.answer("%%sql\nSELECT 1 + 1 AS two")


def test_a_query_is_cancelled_from_another_notebook(open_notebook, home, files):
    notebook, other = open_notebook("cancelled"), open_notebook("cancelling")
    notebook.answer("%%sql\nSELECT 1 AS one")
    request = notebook.start(long_cell(files))
    pids = wait_until_under_way(home)
    jobs = other.answer("%jobs")
    query = re.search(r"│ ([0-9a-f]{8}) ┆ running", jobs)
    assert query, jobs

    asked = time.monotonic()
    shown = other.answer(f"%cancel {query[1]}")
    content = notebook.reply(request, CELL_SECONDS)
    took = time.monotonic() - asked

    assert f"query {query[1]} is cancelled" in shown
    assert content["status"] == "error", content
    assert "cancel" in content["evalue"].lower(), content
    assert took < PROMPT_SECONDS, f"the prompt was back after {took:.2f} s"
    wait_until_freed(home, asked, pids)
    assert "nothing runs" in other.answer("%jobs")
    assert "had ended already" in other.answer(f"%cancel {query[1]}")


def controller(home):
    """The id of the controller's process."""
    commands = {pid: pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in processes_of(home.path)}
    return next(pid for pid, command in commands.items() if b"controller" in command[:2])


def test_a_query_is_followed_from_another_notebook_though_the_controller_ends(open_notebook, home, files):
    notebook, other = open_notebook("asking"), open_notebook("following")
    notebook.answer("%%sql\nSELECT 1 AS one")
    few = LONG.replace("FROM '{files}' AS a", "FROM (SELECT * FROM '{files}' LIMIT 8000) AS a")
    request = notebook.start("%%sql" + few.format(files=files))
    jobs = wait_until("the query to run", CELL_SECONDS, lambda: re.search(r"│ ([0-9a-f]{8}) ┆ running", other.answer("%jobs")))
    before = controller(home)
    ending = threading.Timer(0.3, os.kill, (before, signal.SIGKILL))
    ending.start()
    shown = other.answer(f"%attach {jobs[1]}")
    ending.join()

    assert f"query {jobs[1]} has ended: " in shown, shown
    assert notebook.reply(request, CELL_SECONDS)["status"] == "ok"
    assert controller(home) != before
    content, _ = other.run("%attach ffffffff")
    assert content["status"] == "error" and "no query" in content["evalue"], content


def test_a_timeout_ends_the_query(open_notebook, home, files):
    notebook = open_notebook("late")
    notebook.answer("%%sql\nSELECT 1 AS one")
    pids = [engine["pid"] for engine in engines(home)]
    started = time.monotonic()
    content, _ = notebook.run(long_cell(files, "--timeout 1"))
    ended = time.monotonic()

    assert content["status"] == "error", content
    assert content["ename"] == "TimedOut", content
    took = ended - started
    assert 1 <= took < 1 + PROMPT_SECONDS, f"the prompt was back after {took:.2f} s"
    wait_until_freed(home, ended, pids)


def test_a_killed_kernel_leaves_its_names_and_nothing_else(open_notebook, home, files, tmp_path):
    (tmp_path / "points.csv").write_text("x,y\n1,2\n3,4\n")
    view = f"%%sql fast --lazy\nSELECT * FROM '{files}' WHERE \"SOG\" > 10"
    table = (
        "%%sql\nCREATE EXTERNAL TABLE points STORED AS CSV "
        f"LOCATION '{tmp_path}/points.csv' OPTIONS ('format.has_header' 'true')"
    )
    count = "%%sql --format csv\nSELECT count(*) AS reports FROM fast"
    total = "%%sql --format csv\nSELECT sum(x) AS total FROM points"
    notebook = open_notebook("kept")
    for cell in (view, table):
        assert "created" in notebook.answer(cell)
    answers = [printed(notebook, cell) for cell in (count, total)]
    assert answers[1] == "total\n4\n"
    notebook.start(long_cell(files))
    pids = wait_until_under_way(home)

    killed = time.monotonic()
    notebook.kill()
    wait_until_freed(home, killed, pids)

    notebook = open_notebook("kept")
    assert [printed(notebook, cell) for cell in (count, total)] == answers
    for cell in (view, table):
        assert "replaced" in notebook.answer(cell)
    assert [printed(notebook, cell) for cell in (count, total)] == answers
