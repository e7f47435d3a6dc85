"""The ranks of a job meet over 127.0.0.1, even a single one. A network namespace made by `unshare -n` begins with its
loopback down; that is found out here, and put right where it may be, instead of after two minutes of waiting.
"""

import fcntl
import socket
import struct

# <linux/sockios.h>, <linux/if.h>
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP = 0x1
PATIENCE_S = 2.0
REQUEST = struct.Struct("16sH14x")


def missing_loopback() -> list[str]:
    """What is missing of a loopback, after trying to bring it up (root in a namespace of its own may)."""
    if answers() or (bring_up() and answers()):
        return []
    return ["127.0.0.1 does not answer: the loopback interface is down; `ip link set lo up` brings it up"]


def answers() -> bool:
    """A bind succeeds on a loopback that is down, so it takes a connection to know."""
    with socket.socket() as listener, socket.socket() as caller:
        caller.settimeout(PATIENCE_S)
        try:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            caller.connect(listener.getsockname())
        except OSError:
            return False
    return True


def bring_up() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        try:
            _, flags = REQUEST.unpack(fcntl.ioctl(handle, SIOCGIFFLAGS, REQUEST.pack(b"lo", 0)))
            fcntl.ioctl(handle, SIOCSIFFLAGS, REQUEST.pack(b"lo", flags | IFF_UP))
        except OSError:
            return False
    return True
