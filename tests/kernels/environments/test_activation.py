"""What is set for processes of an environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.environments import batches, conda, layout
from kernels.environments.activation import activation
from kernels.environments.describing import describe
from kernels.environments.environment import Activation, Environment, kernelspec_of
from kernels.environments.sourcing import program, source
from tests.kernels.environments.conftest import Machine, ends, real_python
from tests.kernels.test_kernelspecs import ECHO


def applied(machine: Machine, prefix: Path) -> dict[str, str]:
    """All variables of a kernel there, where others get the machine's own."""
    environment = describe(str(prefix / "bin" / "python"))
    active = activation(environment, machine.environ)
    assert active.notes == ()
    return kernelspec_of(environment, active).environment(machine.environ)


def notes(machine: Machine, prefix: Path) -> list[str]:
    environment = describe(str(prefix / "bin" / "python"))
    return list(activation(environment, machine.environ).notes)


# -- venvs


def test_a_venvs_folder_comes_first_in_the_path(machine: Machine) -> None:
    prefix = machine.venv(machine.home / "with spaces" / ".venv")
    env = applied(machine, prefix)
    assert env["PATH"] == f"{prefix}/bin:{machine.environ['PATH']}"
    assert (env["VIRTUAL_ENV"], env["VIRTUAL_ENV_PROMPT"]) == (str(prefix), ".venv")


def test_programs_of_a_venv_find_its_python(machine: Machine) -> None:
    prefix = machine.venv(machine.home / "v")
    command = ["sh", "-c", "command -v python && python -c 'import sys; print(sys.prefix)'"]
    env = applied(machine, prefix)
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    assert result.stdout.split() == [f"{prefix}/bin/python", str(prefix)]


def test_a_venv_is_as_after_its_own_activate(machine: Machine) -> None:
    """The prompt aside, which no kernel has."""
    prefix = machine.venv(machine.home / "v")
    command = ["bash", "-c", f". '{prefix}/bin/activate' && env -0"]
    shell = subprocess.run(command, env=machine.environ, capture_output=True, timeout=30)
    theirs = dict(entry.split("=", 1) for entry in shell.stdout.decode().split("\0") if entry)
    ours = applied(machine, prefix)
    for name in ("PATH", "VIRTUAL_ENV", "HOME"):
        assert ours[name] == theirs[name]


def test_pyenvs_programs_are_those_of_the_version(machine: Machine) -> None:
    env = applied(machine, machine.pyenv("3.12.1"))
    assert env["PATH"].split(":")[0] == f"{machine.home}/.pyenv/versions/3.12.1/bin"
    assert env["PYENV_VERSION"] == "3.12.1"


def test_a_kernelspec_is_started_as_it_says() -> None:
    environment = Environment("kernelspec:echo", "kernelspec", "", Path(ECHO[0]))
    assert activation(environment, {"VIRTUAL_ENV": "/v"}) == Activation()


# -- conda


def test_conda_sets_its_variables(machine: Machine) -> None:
    prefix = machine.conda(machine.home / "miniforge3" / "envs" / "ds")
    env = applied(machine, prefix)
    assert env["PATH"] == f"{prefix}/bin:{machine.environ['PATH']}"
    assert {name: env[name] for name in env if name.startswith("CONDA")} == {
        "CONDA_PREFIX": str(prefix),
        "CONDA_DEFAULT_ENV": "ds",
        "CONDA_SHLVL": "1",
        "CONDA_PROMPT_MODIFIER": "(ds) ",
    }


def test_conda_calls_base_base_and_a_lone_prefix_by_its_path(machine: Machine) -> None:
    base = machine.home / "miniforge3"
    machine.conda(base)
    (base / "condabin").mkdir()
    lone = machine.conda(machine.home / "lone")
    assert applied(machine, base)["CONDA_DEFAULT_ENV"] == "base"
    assert applied(machine, lone)["CONDA_DEFAULT_ENV"] == str(lone)


