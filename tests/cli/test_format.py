import pytest

from mbuf.cli.format import plural, printable, size


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1024.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (4 << 30, "4.0 GiB"),
        (3 << 40, "3.0 TiB"),
        (3 << 50, "3072.0 TiB"),
    ],
)
def test_a_size_has_the_largest_unit_that_fits(number: int, text: str) -> None:
    assert size(number) == text


def test_a_noun_is_singular_only_after_1() -> None:
    assert [plural(n, "ring") for n in (0, 1, 2)] == ["0 rings", "1 ring", "2 rings"]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("an ordinary name, größer 你", "an ordinary name, größer 你"),
        ("a\nb\tc\0", r"a\nb\tc\x00"),
        ("\x1b[2J\x9b\u202e", r"\x1b[2J\x9b\u202e"),
        ("\udc80\udcff", r"\x80\xff"),
        ("\ud800", r"\ud800"),
    ],
)
def test_characters_that_are_not_printable_are_escaped(text: str, escaped: str) -> None:
    assert printable(text) == escaped
