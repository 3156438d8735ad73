"""What can be wrong with a notebook.

NotebookError
├── NotANotebook      the file's content cannot be read as one
├── NoSuchCell        a cell that was named is not there
├── BadEdit           an operation on cells that cannot be carried out
├── BadParameter      a parameter's name or value
└── Changed           somebody else has changed what an edit was made for
"""

from __future__ import annotations


class NotebookError(Exception):
    """The text is one or two sentences for the user. Nothing was changed."""


class NotANotebook(NotebookError):
    """The content is no notebook that can be read."""


class NoSuchCell(NotebookError):
    """There is no cell of that id, number or tag."""


class BadEdit(NotebookError):
    """An operation cannot be carried out; none of its call was."""


class BadParameter(NotebookError):
    """A parameter has a name or a value that cannot go into the notebook."""


class Changed(NotebookError):
    """A cell or the file is no longer as the caller saw it."""