def test_variables_of_the_state_are_set_and_unset(machine: Machine) -> None:
    """Not PATH, which conda keeps for itself; the state counts more than what packages say."""
    state = {"MINE": "a $b 'c' \"ü\"", "GONE": "***unset***", "PATH": "/evil", "Case": "kept"}
    prefix = machine.conda(machine.home / "envs" / "ds", state=state)
    folder = prefix / "etc" / "conda" / "env_vars.d"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps({"MINE": "package", "PACKAGE": "yes"}))
    (folder / "b.json").write_text("[]")
    (folder / "c.json").write_text("{")
    machine.environ["GONE"] = "here"
    env = applied(machine, prefix)
    assert (env["MINE"], env["PACKAGE"], env["Case"]) == ("a $b 'c' \"ü\"", "yes", "kept")
    assert "GONE" not in env and env["PATH"].startswith(f"{prefix}/bin:")


@pytest.mark.parametrize(
    "text", ["", "{", "null", '{"env_vars": []}', '{"env_vars": {"": "x", "A=B": "y", "C": [1]}}']
)
def test_a_state_that_is_none_sets_nothing(machine: Machine, text: str) -> None:
    prefix = machine.conda(machine.home / "envs" / "ds")
    (prefix / "conda-meta" / "state").write_text(text)
    assert conda.variables(prefix) == {}


def test_activation_scripts_are_sourced_in_their_order(machine: Machine) -> None:
    """By bash, with what the environment has set before; arrays and functions are no matter."""
    scripts = {
        "10-first.sh": 'export FIRST="$CONDA_DEFAULT_ENV $MINE"\nunset GONE\n',
        "20-second.sh": (
            "parts=(one two)\nexport -f foo 2>/dev/null\n"
            'export SECOND="${parts[1]} after $FIRST"\nexport PATH="$CONDA_PREFIX/x:$PATH"\n'
        ),
        "30-lines.sh": "export LINES_OF='a\nb=c\n'\nexport EMPTY=\nNOT_EXPORTED=1\n",
        "40-fish.fish": "set -x FISH yes\n",
    }
    prefix = machine.conda(machine.home / "envs" / "ds ü", state={"MINE": "x"}, scripts=scripts)
    machine.environ["GONE"] = "here"
    env = applied(machine, prefix)
    assert (env["FIRST"], env["SECOND"]) == ("ds ü x", "two after ds ü x")
    assert (env["LINES_OF"], env["EMPTY"]) == ("a\nb=c\n", "")
    assert env["PATH"].startswith(f"{prefix}/x:{prefix}/bin:")
    assert not env.keys() & {"GONE", "NOT_EXPORTED", "FISH", "_", "SHLVL", "PWD", "RMI_SOURCED"}


def test_bytes_that_are_no_text_come_through(machine: Machine) -> None:
    prefix = machine.conda(machine.home / "envs" / "ds", scripts={"a.sh": "export B=$'\\xff\\xfe'"})
    assert os.fsencode(applied(machine, prefix)["B"]) == b"\xff\xfe"


def test_what_scripts_print_and_read_is_nobodys_matter(machine: Machine) -> None:
    """Megabytes on both streams, an `input`, a warning of one that ends in a test."""
    scripts = {
        "a.sh": "head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2; export A=1",
        "b.sh": 'read answer; cat; export B="read:$answer"',
        "c.sh": "echo careful >&2; export C=1",
        "d.sh": 'export D=1; [ -n "$NOT_SET" ] && export E=1',
    }
    prefix = machine.conda(machine.home / "envs" / "ds", scripts=scripts)
    env = applied(machine, prefix)
    assert [env[name] for name in "ABCD"] == ["1", "read:", "1", "1"]


def test_options_of_one_script_do_not_reach_the_next(machine: Machine) -> None:
    scripts = {
        "a.sh": "set -eu -o pipefail; set -a; export A=1; false; export AFTER=1",
        "b.sh": 'export B="$NOT_SET_AT_ALL"; false; export C=1',
    }
    prefix = machine.conda(machine.home / "envs" / "ds", scripts=scripts)
    env = applied(machine, prefix)
    assert (env["A"], env["AFTER"], env["B"], env["C"]) == ("1", "1", "", "1")


