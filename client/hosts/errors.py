"""Why a host cannot be connected."""

from __future__ import annotations


class HostError(Exception):
    """A host's configuration cannot be read, changed or written, or a setting is wrong. Nothing
    was changed then. The text is one or two sentences for the user."""
