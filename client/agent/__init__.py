"""An agent in the terminal: a language model that runs and mends files through the server.

It needs the extra `llm`. Only `command` and what it imports load that; `options` does not, so the
other commands start as fast without it.
"""
