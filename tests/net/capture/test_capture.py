"""Capture: formats, iteration, views, streams, progress."""

import gzip
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mbuf.errors import CaptureError, Inval
from mbuf.net.capture.capture import WINDOW, Capture
from net import captures
from net.captures import PACKETS, plain, read

Write = Callable[[bytes], Path]

BOTH = pytest.mark.parametrize("content", [captures.pcap(), captures.pcapng()], ids=["pcap", "pcapng"])

# About 1.2 MB: several windows, with a record across each boundary.
MANY = [(n * 1_000_000, bytes([n % 256]) * (n % 1500), 1500) for n in range(1600)]


@contextmanager
def fifo(tmp_path: Path, pieces: list[bytes]) -> Iterator[Path]:
    """A FIFO to which another thread writes pieces."""
    path = tmp_path / "fifo"
    os.mkfifo(path)

    def fill() -> None:
        with path.open("wb", buffering=0) as file:
            for piece in pieces:
                file.write(piece)

    writer = threading.Thread(target=fill)
    writer.start()
    yield path
    writer.join()


@BOTH
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_the_format_is_recognized_by_the_content_not_by_the_name(
    write: Write, content: bytes, compress: Callable[[bytes], bytes]
) -> None:
    path = write(compress(content))
    with Capture(path) as capture:
        assert capture.path == str(path)
        assert capture.format == ("pcapng" if content == captures.pcapng() else "pcap")
        assert capture.linktype == 1
        assert capture.size == path.stat().st_size
        assert list(plain(capture)) == PACKETS


@BOTH
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_each_iteration_begins_at_the_first_packet(
    write: Write, content: bytes, compress: Callable[[bytes], bytes]
) -> None:
    with Capture(write(compress(content))) as capture:
        first = iter(capture)
        assert bytes(next(first)[1]) == b"one"
        assert list(plain(capture)) == PACKETS
        assert list(plain(capture)) == PACKETS
        assert list(plain(first)) == PACKETS[1:]


@pytest.mark.parametrize("build", [captures.pcap, captures.pcapng])
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_records_across_the_boundary_of_a_window_are_read(
    write: Write, build: Callable[..., bytes], compress: Callable[[bytes], bytes]
) -> None:
    assert len(build(MANY)) > 4 * WINDOW
    assert read(write(compress(build(MANY)))) == MANY


def test_a_packet_longer_than_a_window_is_read(write: Write) -> None:
    packets = [(0, bytes(3 * WINDOW), 3 * WINDOW), *PACKETS]
    content = captures.pcap(packets, snaplen=4 * WINDOW)
    assert read(write(content)) == packets
    assert read(write(gzip.compress(content))) == packets


def test_a_block_longer_than_a_window_is_read(write: Write) -> None:
    packets = [(0, bytes(3 * WINDOW), 3 * WINDOW), *PACKETS]
    blocks = b"".join(map(captures.enhanced, packets))
    content = captures.section() + captures.interface(snaplen=4 * WINDOW) + blocks
    assert read(write(content)) == packets
    assert read(write(gzip.compress(content))) == packets


def test_a_packet_of_a_plain_file_is_a_view_of_its_mapping(write: Write) -> None:
    with Capture(write(captures.pcap())) as capture:
        views = [data for _, data, _ in capture]
    assert all(isinstance(view, memoryview) and view.readonly for view in views)
    assert len({id(view.obj) for view in views}) == 1


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_views_stay_valid_after_the_iteration_and_close(write: Write, compress: Callable[[bytes], bytes]) -> None:
    path = write(compress(captures.pcap(MANY)))
    with Capture(path) as capture:
        packets = list(capture)
    path.unlink()
    assert list(plain(packets)) == MANY


def test_a_fifo_is_read(tmp_path: Path) -> None:
    with fifo(tmp_path, [captures.pcap(MANY)]) as path:
        assert read(path) == MANY


