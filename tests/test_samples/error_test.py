"""Ends in an uncaught error two calls deep: shows the traceback and exit code 1."""


def share(total, people):
    return total / people


def plan_party(guests):
    print(f"Planning a party for {guests} guests")
    slices = share(24, guests)
    print(f"{slices} slices each")  # not reached without guests


plan_party(8)
plan_party(0)
