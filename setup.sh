#!/usr/bin/env bash
# Sets the project up in .venv, from any working directory and as often as you like:
#
#   ./setup.sh         the pinned packages, the project itself, the samples
#   ./setup.sh --llm   also what `rmi-agent ask` and `rmi-agent chat` need
#   ./setup.sh --dev   also what tests and checks need, the agent's packages among it
#
# Uses uv where it is installed, otherwise venv and pip. PYTHON=/path/to/python chooses the
# interpreter. Written for bash 3.2, which is what macOS has.
set -euo pipefail
unset CDPATH # with it, cd prints and may land elsewhere
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cd "$root"

mode=plain
for arg in "$@"; do
    case $arg in
        --llm) [ "$mode" = dev ] || mode=llm ;;
        --dev) mode=dev ;;
        -h | --help) sed -n '2,10s/^# \{0,1\}//p' setup.sh && exit 0 ;;
        *) echo "setup.sh: unknown option '$arg'; there are --llm, --dev and --help" >&2 && exit 2 ;;
    esac
done

fail() {
    echo "setup.sh: $1" >&2
    exit 1
}

# Runs a step: silent when it succeeds, everything it said when it fails.
step() {
    local what=$1 output
    shift
    output=$("$@" </dev/null 2>&1) || {
        printf '%s\n' "$output" >&2
        echo "$before" >"$stamp" # a refusal, unlike an interruption, leaves a usable .venv as it was
        fail "$what failed; the lines above say why"
    }
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

version_of() {
    "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo "not working"
}

# Prints the interpreter to use. A PYTHON that the caller named is taken or refused, never passed
# over. Each candidate is run, because a version manager's stub can be on PATH and not work.
find_python() {
    local name found=""
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" && echo "$PYTHON" && return
        found="PYTHON=$PYTHON is $(version_of "$PYTHON")"
    else
        for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
            command -v "$name" >/dev/null || continue
            is_new_enough "$name" && echo "$name" && return
            [ -n "$found" ] || found="$name is $(version_of "$name")"
        done
        # uv knows interpreters that it installed itself and that are not on PATH.
        if [ -n "$uv" ] && name=$("$uv" python find --no-project '>=3.11' 2>/dev/null); then
            is_new_enough "$name" && echo "$name" && return
        fi
    fi
    fail "Python 3.11 or newer is needed (${found:-there is none}); set PYTHON to the path of one"
}

make_venv() {
    local python
    python=$(find_python) || exit 1
    echo "Making .venv with Python $(version_of "$python") ..."
    rm -rf .venv
    mkdir .venv
    before=unfinished
    echo "$before" >"$stamp"
    if [ -n "$uv" ]; then
        # --seed: users expect pip in it, and so does %pip in a kernel.
        step "making .venv" "$uv" venv --quiet --allow-existing --seed --python "$python" .venv
    else
        step "making .venv" "$python" -m venv .venv
    fi
}

install() {
    if [ -n "$uv" ]; then
        step "installing $1" "$uv" pip install --quiet --python .venv/bin/python --compile-bytecode "${@:2}"
    else
        step "installing $1" .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input "${@:2}"
    fi
}

# Whether packages can be installed into the .venv that is there: one that a finished run made for
# this place, or one that somebody made by hand. What an interrupted run left is not trusted.
is_reusable() {
    case $before in
        "") ;;
        *" $root") [ -x .venv/bin/rmi-agent ] || return 1 ;;
        *) return 1 ;;
    esac
    is_new_enough .venv/bin/python || return 1
    [ -n "$uv" ] || .venv/bin/python -m pip --version >/dev/null 2>&1
}

uv=$(command -v uv || true)
stamp=.venv/.setup-stamp

# The stamp says what a finished run installed, and where: scripts and the project's path entry in
# .venv are absolute, so a checkout that was moved needs a new one.
before=""
[ ! -f "$stamp" ] || before=$(cat "$stamp")
# A plain run takes nothing away.
case "${before%% *} $mode" in
    "dev "*) mode=dev ;;
    "llm plain") mode=llm ;;
esac
now="$mode $(cat requirements.txt requirements-llm.txt requirements-dev.txt pyproject.toml | cksum | tr ' ' -) $root"

if [ "$before" = "$now" ] && [ -x .venv/bin/rmi-agent ] && is_new_enough .venv/bin/python; then
    echo "Already set up; nothing to install."
else
    if is_reusable; then
        echo unfinished >"$stamp"
    else
        make_venv
    fi
    echo "Installing the packages; the first time takes a minute or two ..."
    requirements=requirements.txt
    [ "$mode" = plain ] || requirements="requirements-$mode.txt"
    install "the pinned packages" -r "$requirements"
    install "the project" --no-deps --editable .
    echo "$now" >"$stamp"
fi

mkdir -p python_projects
for sample in tests/test_samples/*.py; do
    copy=python_projects/${sample##*/}
    [ -e "$copy" ] || [ -L "$copy" ] || cp "$sample" "$copy"
done

echo "Ready. Try: .venv/bin/rmi-agent run hello_world.py"
