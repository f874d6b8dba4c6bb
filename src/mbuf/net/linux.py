"""Numbers of Linux that Python's modules don't have, or only from 3.12 on; the `.pxd` declares C functions and structs.

Not compiled: a number that a hot loop needs is imported from here and declared in the `.pxd` of its user.
"""

import errno
import os

#: The most pieces of memory that one call reads into or writes from: the kernel refuses more.
IOV_MAX = os.sysconf("SC_IOV_MAX")

#: Errors after which the same call may succeed a little later: the packet stays with its owner.
RETRY = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})
#: Errors that every later call would have too: of the descriptor or the program, not of the network. They are raised.
FATAL = frozenset({errno.EBADF, errno.EBADFD, errno.ENOTSOCK, errno.EFAULT, errno.EOPNOTSUPP})
#: The same for a call that receives.
FATAL_RECEIVE = FATAL | {errno.EINVAL, errno.ENOTCONN}

SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104

#: Not in the socket module, or not in that of Python 3.11.
IP_RECVERR = 11
IP_RECVTTL = 12
IP_RECVTOS = 13
IPV6_RECVERR = 25
#: The origin of a message of the error queue: this host, in the call itself.
SO_EE_ORIGIN_LOCAL = 1
#: The same: no error, but the time stamp of a message that was sent.
SO_EE_ORIGIN_TIMESTAMPING = 4

SO_TIMESTAMPNS = 35
SO_TIMESTAMPING = 37
SO_RXQ_OVFL = 40
SO_MEMINFO = 55
SO_COOKIE = 57

#: Flags of SO_TIMESTAMPING: the time of the network card for what it receives.
TIMESTAMPING_RX = 0x4 | 0x40
#: The time of the system or of the network card for what is sent, with a number and without the bytes.
TIMESTAMPING_TX = 0x2 | 0x10 | 0x80 | 0x800
TIMESTAMPING_TX_HARDWARE = 0x1 | 0x40

SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_STATISTICS = 6
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
PACKET_MR_PROMISC = 1
ETH_P_ALL = 3
ETH_P_8021Q = 0x8100
ETH_P_8021AD = 0x88A8
#: In the status of PACKET_AUXDATA: the frame had a VLAN tag, and its TPID is known.
TP_STATUS_VLAN_VALID = 0x10
TP_STATUS_VLAN_TPID_VALID = 0x40

SIOCGIFMTU = 0x8921

TUNSETIFF = 0x400454CA
IFF_TUN = 1
IFF_TAP = 2
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETHDRSZ = 0x400454D8
TUNSETVNETLE = 0x400454DC
#: What a program can do with the packets that it receives: TUNSETOFFLOAD. Linux 6.2 and newer have USO.
TUN_F_CSUM = 0x01
TUN_F_TSO = 0x02 | 0x04
TUN_F_USO = 0x20 | 0x40

#: Bytes of an interface's name, including the zero at its end.
IFNAMSIZ = 16

#: Bytes of the longest datagram, and of the datagrams that GRO coalesces into one message.
DATAGRAM_MAX = 65535
