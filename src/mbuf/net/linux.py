"""What Linux has for sockets and Python has not, or only from 3.12 on: numbers here, calls in the `.pxd`.

Not compiled: a hot number is imported from here and declared in the `.pxd` of its user.
"""

SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104

SO_TIMESTAMPNS = 35
SO_RXQ_OVFL = 40

#: Bytes of the longest datagram, and of as many as come joined.
LONGEST = 65535
