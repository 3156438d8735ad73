"""Programs like those that people run, whose looks are kept as pictures."""

from __future__ import annotations

from typing import Any

#: Goes on when a file is there.
UNTIL = """
import pathlib, time
def until(name):
    while not pathlib.Path(name).exists(): time.sleep(0.02)
"""

#: A figure and a table, and then work that goes on.
FIT = """\
import numpy as np, pandas as pd, matplotlib.pyplot as plt
data = pd.read_csv("decay.csv")
rate, start = np.polyfit(data.hours, np.log(data.activity), 1)
print(f"{len(data)} measurements, half-life {np.log(2) / -rate:.2f} h")
figure, axes = plt.subplots(figsize=(7, 2.5), layout="constrained")
axes.plot(data.hours, data.activity, ".", color="#0b6b63", label="measured")
axes.plot(data.hours, np.exp(start + rate * data.hours), color="#a8321f", label="fitted")
axes.set(xlabel="hours", ylabel="activity (kBq)"); axes.legend(frameon=False); plt.show()
display(data.groupby(data.hours // 4 * 4).activity.agg(["count", "mean", "std"]).round(3).head(3))
for n in range(1, 641): print(f"\\rbootstrap: {n} of 1000", end="", flush=True)
until("fit")
print()
"""
DECAY = """
rng = np.random.default_rng(7)
hours = np.linspace(0, 12, 60).round(2)
activity = (3.2 * np.exp(-hours / 4.1) * rng.normal(1, .05, 60)).round(4)
pd.DataFrame({"hours": hours, "activity": activity}).to_csv("decay.csv", index=False)
"""

#: Each form of output once.
FORMS = r"""
from IPython.display import HTML, SVG, Latex, Markdown, display
figure, axes = plt.subplots(figsize=(6, 2.4)); axes.plot(np.sin(np.arange(60) / 6)); plt.show()
display(pd.DataFrame({"city": ["Oslo", "Quito", "Hanoi"], "people": [709_037, 1_763_275, 8_053_663],
                      "share": [.128, .098, .081]}))
display(SVG('<svg xmlns="http://www.w3.org/2000/svg" width="420" height="90">'
            '<rect width="420" height="90" rx="8" fill="#e1eeea"/>'
            '<path d="M20 70 Q120 0 210 50 T400 20" fill="none" stroke="#0b6b63"/></svg>'))
display(Latex(r"$$\hat\beta = (X^\top X)^{-1} X^\top y, \quad \sum_{i=1}^n \frac{1}{i^2}$$"))
display(Markdown("### What was found\n\nThe **second** model fits *better*:\n\n- fewer parameters\n"
                 "- a smaller error, `0.031`\n\n> Both need more data.\n\n"
                 "| model | error |\n|---|--:|\n| one | 0.052 |\n| two | 0.031 |"))
display(HTML("<style>body {font: 16px sans-serif; margin: 12px} button {padding: 6px 12px}</style>"
             "<h3>In a frame of its own</h3><p>Pressed <b id=n>0</b> times.</p>"
             "<button onclick='n.textContent = +n.textContent + 1'>Press</button>"))
{"alpha": 0.05, "folds": [1, 2, 3], "scores": {"train": 0.981, "test": 0.934}}
"""

#: Ends in an error three calls deep, with words on both streams before.
FAILS = """\
import sys

RATES = {"EUR": 1.0, "USD": 1.09}


def converted(amount, currency):
    return amount / RATES[currency]


def total(orders):
    return sum(converted(order["amount"], order["currency"]) for order in orders)


orders = [{"amount": 20, "currency": "EUR"}, {"amount": 12, "currency": "GBP"}]
print(f"{len(orders)} orders")
print("warning: 1 order has no date", file=sys.stderr)
print(total(orders))
"""

#: Output that grows, with a progress bar of its own kind.
GROWS = """
for day in range(1, 13):
    print(f"2026-03-{day:02}  {day * 137 % 900 + 100:>5} rows  ok", flush=True)
for n in range(64):
    bar = "█" * (n // 3) + "░" * (33 - n // 3)
    print(f"\\rwriting {n:>3} % {bar} {n * 1200:,} of 120,000", end="", flush=True)
until("grows")
print()
"""

#: 100 MB.
LARGE = """
line = "measured in the night, station {:>9}: 12.25 degrees, 1013 hPa, wind from north-west\\n"
for n in range(0, 1_200_000, 1000): print("".join(line.format(n + k) for k in range(1000)), end="")
"""

LONG_NAME = "a-session/of.a.department " + "with-a-very-long-name" * 3 + "/and a bit"
LONG_FILE = "reports/2026/" + "quarterly_revenue_by_region_and_product_" * 3 + "final.py"
LONG_LINE = f"the_result_of_everything = {[f'value number {n}' for n in range(40)]}"


def notebook(*cells: tuple[str, str]) -> dict[str, Any]:
    """A notebook of Markdown and code cells."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {
                "cell_type": kind,
                "id": f"cell-{number}",
                "metadata": {},
                "source": source,
                **({"outputs": [], "execution_count": None} if kind == "code" else {}),
            }
            for number, (kind, source) in enumerate(cells)
        ],
    }


#: Of which the second piece of code fails, and the third goes on.
CELLS = notebook(
    ("markdown", "# Monthly report"),
    ("code", "import pandas as pd\nsales = pd.Series({'May': 120, 'June': 90})\nprint(sales)"),
    ("code", "# The year before is missing\nsales / last_year"),
    ("code", UNTIL + "print('drawing', flush=True)\nuntil('cells')"),
    ("code", "sales.plot()"),
    ("code", "print('saved')"),
)
