"""`bireme install`: the kernelspec, and what Rust cells link against."""

import json
import pathlib
import shutil

import nbformat


def test_the_kernel_is_installed_with_or_without_a_toolchain(home, tmp_path):
    bare = home.environment | {"PATH": "/usr/bin:/bin"}
    said = home.bireme("install", "--prefix", tmp_path, env=bare).stderr.decode()
    assert "https://rustup.rs" in said and "SQL cells are ready" in said, said
    spec = json.loads((tmp_path / "share/jupyter/kernels/bireme/kernel.json").read_text())
    assert spec["interrupt_mode"] == "message" and spec["language"] == "rust", spec
    said = home.bireme("install", "--prefix", tmp_path, "--no-rust").stderr.decode()
    assert "Rust" not in said, said
    home.bireme("uninstall", "--prefix", tmp_path)
    assert not (tmp_path / "share/jupyter/kernels/bireme").exists()


def test_installing_compiles_what_the_first_rust_cell_needs(home, tmp_path):
    # Other tests share what was compiled once.
    (pathlib.Path(home.path) / "rust" / "crate").unlink()
    said = home.bireme("install", "--prefix", tmp_path, timeout=600).stderr.decode()
    assert "Rust cells are ready" in said and "crates begun" in said and "serde_json" in said, said
    # What a session takes of that is there without a network, and a name that is only like it brings nothing in.
    cells = ["let rand = 1; rand + 1", 'use serde_json::json; json!({"a": [1, rand]}).to_string()']
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    home.bireme("run", tmp_path / "notebook.ipynb", "-o", tmp_path / "ran.ipynb", timeout=300)
    ran = nbformat.read(tmp_path / "ran.ipynb", as_version=4).cells
    values = [cell.outputs[-1]["data"]["text/plain"] for cell in ran]
    assert values == ["2", '"{\\"a\\":[1,1]}"'], values
    # The second time there is nothing to compile.
    again = home.bireme("install", "--prefix", tmp_path, timeout=60).stderr.decode()
    assert "Rust cells are ready" in again and "crates begun" not in again, again
    # Crates that cannot be had cost no cell.
    absent = home.environment | {"BIREME_RUST_PRELUDE_CRATES": 'bireme-no-such-crate = "1"'}
    without = home.bireme("install", "--prefix", tmp_path, timeout=300, env=absent).stderr.decode()
    assert "Rust cells are ready, without bireme-no-such-crate" in without, without


def test_a_toolchain_without_the_shared_standard_library_is_told(home, tmp_path):
    script = tmp_path / "bin" / "rustc"
    script.parent.mkdir()
    (tmp_path / "libraries").mkdir()
    real = shutil.which("rustc")
    script.write_text(f"""#!/bin/sh
case "$*" in *target-libdir*) echo {tmp_path}/libraries ;; *) exec {real} "$@" ;; esac
""")
    script.chmod(0o755)
    environment = home.environment | {"PATH": f"{script.parent}:{home.environment['PATH']}"}
    said = home.bireme("install", "--prefix", tmp_path, env=environment).stderr.decode()
    assert "libstd-*.so" in said and "https://rustup.rs" in said and "SQL cells are ready" in said, said


def test_crates_that_cannot_be_read_are_told_at_installation(home, tmp_path):
    (pathlib.Path(home.path) / "config.toml").write_text('[rust]\nprelude_crates = "what is this"\n')
    said = home.bireme("install", "--prefix", tmp_path, timeout=600).stderr.decode()
    assert "what is this" in said and "is no crate" in said and "serde_json" in said, said
    assert "SQL cells are ready" in said, said
