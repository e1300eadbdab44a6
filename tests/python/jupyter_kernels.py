"""Fixtures that install kernels into a Jupyter of our own. Import them into a test module.

`install_kernel(name, argv)` writes a kernelspec for any command line, so the same tests serve the
echo kernel of the framework and the real one.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def echo_program():
    """The echo kernel of `bireme-jupyter`: BIREME_ECHO_KERNEL, else the one in the target folder."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    built = target / "debug" / "examples" / "echo"
    program = pathlib.Path(os.environ.get("BIREME_ECHO_KERNEL", built))
    build = "cargo build -p bireme-jupyter --example echo"
    assert program.exists(), f"{program} is missing: run `{build}` first"
    return program


@pytest.fixture(scope="session")
def jupyter_home():
    """A Jupyter of our own: nothing of the user's is read or written."""
    # Paths of Unix sockets end at 108 bytes, so not below pytest's own directory.
    home = pathlib.Path(tempfile.mkdtemp(prefix="bm-jp-", dir="/tmp"))
    kept = {name: os.environ.get(name) for name in JUPYTER_DIRECTORIES}
    for name, folder in JUPYTER_DIRECTORIES.items():
        (home / folder).mkdir(mode=0o700)
        os.environ[name] = str(home / folder)
    yield home
    for name, value in kept.items():
        if value is None:
            os.environ.pop(name)
        else:
            os.environ[name] = value
    shutil.rmtree(home, ignore_errors=True)


JUPYTER_DIRECTORIES = {
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_RUNTIME_DIR": "run",
}


@pytest.fixture(scope="session")
def install_kernel(jupyter_home):
    """Installs a kernelspec for a command line and returns the kernel's name."""

    def install(name, argv, language="rust", environment=None):
        directory = jupyter_home / "data" / "kernels" / name
        directory.mkdir(parents=True, exist_ok=True)
        spec = {
            "argv": [str(argument) for argument in argv],
            "display_name": name,
            "language": language,
            "interrupt_mode": "message",
            "env": environment or {},
        }
        (directory / "kernel.json").write_text(json.dumps(spec))
        return name

    return install


@pytest.fixture(scope="session")
def echo_kernel(install_kernel, echo_program):
    """The name of the installed echo kernel."""
    return install_kernel("echo-test", [echo_program, "-f", "{connection_file}"], "echo")


def run_kernel_suite(source, directory):
    """Runs a module of `jupyter_kernel_test` cases in a process of its own, and returns it."""
    module = directory / "test_kernel_suite.py"
    module.write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", str(module)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=directory)


def free_ports(count):
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
