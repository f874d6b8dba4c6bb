"""Formats are parsed once, and found again by an equal string."""

import struct

import pytest

from mbuf import Pool


def test_an_equal_string_that_is_another_object_is_the_same_format(pool: Pool) -> None:
    with pool.getcl().append(bytes(range(100))) as m:
        for text in ("!HH", "".join(["!", "H", "H"]), "!" + "HH"):
            assert m.unpack(text, 20) == struct.unpack_from("!HH", bytes(range(100)), 20)


def test_more_formats_than_are_remembered(pool: Pool) -> None:
    data = bytes(range(250)) * 2
    with pool.getcl().append(data) as m:
        for _ in range(2):
            for n in range(1, 400):
                assert m.unpack(f"{n}s", 3) == (data[3 : 3 + n],)


def test_bytes_and_subclasses_of_str_are_formats_too(pool: Pool) -> None:
    class Text(str):
        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        __hash__ = str.__hash__

    with pool.getcl().append(bytes(range(100))) as m:
        for text in (b"!HH", Text("!HH")):
            assert m.unpack(text, 20) == struct.unpack_from("!HH", bytes(range(100)), 20)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "error"), [("!Q!", struct.error), ("nonsense", struct.error), (5, TypeError)])
def test_what_is_not_a_format_is_refused_again_and_again(pool: Pool, text: str, error: type[Exception]) -> None:
    with pool.getcl().append(bytes(100)) as m:
        for _ in range(2):
            with pytest.raises(error):
                m.unpack(text)
