"""A few functions, some results, and checks that the results are right."""


def add(a, b):
    return a + b


def subtract(a, b):
    return a - b


def multiply(a, b):
    return a * b


def divide(a, b):
    if b == 0:
        raise ValueError("cannot divide by zero")
    return a / b


def mean(numbers):
    return divide(sum(numbers), len(numbers))


if __name__ == "__main__":
    print("7 + 5 =", add(7, 5))
    print("7 - 5 =", subtract(7, 5))
    print("7 * 5 =", multiply(7, 5))
    print("7 / 5 =", divide(7, 5))
    print("mean of 2, 3, 7 =", mean([2, 3, 7]))

    assert add(7, 5) == 12
    assert subtract(7, 5) == 2
    assert multiply(7, 5) == 35
    assert divide(7, 5) == 1.4
    assert mean([2, 3, 7]) == 4
    try:
        divide(1, 0)
    except ValueError as error:
        print("1 / 0:", error)
    else:
        raise AssertionError("dividing by zero was accepted")
    print("All checks passed.")
