#!/usr/bin/env bash
# Makes .venv: Python 3.10, the locked dependencies, and this project in it. PYTHON=... names an interpreter.
#
# The stamp is written last. It holds a digest of what the environment was made from and the names of all that was
# installed: while both hold there is nothing to do; a changed digest means a sync; no stamp, a Python that does not
# start, or missing files mean that the environment was left half-made or damaged, and it is made anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV CONDA_PREFIX
export LC_ALL=C

readonly VENV=.venv STAMP=.venv/setup.stamp SITE=.venv/lib/python3.10/site-packages
# Wheels of hundreds of megabytes and 30,000 files to compile, on slow lines and busy machines.
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}" UV_COMPILE_BYTECODE_TIMEOUT="${UV_COMPILE_BYTECODE_TIMEOUT:-900}"

say() { printf 'setup %3ds: %s\n' "$SECONDS" "$*"; }

fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

# Digest of all that decides the environment; its path too, which the scripts in it hold.
digest() {
  { "$VENV/bin/python" -ISc 'import sys; print(sys.version)' && pwd -P && cat requirements.lock setup.py scripts/setup.sh; } \
    2>/dev/null | sha256sum
}

installed() { printf '%s\n' "$VENV"/bin/* "$SITE"/* | grep -v mtmh; }

# Whether the environment is whole: its Python starts, and all that was installed is still there.
whole() {
  [[ -f $STAMP ]] && "$VENV/bin/python" -ISc '' 2>/dev/null &&
    [[ -z $(comm -23 <(tail -n +2 "$STAMP") <(installed)) ]]
}

current() {
  whole && [[ $(head -n 1 "$STAMP") == "$(digest)" && -x $VENV/bin/mtmh ]] &&
    compgen -G "$SITE/__editable__*mtmh*" >/dev/null
}

# Prints the interpreter behind $1, never that of a virtual environment (it may be our own, activated), if it is a
# complete Python 3.10 with headers.
python310() {
  "$1" -c '
import ctypes, lzma, os, ssl, sys, sysconfig, zlib
header = os.path.join(sysconfig.get_path("include"), "Python.h")
python = os.path.join(sys.base_prefix, "bin", "python3.10")
if sys.version_info[:2] != (3, 10) or not os.path.exists(header) or not os.path.exists(python):
    sys.exit(1)
print(python)' 2>/dev/null
}

find_python() {
  local candidate root
  for candidate in ${PYTHON:+"$PYTHON"} python3.10 python3 python; do
    python310 "$candidate" && return
  done
  for root in "${PYENV_ROOT:-}" "$(pyenv root 2>/dev/null)" "${HOME:-}/.pyenv"; do
    for candidate in "$root"/versions/3.10*/bin/python3.10; do
      python310 "$candidate" && return
    done
  done
  candidate=$(uv python find --system 3.10 2>/dev/null) && python310 "$candidate"
}

# Prints the uv on PATH, if there is one that can do what is asked of it.
find_uv() { uv pip sync --help 2>/dev/null | grep -q -e --compile-bytecode && command -v uv; }

# Drops uv's list of hundreds of names where no terminal redraws it.
install() {
  if [[ -t 2 ]]; then "$@"; else "$@" 2>&1 | awk '!/^ [-+~] / { print "           " $0; fflush() }'; fi
}

make_environment() {
  local python uv
  python=$(find_python) || fail \
    "no complete Python 3.10 (headers, ssl, lzma) on PATH, in pyenv or in uv, and TFX 1.16 runs on no other: get it by" \
    "pyenv install 3.10, uv python install 3.10, or apt install python3.10-dev python3.10-venv, and run make setup" \
    "again; or name it: make setup PYTHON=/path/to/python3.10"
  command -v c++ >/dev/null || command -v g++ >/dev/null || fail \
    "no C++ compiler, and pyfarmhash, which TFX needs, comes as source alone: apt install g++, and run make setup again"

  if ! whole; then
    # In place, not beside and renamed: the scripts of an environment hold its path.
    say "$VENV with $("$python" --version) of $python"
    rm -rf "$VENV"
    if uv=$(find_uv); then
      "$uv" venv --quiet --no-project --python "$python" "$VENV"
    elif ! "$python" -m venv "$VENV"; then
      fail "$python lacks the venv module, and uv is not on PATH: install python3.10-venv or uv, and run again"
    fi
  fi
  rm -f "$STAMP"

  if ! uv=$(find_uv); then
    uv=$VENV/bin/uv
    if ! "$uv" --version >/dev/null 2>&1; then
      say "uv, which the lock pins"
      awk '/^[^ #]/ { uv = /^uv==/ } uv' requirements.lock >"$VENV/uv.txt"
      "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
        --requirement "$VENV/uv.txt"
    fi
  fi

  say "$(grep -c '^[^ #]' requirements.lock) locked packages; the first time this downloads 1.3 GB"
  install "$uv" pip sync --python "$VENV/bin/python" --require-hashes --compile-bytecode requirements.lock
  say "mtmh itself"
  "$uv" pip install --quiet --python "$VENV/bin/python" --no-deps --no-build-isolation --editable .

  { digest && installed; } >"$STAMP.new"
  mv "$STAMP.new" "$STAMP"
  say "done: $VENV/bin/mtmh --help"
}

[[ "$(uname -sm)" == "Linux x86_64" ]] ||
  fail "this is $(uname -sm), and TFX and ScaNN have wheels for Linux on x86_64 alone: use such a machine or container"

if current; then
  say "nothing to do"
else
  if command -v flock >/dev/null; then
    exec 9<scripts/setup.sh
    flock --nonblock 9 || { say "waits for another set-up in this directory" && flock 9; }
  fi
  current || make_environment
fi
