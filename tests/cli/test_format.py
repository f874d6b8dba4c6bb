import pytest

from mbuf.cli.format import count, moment, plain, size
from mbuf.cli.replay.highwater import START, Moment


@pytest.mark.parametrize(
    ("number", "words"),
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
def test_sizes_are_said_in_the_unit_below_them(number: int, words: str) -> None:
    assert size(number) == words


def test_one_is_one_and_others_are_many() -> None:
    assert [count(n, "ring") for n in (0, 1, 2)] == ["0 rings", "1 ring", "2 rings"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("an ordinary name, größer 你", "an ordinary name, größer 你"),
        ("a\nb\tc\0", r"a\nb\tc\x00"),
        ("\x1b[2J\x9b\u202e", r"\x1b[2J\x9b\u202e"),
        ("\udc80\udcff", r"\x80\xff"),
        ("\ud800", r"\ud800"),
    ],
)
def test_plain_text_is_all_that_a_terminal_sees(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_moment_is_a_packet_and_a_time() -> None:
    assert moment(START) == "before the first packet"
    assert moment(Moment(7, 1_234_500_000)) == "at packet 7, after 1.234 s of capture time"
