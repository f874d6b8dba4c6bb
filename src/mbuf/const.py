"""Constants: sizes, flags and types, with the kernel's names and values (amd64, FreeBSD 13).

The comment beside a constant says what it means; the reference shows both. This module isn't compiled. A compiled
module that needs a constant as a C value imports it, and declares it in its `.pxd`.
"""

# Sizes in bytes.
PAGE_SIZE = 4096  #: A page of memory.
MSIZE = 256  #: An mbuf: its header, and the room for data or for the packet header and data.
MHSIZE = 32  #: The header of an mbuf.
MPKTHSIZE = 88  #: The header of an mbuf together with a packet header.
MLEN = MSIZE - MHSIZE  #: Room for data in an mbuf without a packet header and without external storage.
MHLEN = MSIZE - MPKTHSIZE  #: Room for data in an mbuf with a packet header and without external storage.
MINCLSIZE = MHLEN + 1  #: The least number of bytes for which a cluster is used.
MCLBYTES = 2048  #: A cluster.
MJUMPAGESIZE = PAGE_SIZE  #: A jumbo cluster of one page.
MJUM9BYTES = 9 * 1024  #: A jumbo cluster of 9 KiB, for jumbo frames.
MJUM16BYTES = 16 * 1024  #: A jumbo cluster of 16 KiB.
M_COPYALL = 1_000_000_000  #: As a length: all bytes up to the end of the chain.

# Whether an allocation may wait: `how`.
M_NOWAIT = 0x0001  #: Don't wait: raise `NoBufs` or `NoMemory` at once.
M_WAITOK = 0x0002  #: Wait until there is memory, or until the timeout.

# Flags of an mbuf: `m.flags`.
M_EXT = 0x000001  #: It has external storage: a cluster, memory of the program, or unmapped pages.
M_PKTHDR = 0x000002  #: It has a packet header, so it is the first mbuf of a packet.
M_EOR = 0x000004  #: A record ends with it.
M_RDONLY = 0x000008  #: Its data must not be written.
M_BCAST = 0x000010  #: The packet was sent or received as a link-level broadcast.
M_MCAST = 0x000020  #: The packet was sent or received as a link-level multicast.
M_PROMISC = 0x000040  #: The packet was received because the interface is promiscuous; it isn't for this host.
M_VLANTAG = 0x000080  #: `m.pkthdr.ether_vtag` is the VLAN tag of the frame.
M_EXTPG = 0x000100  #: Its data is in unmapped pages, and has no address.
M_NOFREE = 0x000200  #: The mbuf belongs to no zone: freeing it frees its storage only.
M_TSTMP = 0x000400  #: `m.pkthdr.rcv_tstmp` is the time of reception.
M_TSTMP_HPREC = 0x000800  #: That time is of high precision, mostly from the network card.
M_TSTMP_LRO = 0x001000  #: That time was set when packets were joined (LRO).
M_PROTO1 = 0x002000  #: For the protocol that has the packet, as the others of its kind.
M_PROTO2 = 0x004000  #: For the protocol that has the packet.
M_PROTO3 = 0x008000  #: For the protocol that has the packet.
M_PROTO4 = 0x010000  #: For the protocol that has the packet.
M_PROTO5 = 0x020000  #: For the protocol that has the packet.
M_PROTO6 = 0x040000  #: For the protocol that has the packet.
M_PROTO7 = 0x080000  #: For the protocol that has the packet.
M_PROTO8 = 0x100000  #: For the protocol that has the packet.
M_PROTO9 = 0x200000  #: For the protocol that has the packet.
M_PROTO10 = 0x400000  #: For the protocol that has the packet.
M_PROTO11 = 0x800000  #: For the protocol that has the packet.
M_NOTREADY = M_PROTO1  #: In a socket buffer: the data isn't there yet, because pages are still being read.
M_BLOCKED = M_PROTO2  #: In a socket buffer: an mbuf before it isn't ready.
M_PROTOFLAGS = 0xFFE000  #: All M_PROTO flags.
M_COPYFLAGS = 0xFFFCFE  #: The flags that are copied with a packet header.

