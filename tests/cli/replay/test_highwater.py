from mbuf.cli.replay.highwater import START, Moment


def test_a_moment_is_a_packet_and_a_capture_time() -> None:
    assert str(START) == "before the first packet"
    assert str(Moment(7, 1_234_500_000)) == "at packet 7, after 1.234 s of capture time"
