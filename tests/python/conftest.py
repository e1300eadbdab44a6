"""Fixtures of the Python tests: the binary, a home of its own for each cluster, sample data."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
GONE_SECONDS = 5
CALL_SECONDS = 300
UNITS = {"": 1, "s": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def pytest_configure(config):
    config.addinivalue_line("markers", "browser: drives JupyterLab in headless Chromium")


@pytest.fixture(scope="session")
def binary():
    """The `bireme` of this build: BIREME_BIN, else the one in the target folder."""
    target = os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")
    path = pathlib.Path(os.environ.get("BIREME_BIN", pathlib.Path(target) / "debug" / "bireme"))
    assert path.exists(), f"{path} is missing: run `cargo build --workspace --bins` first"
    return path


def in_units(text):
    """A number as people read it, such as 1.5 KiB, 1_024 or 0.2 s."""
    number, *unit = text.replace("_", "").split()
    return float(number) * UNITS[unit[0] if unit else ""]


def kept():
    """Where generated data is kept from run to run."""
    default = pathlib.Path.home() / ".cache" / "bireme" / "data"
    return pathlib.Path(os.environ.get("BIREME_DATA", default))


@pytest.fixture(scope="session")
def data_directory():
    return kept()


def processes_of(home):
    """Ids of the processes that were started for a home."""
    wanted = f"BIREME_HOME={home}".encode()
    found = []
    for directory in pathlib.Path("/proc").iterdir():
        if not directory.name.isdigit() or int(directory.name) == os.getpid():
            continue
        try:
            environment = (directory / "environ").read_bytes()
        except OSError:
            continue  # ended meanwhile, or another user's
        if wanted in environment.split(b"\0"):
            found.append(int(directory.name))
    return found


class Home:
    """A BIREME_HOME and the `bireme` commands that see it."""

    def __init__(self, binary):
        self.binary = binary
        # Paths of Unix sockets end at 108 bytes, so not below pytest's own directory.
        self.path = tempfile.mkdtemp(prefix="bm-py-", dir="/tmp")
        # What Rust cells link against takes half a minute to compile, and is the same in every home.
        crate = kept().resolve().parent / "cell-crate"
        crate.mkdir(parents=True, exist_ok=True)
        rust = pathlib.Path(self.path) / "rust"
        rust.mkdir(mode=0o700)
        (rust / "crate").symlink_to(crate)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("BIREME_")}
        self.environment["BIREME_HOME"] = self.path

    def bireme(self, *arguments, check=True, **options):
        """Runs `bireme` to its end and returns what it printed, as bytes."""
        command = [self.binary, *map(str, arguments)]
        options = {"timeout": CALL_SECONDS, "env": self.environment} | options
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, **options)
        if check and done.returncode != 0:
            pytest.fail(f"{command} ended with {done.returncode}\n{done.stderr.decode()}")
        return done

    def stats(self):
        """The counters of `%stats` by name, one number for each engine."""
        path = pathlib.Path(self.path)
        nbformat.write(new_notebook(cells=[new_code_cell("%stats --all")]), path / "stats.ipynb")
        self.bireme("run", "-o", path / "stats.out.ipynb", path / "stats.ipynb")
        (told,) = nbformat.read(path / "stats.out.ipynb", as_version=4).cells[0].outputs
        rows = [line.strip("│").split("┆") for line in told.data["text/plain"].splitlines() if "┆" in line]
        # The last column is the sum.
        return {name.strip(): [in_units(number) for number in numbers[:-1]] for name, *numbers in rows[1:]}

    def close(self):
        """Stops the cluster; nothing may be left."""
        if processes_of(self.path):
            self.bireme("cluster", "stop", timeout=30)
        # The launcher answers the stop before its own last instruction.
        deadline = time.monotonic() + GONE_SECONDS
        while (left := processes_of(self.path)) and time.monotonic() < deadline:
            time.sleep(0.01)
        shutil.rmtree(self.path, ignore_errors=True)
        assert not left, f"processes left after `cluster stop`: {left}"


@pytest.fixture
def home(binary):
    """A home without a cluster."""
    home = Home(binary)
    yield home
    home.close()
