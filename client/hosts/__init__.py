"""Telling host programs, as Claude Desktop, of the server: in their files, or as a bundle."""