def test_a_script_that_fails_is_told_of_with_its_last_line(machine: Machine) -> None:
    """What it and the others set is kept, as conda does."""
    scripts = {
        "a.sh": "export A=1\necho one >&2\necho 'no licence.' >&2\nreturn 3",
        "b.sh": "export B=1\nif then",
        "c.sh": "export C=1",
    }
    prefix = machine.conda(machine.home / "envs" / "ds", scripts=scripts)
    environment = describe(str(prefix / "bin" / "python"))
    active = activation(environment, machine.environ)
    first, second = active.notes
    assert first == "The activation script a.sh failed with status 3: no licence."
    assert second.startswith("The activation script b.sh failed with status ")
    assert (active.env["A"], active.env["C"]) == ("1", "1")


def test_one_that_ends_the_shell_takes_nothing_of_the_others_along(machine: Machine) -> None:
    scripts = {
        "a.sh": "export A=1",
        "b.sh": "export B=1; echo bye >&2; exit 0",
        "c.sh": 'export C="$A"',
        "d.sh": "kill -9 $$",
        "e.sh": "export E=1",
    }
    prefix = machine.conda(machine.home / "envs" / "ds", scripts=scripts)
    active = activation(describe(str(prefix / "bin" / "python")), machine.environ)
    assert [note.split(";")[0] for note in active.notes] == [
        "The activation script b.sh ended the shell (it said: bye)",
        "The activation script d.sh ended the shell",
    ]
    assert {name: active.env.get(name) for name in "ABCE"} == {
        "A": "1",
        "B": None,
        "C": "1",
        "E": "1",
    }


def test_one_that_hangs_is_ended_with_all_that_it_has_started(
    machine: Machine, tmp_path: Path
) -> None:
    """Also what it left in the background, while the others have their turn."""
    scripts = []
    for name, text in {
        "a.sh": f"sleep 1000 & echo $! > {tmp_path}/a; export A=1",
        "b.sh": f"sleep 1000 & echo $! > {tmp_path}/b; wait",
        "c.sh": "export C=1",
        "d.sh": "while :; do :; done",
    }.items():
        (tmp_path / name).write_text(text)
        scripts.append(tmp_path / name)
    sourced = source(scripts, machine.environ, limit=3)
    assert (sourced.environ["A"], sourced.environ["C"]) == ("1", "1")
    assert [note.split(" took")[0] for note in sourced.notes] == [
        "The activation script b.sh",
        "The activation script d.sh",
    ]
    assert ends(tmp_path / "a") and ends(tmp_path / "b")


def test_all_together_have_a_limit_too(machine: Machine, tmp_path: Path) -> None:
    scripts = [tmp_path / name for name in ("a.sh", "b.sh", "c.sh")]
    for script in scripts:
        script.write_text("sleep 1000")
    _, last = source(scripts, machine.environ, limit=60, total=4).notes
    assert last == "There was no time left for these activation scripts: b.sh, c.sh."


def test_a_script_that_is_not_there_any_more_is_told_of(machine: Machine) -> None:
    prefix = machine.conda(machine.home / "envs" / "ds", scripts={"a.sh": "", "b.sh": "export B=1"})
    (prefix / "etc" / "conda" / "activate.d" / "a.sh").unlink()
    (prefix / "etc" / "conda" / "activate.d" / "a.sh").symlink_to("nowhere")
    [note] = notes(machine, prefix)
    assert "a.sh failed with status 1" in note