@BOTH
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_fifo_may_yield_single_bytes(tmp_path: Path, content: bytes, compress: Callable[[bytes], bytes]) -> None:
    pieces = [bytes([byte]) for byte in compress(content)]
    with fifo(tmp_path, pieces) as path, Capture(path) as capture:
        assert capture.size == 0
        assert list(plain(capture)) == PACKETS
        assert capture.position == len(pieces)


def test_a_packet_is_returned_before_the_writer_writes_the_next(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR)
    os.write(end, captures.pcap(PACKETS[:2]))
    with Capture(path) as capture:
        packets = iter(capture)
        assert bytes(next(packets)[1]) == b"one"
        assert bytes(next(packets)[1]) == b""
        os.write(end, captures.pcap_record(PACKETS[2]))
        assert bytes(next(packets)[1]) == b"three!!"
        os.close(end)
        assert next(packets, None) is None


def test_a_stream_is_iterated_only_once(tmp_path: Path) -> None:
    with fifo(tmp_path, [captures.pcap()]) as path, Capture(path) as capture:
        assert len(list(capture)) == 4
        with pytest.raises(CaptureError, match=f"^{path}: offset 354: is a stream"):
            next(iter(capture))


def test_a_view_of_a_stream_keeps_only_its_window(write: Write) -> None:
    with Capture(write(gzip.compress(captures.pcap(MANY)))) as capture:
        windows = {len(bytes(data.obj)) for _, data, _ in capture if data}
    assert max(windows) < 2 * WINDOW


def test_progress_is_counted_by_windows_and_exact_at_the_end(write: Write) -> None:
    content = captures.pcap(MANY)
    with Capture(write(content)) as capture:
        assert (capture.packets, capture.position) == (0, 24)
        seen = {(capture.packets, capture.position) for _ in capture}
        assert len(seen) > 4
        for packets, position in seen:
            assert position == len(captures.pcap(MANY[:packets]))
        assert (capture.packets, capture.position) == (len(MANY), len(content))


@pytest.mark.parametrize("build", [captures.pcap, captures.pcapng])
def test_progress_is_exact_after_an_iterator_is_closed(write: Write, build: Callable[..., bytes]) -> None:
    with Capture(write(build(MANY))) as capture:
        for n, _ in enumerate(capture, 1):
            if n == 1234:
                break
        assert capture.packets == 1234
        assert capture.position == len(build(MANY[:1234]))


def test_the_position_in_a_gzip_file_counts_compressed_bytes(write: Write) -> None:
    path = write(gzip.compress(captures.pcap(MANY)))
    with Capture(path) as capture:
        positions = sorted({capture.position for _ in capture})
        assert len(positions) > 2
        assert positions[-1] <= capture.size == capture.position == path.stat().st_size


def test_a_gzip_file_may_have_several_members_and_zeros_after_them(write: Write) -> None:
    content = captures.pcap()
    members = [gzip.compress(content[start : start + 100]) for start in range(0, len(content), 100)]
    assert read(write(b"".join(members))) == PACKETS
    assert read(write(b"".join(members) + bytes(1000))) == PACKETS
    assert read(write(members[0] + bytes(7) + b"".join(members[1:]) + bytes(2 * WINDOW))) == PACKETS
    assert read(write(gzip.compress(b"") + b"".join(members))) == PACKETS


def test_reading_a_closed_capture_raises_inval(write: Write) -> None:
    with Capture(write(captures.pcap())) as capture:
        pass
    with pytest.raises(Inval, match="is closed"):
        next(iter(capture))


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_close_ends_an_iteration_with_an_error(write: Write, compress: Callable[[bytes], bytes]) -> None:
    capture = Capture(write(compress(captures.pcap(MANY))))
    packets = iter(capture)
    next(packets)
    capture.close()
    with pytest.raises(ValueError, match=r"released|closed"):
        list(packets)
    capture.close()


def test_a_file_that_cannot_be_opened_raises_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Capture(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        Capture(tmp_path)


def test_a_descriptor_instead_of_a_path_raises_typeerror() -> None:
    descriptor: Any = 0
    with pytest.raises(TypeError):
        Capture(descriptor)
