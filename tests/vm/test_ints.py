import pytest

from mbuf.vm.ints import clip, fold, integer, swapped


@pytest.mark.parametrize("number", [0, 1, -1, 2**31, 2**32, 2**63 - 1, -(2**63), True])
def test_a_number_of_64_bits_is_itself(number: int) -> None:
    assert clip(number) == number


@pytest.mark.parametrize(("number", "near"), [(2**63, 2**63 - 1), (10**100, 2**63 - 1), (-(2**63) - 1, -(2**63))])
def test_beyond_them_it_is_the_nearest(number: int, near: int) -> None:
    assert clip(number) == near


def test_whatever_has_an_index_is_a_number() -> None:
    class Two:
        def __index__(self) -> int:
            return 2

    assert clip(Two()) == 2


@pytest.mark.parametrize("thing", [1.0, "1", None, b"1", [1]])
def test_what_is_not_a_number_is_refused(thing: object) -> None:
    with pytest.raises(TypeError):
        clip(thing)


@pytest.mark.parametrize(
    ("sum_", "folded"),
    [(0, 0), (0xFFFF, 0xFFFF), (0x10000, 1), (0x1FFFF, 1), (0x1FFFE, 0xFFFF), (2**62 + 5, 2**14 + 5)],
)
def test_carries_are_folded_until_none_is_left(sum_: int, folded: int) -> None:
    assert fold(sum_) == folded


def test_two_bytes_change_places() -> None:
    assert [swapped(word) for word in (0, 1, 0x1234, 0xFF00)] == [0, 0x100, 0x3412, 0xFF]


@pytest.mark.parametrize("number", [0, -1, 2**31, -(2**63), 2**63, -(2**63) - 1, 10**100, True])
def test_an_argument_is_converted_as_any_number(number: int) -> None:
    assert integer(number, "len") == clip(number)


@pytest.mark.parametrize(
    ("what", "thing", "message"),
    [
        ("how", "wait", "how: give M_NOWAIT or M_WAITOK, not a str"),
        ("type", None, "type: give a number, such as MT_DATA, not None"),
        ("flags", [], "flags: give flags, such as M_PKTHDR, or 0, not a list"),
        ("len", 1.5, "len: give a whole number, not a float"),
        ("off", object(), "off: give a whole number, not an object"),
    ],
)
def test_what_is_no_number_is_refused_by_the_name_of_the_argument(what: str, thing: object, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        integer(thing, what)
    assert str(caught.value) == message