# Types of mbufs: `m.type`.
MT_NOTMBUF = 0  #: Not an mbuf: what stands there in memory that was freed.
MT_DATA = 1  #: Data. The default.
MT_HEADER = MT_DATA  #: An older name of MT_DATA.
MT_VENDOR1 = 4  #: For vendors of systems.
MT_VENDOR2 = 5  #: For vendors of systems.
MT_VENDOR3 = 6  #: For vendors of systems.
MT_VENDOR4 = 7  #: For vendors of systems.
MT_SONAME = 8  #: The address of a socket.
MT_EXP1 = 9  #: For experiments.
MT_EXP2 = 10  #: For experiments.
MT_EXP3 = 11  #: For experiments.
MT_EXP4 = 12  #: For experiments.
MT_CONTROL = 14  #: Control data of a socket, such as descriptors: see `cmsg` in recvmsg(2).
MT_EXTCONTROL = 15  #: Control data in a form that the kernel keeps to itself.
MT_OOBDATA = 16  #: Urgent data: MSG_OOB.
MT_NOINIT = 255  #: Not a type: asks the kernel's constructor to leave the type alone. `Inval` here.

# Types of external storage: `m.ext.type`.
EXT_CLUSTER = 1  #: A cluster of 2 KiB.
EXT_SFBUF = 2  #: A mapped page of a file, or memory that is used like one.
EXT_JUMBOP = 3  #: A jumbo cluster of one page.
EXT_JUMBO9 = 4  #: A jumbo cluster of 9 KiB.
EXT_JUMBO16 = 5  #: A jumbo cluster of 16 KiB.
EXT_PACKET = 6  #: A cluster that came with its mbuf from the packet zone.
EXT_MBUF = 7  #: The data of another mbuf.
EXT_RXRING = 8  #: Memory of a receive ring.
EXT_VENDOR1 = 224  #: For vendors of systems.
EXT_VENDOR2 = 225  #: For vendors of systems.
EXT_VENDOR3 = 226  #: For vendors of systems.
EXT_VENDOR4 = 227  #: For vendors of systems.
EXT_EXP1 = 244  #: For experiments.
EXT_EXP2 = 245  #: For experiments.
EXT_EXP3 = 246  #: For experiments.
EXT_EXP4 = 247  #: For experiments.
EXT_NET_DRV = 252  #: Memory of a network driver. The default of `extadd`.
EXT_MOD_TYPE = 253  #: Memory of another module.
EXT_DISPOSABLE = 254  #: Memory that may be written, and is thrown away afterwards.
EXT_EXTREF = 255  #: Memory whose users are counted in a `RefCount` of the program.
EXT_FLAG_EMBREF = 0x000001  #: The count of users is in this mbuf, which is the owner: `m.ext.embedded`.

# Unmapped pages: M_EXTPG and `m.epg`.
MBUF_PEXT_HDR_LEN = 23  #: Most bytes of the header before the pages.
MBUF_PEXT_TRAIL_LEN = 64  #: Most bytes of the trailer after the pages.
MBUF_PEXT_MAX_PGS = 5  #: Most pages of an mbuf.
MBUF_PEXT_MAX_BYTES = MBUF_PEXT_MAX_PGS * PAGE_SIZE + MBUF_PEXT_HDR_LEN + MBUF_PEXT_TRAIL_LEN  #: Most bytes in all.
EPG_FLAG_ANON = 0x1  #: In `m.epg.flags`: the pages are memory that may be encrypted in place.
EPG_FLAG_2FREE = 0x2  #: In `m.epg.flags`: the mbuf waits for the TLS worker to free it.

# Packet headers: `m.pkthdr.csum_flags`.
CSUM_IP_UDP = 0x2  #: The UDP checksum is to be computed, over IPv4; if `tso_segsz` isn't 0, datagrams are to be cut.
CSUM_IP_TCP = 0x4  #: The TCP checksum is to be computed, over IPv4.
CSUM_IP_TSO = 0x10  #: The packet is to be cut into TCP segments of `m.pkthdr.tso_segsz` bytes of payload.
CSUM_IP6_UDP = 0x200  #: As CSUM_IP_UDP, over IPv6.
CSUM_IP6_TCP = 0x400  #: As CSUM_IP_TCP, over IPv6.
CSUM_IP6_TSO = 0x1000  #: As CSUM_IP_TSO, over IPv6.
CSUM_L4_CALC = 0x04000000  #: The checksum of TCP or UDP was checked.
CSUM_L4_VALID = 0x08000000  #: It is right.
CSUM_SND_TAG = 0x80000000  #: The field of the receive interface has a send tag.

