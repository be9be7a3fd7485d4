"""A YAML file means what it says to a person, in whatever way it was saved; else it is refused with the line."""

import codecs
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.limited_memory import run_limited
from training.config.files import dump_config, load_config, parse_config, preset_names, read_values
from training.config.strict_yaml import dump_yaml, parse_yaml, read_yaml
from training.errors import TrainingError
from training.runs.folder import RunFolder
from training.tuning.space.reading import read_space
from training.tuning.spaces import SPACES

TEXT = "name: größe\nimages: 5\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        codecs.BOM_UTF16_LE + TEXT.replace("\n", "\r\n").encode("utf-16-le"),
    ],
    ids=["UTF-8", "UTF-8 with mark", "UTF-16", "UTF-16 big-endian", "UTF-32", "PowerShell"],
)
def test_every_unicode_encoding_is_read(tmp_path: Path, content: bytes) -> None:
    """PowerShell's > writes UTF-16, Notepad a mark before UTF-8."""
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    assert read_yaml(path) == {"name": "größe", "images": 5}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (TEXT.encode("latin-1"), ", line 1: the byte 0xf6 is not UTF-8; the file seems to be in Latin-1"),
        (b"a: 1\nb: 2\nc: \x80\n", ", line 3: the byte 0x80 is not UTF-8"),
        (TEXT.encode("utf-16-le")[:-1].replace(b"\xf6", b"o").replace(b"\xdf", b"s"), "UTF-16 without its mark"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8", " begins as UTF-16 and is not; save it as UTF-8"),
        (b"\xff\xd8\xff\xe0 a JPEG", ", line 1: the byte 0xff is not UTF-8"),
    ],
)
def test_another_encoding_is_refused_in_every_file_of_the_user(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    for read in (read_yaml, lambda path: load_config(str(path)), lambda path: read_space(str(path))):
        with pytest.raises(TrainingError, match=re.escape(sentence)):
            read(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: 2\na: 3", "x.yaml, line 3: a is set twice, before in line 1; remove one"),
        ("a: {b: 1, b: 2}", "x.yaml: b is set twice; remove one"),
        ("a:\n  b: 1\n  'b': 2", "x.yaml, line 3: b is set twice, before in line 2"),
        (
            "a: 1\nb: 064",
            "x.yaml, line 2: a number does not begin with 0, and YAML reads 064 as 52; write 64, or '064'",
        ),
        ("a: -010", "YAML reads -010 as -8; write -10, or"),
        ("a: 089", "a number does not begin with 0; write 89, or '089' in quotes for text"),
        ("a: [1, 00]", "YAML reads 00 as 0; write 0"),
        ("a: 1:30", "YAML reads 1:30 as a number to the base 60; write the number itself, or '1:30' in quotes"),
        ("a: 1:30.5", "YAML reads 1:30.5 as a number to the base 60"),
        ("a: 2024-01-31", "YAML reads 2024-01-31 as a date; write '2024-01-31' in quotes for text"),
        ("a: !!timestamp 2024-99-99", "x.yaml is not valid YAML"),
        ("a: !!bool maybe", "x.yaml is not valid YAML"),
        ("a: " + "9" * 5000, "x.yaml is not valid YAML: ValueError: Exceeds the limit"),
        ("[" * 5000, "x.yaml is not valid YAML: it is nested too deeply"),
        ("a: \0", "x.yaml is not valid YAML"),
        ("? [1]\n: 2", "x.yaml is not valid YAML"),
    ],
)
def test_what_would_silently_mean_something_else_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(TrainingError, match=re.escape(sentence)):
        parse_yaml(text, "x.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-5", -5),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0o17", 15),
        ("0b101", 5),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e-4", 1e-4),
        ("1E+3", 1000.0),
        ("-2.5e3", -2500.0),
        ("1.0e-05", 1e-5),
        (".inf", float("inf")),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("'064'", "064"),
        ("'1e-4'", "1e-4"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        ("16:9:x", "16:9:x"),
        ("=", "="),
        ("{a: &x {b: 1}, c: {<<: *x, b: 2}, d: {<<: *x}}", {"a": {"b": 1}, "c": {"b": 2}, "d": {"b": 1}}),
    ],
)
def test_values_are_what_they_look_like(text: str, value: Any) -> None:
    read = parse_yaml(text, "x.yaml")
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["064", "08", "1e5", "1:30", "2024-01-31", "no", "yes", "null", "", "#fff", "=", "a"])
def test_text_comes_back_as_text(text: str) -> None:
    written = dump_yaml({"name": text})
    assert parse_yaml(written, "x.yaml") == {"name": text}
    if text not in ("1e5", "08"):
        assert yaml.safe_load(written.replace("=", "a")) == {"name": text.replace("=", "a")}, "others read it the same"


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("seed=064", "--set seed: a number does not begin with 0, and YAML reads 064 as 52; write 64"),
        ("images=1:30", "--set images: YAML reads 1:30 as a number to the base 60"),
        ("data={resolution: 8, resolution: 16}", "--set data: resolution is set twice"),
        ("seed=true", "seed: input should be a number, not true"),
        ("seed=yes", "seed: input should be a valid integer"),
        ("regularization.r1=true", "regularization.r1: input should be a number, not true"),
        ("ema.half_lives=[true]", "ema.half_lives: input should be a number, not true"),
    ],
)
def test_settings_are_as_strict(setting: str, sentence: str) -> None:
    with pytest.raises(TrainingError, match=re.escape(sentence)):
        load_config("digits", [setting])


