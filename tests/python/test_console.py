"""`jupyter console` with the real kernel: ask, complete a cell, interrupt, leave."""

import sys

import pexpect
import pytest
from bireme_kernel import bireme_kernel  # noqa: F401 (fixture)
from jupyter_kernels import install_kernel, jupyter_home  # noqa: F401

START_SECONDS = 60
CELL_SECONDS = 60
ENDLESS = "%sql SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.value * b.value % 7 = 8"


@pytest.fixture
def console(bireme_kernel):
    arguments = ["-m", "jupyter_console", f"--kernel={bireme_kernel}", "--simple-prompt"]
    child = pexpect.spawn(sys.executable, arguments, timeout=CELL_SECONDS, encoding="utf-8", dimensions=(50, 200))
    child.expect_exact("In [1]:", timeout=START_SECONDS)
    yield child
    child.close(force=True)


def test_a_table_comes_back_as_text(console):
    console.sendline("%sql SELECT 41 + 1 AS answer")
    console.expect_exact("answer")
    console.expect_exact("42")
    console.expect_exact("In [2]:")


def test_interrupt_gives_the_prompt_back(console):
    console.sendline(ENDLESS)
    # Something is shown of a query that runs: its progress.
    console.expect("rows|engines|running", timeout=CELL_SECONDS)
    console.sendintr()
    console.expect("(?i)interrupt")
    console.expect_exact("In [2]:")
    console.sendline("%sql SELECT 2 AS two")
    console.expect_exact("two")


def test_leaving_ends_the_kernel(console):
    console.sendeof()
    console.expect_exact("exit")
    console.sendline("y")
    console.expect(pexpect.EOF)