# What a zone is asked to give back: uma_zone_reclaim.
UMA_RECLAIM_DRAIN = 1  #: All items in the depot.
UMA_RECLAIM_DRAIN_CPU = 2  #: Those, and all items in the caches of the CPUs.
UMA_RECLAIM_TRIM = 3  #: The items in the depot that weren't needed lately.

# Why memory is low: `vm.low`.
VM_LOW_KMEM = 1  #: Memory is severely low: all caches are emptied.
VM_LOW_PAGES = 2  #: There are few free pages: caches are trimmed.

# Packet tags: `tag.cookie`, and bits of `tag.id`.
MTAG_ABI_COMPAT = 0  #: The cookie of the ids below; other modules have cookies of their own.
MTAG_PERSISTENT = 0x800  #: A bit of an id: the tag stays when `tag_delete_nonpersistent` is called.

# Ids of packet tags, with the cookie MTAG_ABI_COMPAT: `tag.id`.
PACKET_TAG_NONE = 0  #: No tag.
PACKET_TAG_IPSEC_IN_DONE = 1  #: IPsec was applied to the packet on reception.
PACKET_TAG_IPSEC_OUT_DONE = 2  #: IPsec was applied to the packet before sending.
PACKET_TAG_IPSEC_IN_CRYPTO_DONE = 3  #: The network card did the cryptography on reception.
PACKET_TAG_IPSEC_OUT_CRYPTO_NEEDED = 4  #: The network card must do the cryptography before sending.
PACKET_TAG_IPSEC_IN_COULD_DO_CRYPTO = 5  #: The network card could have done the cryptography on reception.
PACKET_TAG_IPSEC_PENDING_TDB = 6  #: The packet waits for a security association of IPsec.
PACKET_TAG_BRIDGE = 7  #: The packet went through a bridge.
PACKET_TAG_GIF = 8  #: The packet went through a gif(4) tunnel.
PACKET_TAG_GRE = 9  #: The packet went through a gre(4) tunnel.
PACKET_TAG_IN_PACKET_CHECKSUM = 10  #: The network card checked the checksum.
PACKET_TAG_ENCAP = 11  #: The packet was encapsulated.
PACKET_TAG_IPSEC_SOCKET = 12  #: The socket whose IPsec policy is to be used.
PACKET_TAG_IPSEC_HISTORY = 13  #: What IPsec did to the packet.
PACKET_TAG_IPV6_INPUT = 14  #: What IPv6 input noted of the packet.
PACKET_TAG_DUMMYNET = 15  #: State of dummynet(4).
PACKET_TAG_DIVERT = 17  #: State of divert(4).
PACKET_TAG_IPFORWARD = 18  #: The next hop, if a firewall has chosen one.
PACKET_TAG_MACLABEL = 19 | MTAG_PERSISTENT  #: A label of mandatory access control: mac(4).
PACKET_TAG_PF = 21 | MTAG_PERSISTENT  #: State of pf(4).
PACKET_TAG_RTSOCKFAM = 25  #: The address family of a message of a routing socket.
PACKET_TAG_IPOPTIONS = 27  #: IP options that were saved.
PACKET_TAG_CARP = 28  #: State of carp(4).
PACKET_TAG_IPSEC_NAT_T_PORTS = 29  #: Two ports: IPsec through network address translation.
PACKET_TAG_ND_OUTGOING = 30  #: The packet is an outgoing message of neighbour discovery (IPv6).

# Types of send tags: `tag.type`.
IF_SND_TAG_TYPE_RATE_LIMIT = 0  #: A rate for one sender.
IF_SND_TAG_TYPE_UNLIMITED = 1  #: No rate.
IF_SND_TAG_TYPE_TLS = 2  #: TLS done by the network card.
IF_SND_TAG_TYPE_TLS_RATE_LIMIT = 3  #: TLS done by the network card, at a rate.
IF_SND_TAG_TYPE_MAX = 4  #: The number of types.

# Of this package; the kernel has no such number.
TRACEMALLOC_DOMAIN = 0x6D627566  #: The domain of a pool's pages in `tracemalloc`.
