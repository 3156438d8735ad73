"""The code that runs inside a kernel, not in the server.

`launch.py` starts an ipykernel with it; the other modules know nothing of the server. Only the
standard library, IPython and ipykernel may be imported here, in syntax that Python 3.8 reads,
because a kernel may live in any environment.
"""
