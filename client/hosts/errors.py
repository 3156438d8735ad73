"""Why a host cannot be connected."""

from __future__ import annotations


class HostError(Exception):
    """A host's configuration cannot be read, changed or written, or a setting is wrong. The file
    in question is as it was. The text is one or two sentences for the user."""
