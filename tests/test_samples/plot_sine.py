"""Draws a sine and a cosine; the figure comes back as an image."""

import math

import matplotlib.pyplot as plt

xs = [i * 2 * math.pi / 200 for i in range(201)]

figure, axes = plt.subplots(figsize=(7, 4))
axes.plot(xs, [math.sin(x) for x in xs], label="sin(x)")
axes.plot(xs, [math.cos(x) for x in xs], label="cos(x)", linestyle="--")
axes.set_title("Sine and cosine")
axes.set_xlabel("x")
axes.grid(True, alpha=0.3)
axes.legend()

plt.show()
print("Plotted", len(xs), "points of each curve.")
