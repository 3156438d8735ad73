"""Says hello to the world, or to the names given as arguments."""

import platform
import sys

names = sys.argv[1:] or ["World"]
for name in names:
    print(f"Hello, {name}!")

print(f"This is Python {platform.python_version()}.")
print(f"Arguments: {sys.argv[1:]}")
