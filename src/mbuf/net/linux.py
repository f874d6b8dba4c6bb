"""What Linux has for sockets and Python has not, or only from 3.12 on: numbers here, calls in the `.pxd`.

Not compiled: a hot number is imported from here and declared in the `.pxd` of its user.
"""

import os

SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104

SO_TIMESTAMPNS = 35
SO_RXQ_OVFL = 40
SO_MEMINFO = 55

SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_STATISTICS = 6
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
PACKET_MR_PROMISC = 1
ETH_P_ALL = 3
ETH_P_8021Q = 0x8100
#: Of a packet's auxiliary data: it has a VLAN tag, and the kernel tells of which kind.
TP_STATUS_VLAN_VALID = 0x10
TP_STATUS_VLAN_TPID_VALID = 0x40

SIOCGIFMTU = 0x8921

TUNSETIFF = 0x400454CA
IFF_TUN = 1
IFF_TAP = 2
IFF_NO_PI = 0x1000

#: Bytes of an interface's name, with the zero at its end.
IFNAMSIZ = 16

#: Bytes of the longest datagram, and of as many as come joined.
LONGEST = 65535

IOV_MAX = os.sysconf("SC_IOV_MAX")
