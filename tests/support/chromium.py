#!/usr/bin/env python3
"""Starts Chromium so that it does not hear of networks of the machine that come and go.

When an address of the machine changes, Chromium breaks off all of its requests with `ERR_NETWORK_CHANGED`, even those
to the machine itself. A container that is started or stopped meanwhile changes one. Linux tells of changes over sockets
of the family netlink, so Chromium is allowed none of these. Where libseccomp is missing or the system takes no filter,
it is started as it is.

The path of Chromium is in the environment variable `CHROMIUM`; the arguments are passed on.
"""

import ctypes
import errno
import os
import socket
import sys

ALLOW, REFUSE = 0x7FFF0000, 0x00050000
EQUAL = 4
"""Names of the C API, in `seccomp.h`."""


class Comparison(ctypes.Structure):
    """`scmp_arg_cmp`: one of the arguments of a system call, and what it is compared with."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("mask", ctypes.c_uint64),
    )


def refuse_netlink() -> None:
    """Have this process and its children get an error for every socket of the family netlink."""
    try:
        seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        return
    seccomp.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(ALLOW)))
    is_netlink = Comparison(argument=0, operator=EQUAL, value=socket.AF_NETLINK)
    call = seccomp.seccomp_syscall_resolve_name(b"socket")
    action = ctypes.c_uint32(REFUSE | errno.EAFNOSUPPORT)
    if seccomp.seccomp_rule_add_array(rules, action, call, 1, ctypes.byref(is_netlink)) == 0:
        seccomp.seccomp_load(rules)


if __name__ == "__main__":
    refuse_netlink()
    os.execv(os.environ["CHROMIUM"], [os.environ["CHROMIUM"], *sys.argv[1:]])
