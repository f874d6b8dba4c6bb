"""Every public method of an mbuf, with valid arguments for the packet that `packet` makes."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from chains import sample
from mbuf import EXT_NET_DRV, M_EOR, M_NOWAIT, Freed, Mbuf, Pool, RefCount, Tag
from mbuf.packet.cluster import Cluster
from packet.snapshot import fill_header
from public_names import c_only_names

#: Stands for an mbuf without a packet header, or with one, or with a cluster; for a tag that is on
#: the packet, or on none; for a cluster of its own; for the second mbuf of the packet.
MBUF, PACKET, STORED, TAG, NEW_TAG, CLUSTER, NEXT = (object() for _ in range(7))

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "addpages": (1, M_NOWAIT),
    "adj": (150,),
    "align": (150,),
    "append": (b"x" * 200,),
    "apply": (0, 150, lambda view: 0),
    "cat": (MBUF,),
    "catpkt": (PACKET,),
    "chtype": (1,),
    "cljset": (CLUSTER,),
    "clrprotoflags": (),
    "cmp": (sample(100) * 3,),
    "collapse": (2, M_NOWAIT),
    "compact": (M_NOWAIT,),
    "copyback": (150, b"x" * 200),
    "copydata": (50, 100),
    "copyinto": (bytearray(200), 10),
    "copym": (50, 100, M_NOWAIT),
    "copypacket": (M_NOWAIT,),
    "copyup": (150, 10),
    "defrag": (M_NOWAIT,),
    "demote": (False, M_EOR),
    "demote_pkthdr": (),
    "detach": (),
    "dup": (M_NOWAIT,),
    "dup_pkthdr": (PACKET, M_NOWAIT),
    "dupcl": (STORED,),
    "equals": (sample(100) * 3,),
    "extadd": (bytearray(200), None, None, None, 0, EXT_NET_DRV),
    "extaddref": (bytearray(200), RefCount()),
    "fill": (b"0123", 1, 2),
    "find": (b"nowhere", 10),
    "fixhdr": (),
    "fragment": (30, M_NOWAIT),
    "free": (),
    "free_notready": (1,),
    "freem": (),
    "getptr": (150,),
    "grow": (5,),
    "hexdump": (10, 150),
    "in_cksum": (150, 20),
    "insert": (150, MBUF, M_NOWAIT),
    "last": (),
    "length": (),
    "makespace": (150, 20),
    "mapped_to_unmapped": (150, 8192, M_NOWAIT),
    "move_pkthdr": (PACKET,),
    "pack": ("!H", 150, 7),
    "page": (0,),
    "prepend": (100, M_NOWAIT),
    "print": (150, io.StringIO()),
    "pulldown": (50, 100),
    "pullup": (150,),
    "remove": (150, 20, M_NOWAIT),
    "rfind": (b"nowhere", 10),
    "sanity": (),
    "segment": (50, M_NOWAIT),
    "split": (150, M_NOWAIT),
    "startswith": (sample(100) * 3,),
    "tag_copy_chain": (PACKET, M_NOWAIT),
    "tag_delete": (TAG,),
    "tag_delete_chain": (TAG,),
    "tag_delete_nonpersistent": (),
    "tag_find": (3, None),
    "tag_locate": (0, 3, None),
    "tag_prepend": (NEW_TAG,),
    "tag_unlink": (TAG,),
    "unlink": (NEXT,),
    "unmapped_compress": (),
    "unmapped_to_ext": (),
    "unpack": ("!H", 150),
    "unshare": (M_NOWAIT,),
}


def public() -> list[str]:
    """The public names of an mbuf, properties too, the same on both legs."""
    return sorted(name for name in dir(Mbuf) if not name.startswith("_") and name not in c_only_names(Mbuf))


def packet(pool: Pool) -> list[Mbuf]:
    """Three mbufs with 100 bytes each, the last two shared with the other one that is returned."""
    m = pool.gethdr().append(sample(100))
    fill_header(pool, m, sender=True)
    m.next = pool.getcl(flags=0).append(sample(100))
    m.next.next = pool.getcl(flags=0).append(sample(100))
    m.fixhdr()
    return [m, m.copypacket()]


@contextmanager
def resolved(pool: Pool, name: str, m: Mbuf) -> Iterator[list[Any]]:
    """The arguments for a method of `m`; those that still exist at the end are freed."""
    made = [_made(pool, thing, m) for thing in ARGUMENTS[name]]
    try:
        yield made
    finally:
        for thing in made:
            if isinstance(thing, Mbuf) and "freed" not in repr(thing):
                thing.freem()
            elif isinstance(thing, Cluster):
                with suppress(Freed):
                    thing.free()


def _made(pool: Pool, thing: Any, m: Mbuf) -> Any:
    if thing is TAG:
        tags: tuple[Tag, ...] = () if "freed" in repr(m) else m.tags
        return tags[0] if tags else pool.tag_get(4)
    if thing is PACKET:
        n = pool.gethdr().append(b"other")
        fill_header(pool, n, sender=True)
        return n
    if thing is NEW_TAG:
        return pool.tag_get(4)
    if thing is CLUSTER:
        return pool.cljget(None, size=2048)
    if thing is NEXT:
        return pool.get() if "freed" in repr(m) else m.next
    if thing is MBUF:
        return pool.get().append(b"other")
    return pool.getcl(flags=0).append(b"other") if thing is STORED else thing
