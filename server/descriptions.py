"""What the model reads of each tool: when to use it, its limits, and what lives how long.

Not docstrings of the tools' functions, because FastMCP parses those with a library whose import
is a noticeable part of the start.
"""

DESCRIPTIONS = {
    "run_python": """\
Run a Python file of the projects directory as `python file.py args` would, in the
session's living kernel, and return its output, its plots and its exit code.

Use this for scripts. The script's folder is its working directory, `__name__` is
"__main__", and edited helper modules are read anew. Unlike with `python`, its variables
stay in the session afterwards, so run_code can look at them and the next script can use
loaded data. Matplotlib figures come back as images without any savefig. A run that takes
too long is interrupted, then its kernel is ended; the variables go back to the session's
last checkpoint, or are lost, and the last line of the result says which. With `background`
it outlives the call. Code in a kernel can do anything that the server's account can.""",
    "run_code": """\
Run Python code in the session's kernel like one notebook cell: the value of a last
expression is shown, top-level await works, and variables stay for the next run.

Use this for short steps, for looking at variables that a script left, and for plots of
loaded data. The working directory is the projects directory. For a file use run_python.""",
    "run_notebook": """\
Run a Jupyter notebook (.ipynb) of the projects directory, save its outputs in the file as
Jupyter would, and return a line for each cell with the whole output of the one that failed
and of the last.

Use this to run a whole notebook in a fresh kernel ("restart and run all"), or with `cells`
some of it in its living one. It stops at the first cell that fails unless `allow_errors`;
`parameters` go into a cell after the one tagged `parameters`. With `session` it shares the
variables of run_python and run_code. Other cells' output and images: get_output with the
run's id. `timeout` is for each cell. A .py file with `# %%` cells runs as a notebook, too.""",
    "read_notebook": """\
List the cells of a notebook (number, id, type, hash, first lines, outputs in a few words),
or show one cell whole.""",
    "edit_notebook": """\
Insert, replace, delete, move cells of a notebook, change their type, clear outputs; several
at once, all or none. With `create` it makes a new notebook.

Read the notebook first: give a cell's `hash` with what changes it, and nothing that somebody
else has written meanwhile is overwritten.""",
    "get_output": """\
Get what a run has written: the news of one in the background, or what did not fit into
a result.

With `run_id` alone: the result of a run that has ended, or the news since the last call of
one that goes on; `wait` waits for news. With `offset`: a page of its text from that character
on. With `image`: that image as large as can be. Outputs are kept until younger ones need the
room, at the latest until the server ends.""",
    "stop_run": """\
Interrupt what runs in a session (as Ctrl-C does). The variables stay when the program
obeys; a kernel that does not is restarted, and the answer says so.

Give `session` or `run_id`; with neither, the session is `default`.""",
    "list_sessions": """\
List the sessions: state, age, idle time, memory, Python, number of runs, and the checkpoint
to which each would go back, or why it has none.""",
    "list_environments": """\
List where sessions can run: conda environments, venvs, pyenv's Pythons, and kernelspecs of any
language, each with its name for `environment`, its version, and whether it can run kernels.""",
    "list_variables": """\
List the variables of a session: name, type, size or shape, and the value's beginning.

Works while a program runs, and is no run itself. Of objects that only their own code could
show, the type alone is told.""",
    "restart_session": """\
Give a session a fresh kernel: what runs in it is ended, its variables and its checkpoint
are lost.""",
    "close_session": """\
End a session and its kernel; what runs in it is ended and its variables are lost.""",
    "branch_session": """\
Make a second session with the same variables, to try two ways from one state.

Both go on apart; files, databases and the network are the same for both. It waits for the
session's turn. Where it cannot be done (threads, child processes, a GPU in use, not on
Linux) the answer says why, and the session is as it was.""",
    "rewind_session": """\
Take a session back to its last checkpoint: its variables are again what they were after an
earlier run, which the answer names.

The checkpoint is a recent one, at times that of the very last run: list_sessions says of which.
Branch a session before you try what may spoil its data. Only memory goes back: files,
databases and the network are not undone.""",
    "install_packages": """\
Install packages into the session's own environment, by conda, uv or pip as fits it.

Use this after a ModuleNotFoundError; the distribution may be called otherwise than the
module. A dry run comes first: a conflict is shown, and nothing is changed. The answer says
what was installed, and which sessions have imported what was replaced and need a restart.""",
    "list_files": """\
List the files of the projects directory, with sizes, at any depth.

Hidden folders and caches are left out.""",
    "read_file": """\
Read a text file of the projects directory; a long one in parts, by lines.""",
    "write_file": """\
Write a text file in the projects directory; folders on its way are made.

The file is written whole or not at all. An existing file is replaced only when
`overwrite` is set.""",
}
