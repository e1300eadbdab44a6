"""papermill sets parameters of our notebooks, once the package of the repository is installed."""

import json
import subprocess
import sys

import nbformat
import pytest

from bireme_kernel import bireme_kernel  # noqa: F401 (fixture)
from jupyter_kernels import REPOSITORY, install_kernel, jupyter_home  # noqa: F401

PACKAGE = REPOSITORY / "kernel" / "papermill"
CELLS = [
    "%param year = 2020\n%param port = 'Rotterdam'\n%param share = 0.5",
    "%%sql\nSELECT $year + 1 AS next, $port AS port, $share * 2 AS twice, $none IS NULL AS nothing",
    "println!(\"{year} {port} {share}\");",
]


@pytest.fixture(scope="module")
def papermill_path(tmp_path_factory):
    """A folder with the package as pip installs it."""
    folder = tmp_path_factory.mktemp("packages")
    source = tmp_path_factory.mktemp("source") / "papermill"
    subprocess.run(["cp", "-r", PACKAGE, source], check=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*install, "--target", folder, source], check=True)
    return folder


@pytest.fixture
def papermill(papermill_path, tmp_path, monkeypatch):
    """Runs papermill with arguments; returns how it ended."""
    monkeypatch.setenv("PYTHONPATH", str(papermill_path))

    def run(*arguments):
        command = [sys.executable, "-m", "papermill", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture
def notebook(bireme_kernel, tmp_path):
    written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    written.cells[0].metadata.tags = ["parameters"]
    written.metadata.kernelspec = {"name": bireme_kernel, "display_name": "Bireme", "language": "rust"}
    nbformat.write(written, tmp_path / "in.ipynb")
    return tmp_path / "in.ipynb"


def test_parameters_are_set_by_their_type(papermill, notebook, tmp_path):
    values = {"year": 2024, "port": 'Ll"anelli \\ 2', "share": 1.25, "none": None}
    done = papermill(notebook, "out.ipynb", "--parameters_yaml", json.dumps(values))
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    assert cells[1].metadata.tags == ["injected-parameters"]
    shown = "".join(output.get("data", {}).get("text/plain", "") for output in cells[2].outputs)
    for value in ["2025", 'Ll"anelli \\ 2', "2.5", "true"]:
        assert value in shown, shown
    (told,) = [output.text for output in cells[3].outputs if output.get("name") == "stdout"]
    assert told == '2024 Ll"anelli \\ 2 1.25\n'


def test_what_is_no_parameter_is_refused_before_anything_runs(papermill, notebook, tmp_path):
    done = papermill(notebook, "out.ipynb", "--parameters_yaml", "year: [1, 2]")
    assert done.returncode != 0
    assert "a number, true, false, null or text" in done.stderr, done.stderr


def test_the_parameters_of_a_notebook_are_listed(papermill, notebook):
    done = papermill("--help-notebook", notebook)
    assert "year" in done.stdout and "2020" in done.stdout and "port" in done.stdout, done.stdout + done.stderr
