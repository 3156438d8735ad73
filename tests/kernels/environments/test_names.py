"""What may be asked for as a package: names with versions, and nothing that an installer, a shell
or a terminal would take for something else."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from kernels.environments.names import LONGEST, MOST, match_specs, requirements
from kernels.errors import BadRequest

Check = Callable[[Sequence[str]], tuple[str, ...]]
#: What gets to a command line begins so and is made of this; no path, address or option is.
SAFE = re.compile(r"""[A-Za-z0-9_][A-Za-z0-9 ._\-\[\],<>=!~;()'"*+|:]*""")
HOSTILE = [
    "",
    " ",
    "-r requirements.txt",
    "--index-url=https://evil.example/simple",
    "-e .",
    "--target=/tmp",
    "cowsay --pre",
    "cowsay -U",
    "cowsay\n--pre",
    "cowsay\r--pre",
    "cowsay\t--pre",
    "cowsay\x00",
    "cowsay\x1b[2J",
    "cowsay\u00a0rich",
    "cowsay\u2028rich",
    "сowsay",
    "cowsay rich",
    "cowsay @ https://evil.example/cowsay.whl",
    "cowsay@file:///etc",
    "git+https://evil.example/cowsay",
    "https://evil.example/cowsay.whl",
    "file:///tmp/cowsay",
    "./cowsay",
    "../cowsay",
    ".",
    "/tmp/cowsay",
    "~/cowsay",
    "C:\\cowsay",
    "\\\\host\\cowsay",
    "cowsay-6.1-py3-none-any.whl",
    "cowsay.zip",
    "cowsay.tar.gz",
    "cowsay.tar.bz2",
    "cowsay.conda",
    "requirements.txt",
    "pyproject.toml",
    "$(touch x)",
    "`touch x`",
    "cowsay; touch x",
    "cowsay && touch x",
    "cowsay | sh",
    "cowsay > /etc/passwd",
    "%PATH%",
    "cowsay===6.1",
    "cowsay#egg=x",
    "cowsay[=1]",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("check", [requirements, match_specs])
def test_what_is_no_name_is_refused_in_a_sentence_that_says_why(check: Check, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        # Among good ones it is found, too.
        check(["rich", text])
    words = str(caught.value)
    assert words.endswith("'cowsay>=6'.") and words.isascii() and words.isprintable()
    assert "nothing was installed" in words


@pytest.mark.parametrize(
    ("text", "checked"),
    [
        ("cowsay", "cowsay"),
        ("  cowsay  ", "cowsay"),
        ("scikit_learn", "scikit_learn"),
        ("ruamel.yaml", "ruamel.yaml"),
        ("discord.py", "discord.py"),
        ("cowsay >= 6, < 7", "cowsay<7,>=6"),
        ("cowsay(>=6)", "cowsay>=6"),
        ("torch==2.4.0+cpu", "torch==2.4.0+cpu"),
        ("numpy==1.*", "numpy==1.*"),
        ("pytz==1!2.0", "pytz==1!2.0"),
        ("uvicorn[standard]~=0.30", "uvicorn[standard]~=0.30"),
        ("tomli>=2; python_version < '3.11'", 'tomli>=2; python_version < "3.11"'),
    ],
)
def test_requirements_have_versions_extras_and_markers(text: str, checked: str) -> None:
    assert requirements([text]) == (checked,)


@pytest.mark.parametrize(
    ("text", "checked"),
    [
        ("numpy", "numpy"),
        ("_libgcc_mutex", "_libgcc_mutex"),
        ("numpy=1.26", "numpy=1.26"),
        ("numpy=1.26.*=py311h64a7726_0", "numpy=1.26.*=py311h64a7726_0"),
        ("numpy >=1.26, <2", "numpy>=1.26,<2"),
        ("numpy>=1.26|=1.20", "numpy>=1.26|=1.20"),
        ("conda-forge::numpy", "conda-forge::numpy"),
    ],
)
def test_match_specs_have_versions_builds_and_named_channels(text: str, checked: str) -> None:
    assert match_specs([text]) == (checked,)


@pytest.mark.parametrize("text", ["uvicorn[standard]", "numpy[version='>=1',url=x]"])
def test_a_match_spec_has_no_brackets(text: str) -> None:
    with pytest.raises(BadRequest, match="brackets"):
        match_specs([text])


@pytest.mark.parametrize("check", [requirements, match_specs])
def test_there_are_limits_of_number_and_length(check: Check) -> None:
    assert len(check([f"p{n}" for n in range(MOST)])) == MOST
    assert len(check(["p" * LONGEST])) == 1
    with pytest.raises(BadRequest, match=f"at most {MOST}"):
        check([f"p{n}" for n in range(MOST + 1)])
    with pytest.raises(BadRequest, match=f"at most {LONGEST}"):
        check(["p" * (LONGEST + 1)])
    with pytest.raises(BadRequest, match="at least one"):
        check([])


_PIECES = st.lists(
    st.sampled_from([*"-./\\:@;<>=!~|,*+[]()'\" \n\t$`#&%", "cowsay", "6.1", "http", "whl", "a"])
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.one_of(st.text(max_size=30), _PIECES.map("".join)))
def test_nothing_else_slips_in(text: str) -> None:
    for check in (requirements, match_specs):
        try:
            (word,) = check([text])
        except BadRequest:
            continue
        assert SAFE.fullmatch(word)
        assert "://" not in word
        if check is requirements:
            assert Requirement(word).url is None


_PLAIN = st.tuples(
    st.sampled_from(["a", "cowsay", "x1", "scikit-learn", "b-2"]),
    st.sampled_from(["", ">=", "==", "<", "!="]),
    st.integers(0, 99).map(str),
).map(lambda parts: "".join(parts if parts[1] else parts[:1]))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(_PLAIN)
def test_every_plain_requirement_is_taken_as_it_is(text: str) -> None:
    assert requirements([text]) == (text,)
    assert match_specs([text]) == (text,)