NINE = ",".join(["*a"] * 9)
LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{NINE.replace('*a', f'*a{level - 1}')}]\n" for level in range(1, 30)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{level}: &a{level}\n  <<: [{NINE.replace('*a', f'*a{level - 1}')}]\n" for level in range(1, 30)
)


@pytest.mark.parametrize("text", [LAUGHS, MERGES], ids=["lists", "merges"])
@pytest.mark.timeout(60)
def test_aliases_that_explode_are_refused(text: str) -> None:
    """Nine aliases of nine aliases …: 2 kB that mean 9²⁹ values. PyYAML copies each merge."""
    assert len(text) < 2048
    code = "try:\n    parse_yaml(sys.argv[1], 'x.yaml')\nexcept TrainingError as error:\n    print(error)"
    imports = "from training.config.strict_yaml import parse_yaml\nfrom training.errors import TrainingError"
    said = run_limited(imports, code, 64, text)
    assert re.fullmatch(r"x.yaml, line \d+: it holds more than 100000 values, each alias counted; write less", said)


@pytest.mark.parametrize(
    "text", ["a: &a [*a]", "a: &a {b: {c: *a}}", "a: &a [1, [2, *a], 3]", "a: &a\n  <<: *a", "? &k [*k]\n: 1"]
)
def test_a_value_that_contains_itself_is_refused(text: str) -> None:
    with pytest.raises(TrainingError, match="a value contains itself; write it without an alias"):
        parse_yaml(text, "x.yaml")


def test_aliases_that_people_write_are_read() -> None:
    text = "a: &a {x: 1}\nb: [*a, *a, &b [*a], *b, *b]\nc: *b"
    assert parse_yaml(text, "x.yaml") == yaml.safe_load(text)


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: 1\n" + "#" * 2**20)
    with pytest.raises(TrainingError, match=r"x.yaml has more than 1048576 bytes, and is no file of settings"):
        read_yaml(tmp_path / "x.yaml")


_YAML_LINES = st.lists(st.text("abc:-[]{}&*!<>|'\"#%@,? \t01\u2028\x85é", max_size=12), max_size=6).map("\n".join)


@settings(max_examples=400, deadline=None)
@given(_YAML_LINES | st.text(max_size=40))
def test_any_text_is_a_value_or_refused_in_one_line(text: str) -> None:
    assert_read_or_refused(lambda: parse_yaml(text, "x.yaml"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    assert_read_or_refused(lambda: read_yaml(path, "x.yaml"))


def assert_read_or_refused(read: Callable[[], Any]) -> None:
    refusal = "x.yaml"
    try:
        read()
    except TrainingError as error:
        refusal = str(error)
    assert refusal.startswith("x.yaml")
    assert "\n" not in refusal


def test_words_for_true_and_false_work_where_they_are_meant() -> None:
    config = load_config("digits", ["compile=yes", "augmentation.flip=off", "name=no", "data.background=#ffffff"])
    assert (config.compile, config.augmentation.flip, config.name) == (True, False, "no")
    assert config.data.background == "#ffffff"
    assert parse_config(parse_yaml(dump_config(config), "dump"), "dump") == config


def test_what_ships_reads_as_before() -> None:
    for preset in preset_names():
        parse_config(read_values(preset)[0], preset)
    for path in SPACES.glob("*.yaml"):
        read_space(path.stem)


def test_a_runs_own_configuration_is_as_strict(tmp_path: Path) -> None:
    text = dump_config(load_config("digits"))
    (tmp_path / "config.yaml").write_text(text + "seed: 1\n")
    with pytest.raises(TrainingError, match=r"config.yaml, line \d+: seed is set twice"):
        RunFolder.open(tmp_path)
