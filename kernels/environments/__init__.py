"""Environments: the Pythons and kernelspecs of this machine that sessions can run in."""