def test_without_bash_sh_does_it(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    script = tmp_path / "a.sh"
    script.write_text("export A=1")
    (tmp_path / "b.sh").write_text("exit 3")
    (tmp_path / "c.sh").write_text("export C=$A")
    scripts = [tmp_path / name for name in ("a.sh", "b.sh", "c.sh")]
    sourced = source(scripts, {"PATH": str(folder)})
    assert (sourced.environ["A"], sourced.environ["C"]) == ("1", "1")
    assert len(sourced.notes) == 1


def test_another_platforms_shell_asks_this_python(machine: Machine, tmp_path: Path) -> None:
    """An older macOS has no `env -0`; the same is printed."""
    commands = [program([], platform) for platform in ("linux", "darwin")]
    said = [
        subprocess.run(
            ["bash", "-c", command], env={"A": "ü\n", "LC_ALL": "C.UTF-8"}, capture_output=True
        ).stdout
        for command in commands
    ]
    one, other = (set(words.rstrip(b"\0").split(b"\0")) for words in said)
    assert b"A=\xc3\xbc\n" in one
    assert {entry for entry in one if not entry.startswith(b"_=")} == {
        entry for entry in other if not entry.startswith(b"_=")
    }


# -- nothing of the server's own leaks


def test_a_venv_that_is_active_for_the_server_is_left(machine: Machine) -> None:
    mine, other = machine.venv(machine.home / "mine"), machine.venv(machine.home / "other")
    usual = machine.environ["PATH"]
    machine.environ |= {
        "PATH": f"{mine}/bin:{usual}",
        "VIRTUAL_ENV": str(mine),
        "PYTHONHOME": "/usr",
        "__PYVENV_LAUNCHER__": "/x",
        "PYTHONEXECUTABLE": "/y",
    }
    env = applied(machine, other)
    assert (env["PATH"], env["VIRTUAL_ENV"]) == (f"{other}/bin:{usual}", str(other))
    assert not env.keys() & {"PYTHONHOME", "__PYVENV_LAUNCHER__", "PYTHONEXECUTABLE"}
    ds = machine.conda(machine.home / "envs" / "ds")
    assert "VIRTUAL_ENV" not in applied(machine, ds)


def test_conda_that_is_active_for_the_server_is_left(machine: Machine) -> None:
    """With what its state and its scripts have set, and with what lies below it."""
    mine = machine.conda(
        machine.home / "envs" / "mine",
        state={"STATE": "mine", "CHANGED": "mine", "SAVED": "mine"},
        scripts={"a.sh": "export DATA=$CONDA_PREFIX/data"},
        undo={"a.sh": "unset DATA"},
    )
    base = machine.conda(machine.home / "miniforge3")
    usual = machine.environ["PATH"]
    machine.environ |= {
        "PATH": f"{mine}/bin:{base}/condabin:{usual}",
        "CONDA_PREFIX": str(mine),
        "CONDA_PREFIX_1": str(base),
        "CONDA_DEFAULT_ENV": "mine",
        "CONDA_SHLVL": "2",
        "CONDA_PROMPT_MODIFIER": "(mine) ",
        "CONDA_EXE": f"{base}/bin/conda",
        "STATE": "mine",
        "CHANGED": "by the user",
        "SAVED": "mine",
        "__CONDA_SHLVL_1_SAVED": "before",
        "DATA": f"{mine}/data",
    }
    env = applied(machine, machine.venv(machine.home / "v"))
    assert env == {
        "HOME": str(machine.home),
        "PATH": f"{machine.home}/v/bin:{base}/condabin:{usual}",
        "VIRTUAL_ENV": f"{machine.home}/v",
        "VIRTUAL_ENV_PROMPT": "v",
        "CONDA_EXE": f"{base}/bin/conda",
        "CHANGED": "by the user",
        "SAVED": "before",
    }
    again = applied(machine, mine)
    assert (again["CONDA_SHLVL"], again["DATA"]) == ("1", f"{mine}/data")
    assert (again["STATE"], again["PATH"].count(f"{mine}/bin")) == ("mine", 1)


def test_the_own_venv_leaks_by_no_path_either(machine: Machine) -> None:
    """Of a server that was started by its path, with its folder in PATH."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("these tests do not run in a venv")
    machine.environ["PATH"] = f"{sys.prefix}/bin:/usr/bin:/bin"
    env = applied(machine, machine.pyenv("3.12.1"))
    assert f"{sys.prefix}/bin" not in env["PATH"].split(":")


@pytest.mark.parametrize("minor", ["3.8", "3.13"])
def test_another_python_runs_where_it_is_activated(machine: Machine, minor: str) -> None:
    """From within a venv, whose variables would mislead it."""
    python = real_python(minor)
    environment = describe(str(python))
    machine.environ |= {"PYTHONHOME": sys.base_prefix, "VIRTUAL_ENV": sys.prefix}
    active = activation(environment, machine.environ)
    env = kernelspec_of(environment, active).environment(machine.environ)
    code = "import sys, encodings; print(sys.version_info[:2], sys.prefix)"
    result = subprocess.run([python, "-c", code], env=env, capture_output=True, text=True)
    assert result.stdout.split(")")[0] == f"({minor.replace('.', ', ')}"


names = st.text(st.sampled_from("ABC_"), min_size=1, max_size=3)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(names, values), st.dictionaries(names, values | st.just("***unset***")))
def test_whatever_a_state_sets_is_set_exactly(
    tmp_path_factory: pytest.TempPathFactory, own: dict[str, str], state: dict[str, str]
) -> None:
    """And all else is as it was: the activation is the difference, whole and no more."""
    prefix = tmp_path_factory.mktemp("prefix")
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta" / "state").write_text(json.dumps({"env_vars": state}))
    environment = Environment("conda:x", "conda", str(prefix / "bin" / "python"), prefix, "3.12.1")
    environ = own | {"PATH": "/usr/bin:/bin"}
    env = kernelspec_of(environment, activation(environment, environ)).environment(environ)
    expected = {name: text for name, text in (own | state).items() if text != "***unset***"}
    expected |= {name: text for name, text in own.items() if name not in state}
    assert {name: text for name, text in env.items() if name in own.keys() | state} == expected


# -- Windows, as far as it can be told without one


def test_the_path_of_an_environment_on_windows() -> None:
    prefix = PureWindowsPath(r"C:\Users\me\miniforge3\envs\ds")
    assert layout.search_path("conda", prefix, windows=True) == [
        str(prefix / part) if part else str(prefix)
        for part in ("", r"Library\mingw-w64\bin", r"Library\usr\bin", r"Library\bin", "Scripts")
    ] + [str(prefix / "bin")]
    assert layout.search_path("venv", prefix, windows=True) == [str(prefix / "Scripts")]
    assert layout.search_path("pyenv", prefix, windows=True) == [
        str(prefix),
        str(prefix / "Scripts"),
    ]


def test_where_things_are_on_each_platform() -> None:
    windows, posix = PureWindowsPath(r"C:\v"), PurePosixPath("/v")
    assert layout.prefix_of(windows / "Scripts" / "python.exe", windows=True) == windows
    assert layout.prefix_of(windows / "python.exe", windows=True) == windows
    assert layout.prefix_of(posix / "bin" / "python", windows=False) == posix
    assert layout.interpreters(windows, windows=True)[0] == windows / "Scripts" / "python.exe"
    sites = list(layout.site_packages(windows, "3.12.1", windows=True))
    assert sites == [windows / "Lib" / "site-packages"]
    assert layout.user_site(windows, "3.12.1", "win32", windows=True) == (
        windows / "Python312" / "site-packages"
    )
    framework = PurePosixPath("/Users/me/Library/Python/3.12")
    assert layout.user_site(framework, "3.12.1", "darwin", windows=False) == (
        framework / "lib" / "python" / "site-packages"
    )


def test_cmd_is_asked_for_the_variables_after_a_batch_file() -> None:
    script = PureWindowsPath(r"C:\my envs\ds\etc\conda\activate.d\a.bat")
    assert batches.command(script) == (
        r'cmd.exe /d /u /s /c "call "C:\my envs\ds\etc\conda\activate.d\a.bat"'
        ' <nul >nul 2>nul & set"'
    )
    printed = "ü=1\r\nPath=C:\\x;C:\\y\r\nTWO=a\r\nb\r\nPROMPT=$P$G\r\n".encode("utf-16-le")
    assert batches.variables(printed) == {
        "ü": "1",
        "Path": r"C:\x;C:\y",
        "TWO": "a\nb",
        "PROMPT": "$P$G",
    }
    assert batches.merged({"PATH": r"C:\y"}, {"Path": r"C:\x", "PROMPT": "$P$G"}) == {
        "PATH": r"C:\x"
    }


def test_windows_has_batch_files_of_its_own(machine: Machine) -> None:
    prefix = machine.conda(
        machine.home / "envs" / "ds", scripts={"a.sh": "", "b.bat": "", "a.bat": ""}
    )
    names = [path.name for path in conda.scripts(prefix, "activate.d", windows=True)]
    assert names == ["a.bat", "b.bat"]
