"""`.env`: what a value may hold, and which line is named when it cannot be read."""

from __future__ import annotations

import io
import string
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv.parser import parse_stream
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "train/scripts/lib"))
from read_env_file import DotenvError, read_dotenv

NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,15}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


def quoted(value: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        value = value.replace(plain, escaped)
    return f'"{value}"'


@given(
    st.dictionaries(NAMES, TEXT, max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["", "\ufeff"]),
    st.sampled_from(["", "export "]),
)
def test_any_text_survives_double_quotes(values: dict[str, str], newline: str, mark: str, prefix: str) -> None:
    text = mark + "".join(f"{prefix}{key}={quoted(value)}{newline}" for key, value in values.items())
    assert read_dotenv(text.encode()) == values


@given(st.text(string.ascii_letters + string.digits + " #=$`()[],\\'\"|;&", max_size=30))
def test_unquoted_and_single_quoted_values_are_read_as_python_dotenv_reads_them(value: str) -> None:
    (theirs,) = parse_stream(io.StringIO(f"KEY={value}"))
    if value.lstrip()[:1] == '"' or (value.lstrip()[:1] == "'" and "\\" in value):
        return  # inside quotes a backslash means what a shell makes of it
    try:
        ours = read_dotenv(f"KEY={value}".encode())
    except DotenvError:
        # Stricter than theirs only about what follows a closing quote: `'a'#b` is surely not meant as a comment.
        assert theirs.error or value.lstrip().startswith("'")
        return
    assert not theirs.error
    assert ours == {"KEY": theirs.value}


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_dotenv_error(data: bytes) -> None:
    try:
        values = read_dotenv(data)
    except DotenvError as error:
        assert str(error).startswith(".env:")
        return
    assert all(isinstance(value, str) for value in values.values())


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("KEY=a b c", "a b c"),
        ("KEY = spaced ", "spaced"),
        ("KEY=", ""),
        ("KEY= # nothing", ""),
        ("KEY=#1", "#1"),
        ("KEY=a#b # c", "a#b"),
        ("  export KEY=x", "x"),
        ('KEY="a # b" # c', "a # b"),
        ("KEY='$(rm -rf /) `id` \\n'", "$(rm -rf /) `id` \\n"),
        ("KEY=$(rm -rf /)", "$(rm -rf /)"),
        (r'KEY="\$HOME \w"', r"$HOME \w"),
        ("KEY=[lm_head,embed_tokens]", "[lm_head,embed_tokens]"),
        ("KEY=a=b", "a=b"),
        ("KEY=Zürich", "Zürich"),
    ],
)
def test_a_value_is_text(line: str, value: str) -> None:
    assert read_dotenv(line.encode()) == {"KEY": value}


def test_the_last_of_two_equal_names_wins() -> None:
    assert read_dotenv(b"A=1\nB=2\nA=3\n") == {"A": "3", "B": "2"}


@pytest.mark.parametrize(
    "line",
    [
        "hf_secretsecret",
        'KEY="secretsecret',
        "KEY='secretsecret",
        'KEY="a" secretsecret',
        "2KEY=secretsecret",
        "A B=secretsecret",
    ],
)
def test_an_error_names_the_line_and_not_the_value(line: str) -> None:
    with pytest.raises(DotenvError, match=r"^\.env:3: ") as caught:
        read_dotenv(f"# one\r\nA=1\r\n{line}\r\n".encode())
    assert "secretsecret" not in str(caught.value)


def test_it_runs_without_any_package(tmp_path: Path) -> None:
    file = tmp_path / "a b.env"
    file.write_bytes(b"\xef\xbb\xbfA=1\r\nB='two words'\r\n")
    script = Path(__file__).resolve().parents[2] / "train/scripts/lib/read_env_file.py"
    output = subprocess.run([sys.executable, "-I", "-S", script, file], capture_output=True, check=True).stdout
    assert output == b"A=1\0B=two words\0"
