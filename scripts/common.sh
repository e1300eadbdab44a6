# Sourced by the other scripts: where things are, and how to get what is missing.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/bireme
target=${CARGO_TARGET_DIR:-$root/target}
bireme=$target/debug/bireme
cd "$root"

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

# install_package PACKAGE: installs a Debian package where we may.
install_package() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "installing the package $1"
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

# need_command COMMAND [PACKAGE]: finds a command, or installs the package that has it.
need_command() {
    local package=${2:-$1}
    command -v "$1" >/dev/null || install_package "$package" || {
        say "$1 is missing: install it, on Debian by 'apt-get install $package'"
        return 1
    }
}

# build_binaries: builds `bireme` and `bireme-rust`; cargo shows how far it is.
build_binaries() {
    command -v cargo >/dev/null || fail "cargo is missing: install Rust from https://rustup.rs and run this again"
    # Also what other platforms need: Rust cells ask cargo about it, offline.
    cargo fetch --locked --quiet
    cargo build --locked --workspace --bins
}

# python_environment: makes the virtual environment of the tests once, and puts it first in PATH.
python_environment() {
    local requirements=tests/python/requirements.txt venv
    venv=$cache/venv-$(sha256sum "$requirements" | cut -c1-12)
    if [ ! -e "$venv/ready" ]; then
        need_command python3
        say "making the Python environment $venv"
        rm -rf "$venv"
        python3 -m venv "$venv" || { install_package python3-venv && python3 -m venv "$venv"; }
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
        touch "$venv/ready"
    fi
    PATH=$venv/bin:$PATH
}
