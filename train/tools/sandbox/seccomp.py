"""A seccomp filter: the system calls by which a program could use memory that nobody counts, or reach the host.

Namespaces hide the host's files, processes and network; resource limits bound a process. What neither covers is
refused here: memory that belongs to no process (memfd, System V segments), mounts and memory by way of a new user
namespace, sockets outside of the network namespace (AF_VSOCK reaches the host of a virtual machine), and the parts of
the kernel that sandboxes are left through (bpf, io_uring, keyrings, userfaultfd). A refused call fails with EPERM, or
with ENOSYS where a C library then takes another way.

Filters are classic BPF over `struct seccomp_data` {int nr; u32 arch; u64 ip; u64 args[6]}: seccomp(2), bpf(4).
"""

from __future__ import annotations

import errno
import platform
import struct
import sys

CLONE_NEWUSER = 0x10000000
SOCKET_FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6: these belong to the network namespace."""

# name → (x86_64, aarch64): asm/unistd_64.h and asm-generic/unistd.h
REFUSED = {
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
}
ABSENT = {
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "io_uring_setup": (425, 425),
    "clone3": (435, 435),  # its flags are behind a pointer; C libraries then call clone
}
SOCKET, CLONE = (41, 198), (56, 220)
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
X32 = 0x40000000
"""Numbers from here on are another table of x86_64's calls."""

_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_NR, _ARCH, _ARG0 = 0, 4, 16
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def filter_program() -> bytes:
    """The filter for this machine, as `bwrap --seccomp FD` reads it. Raises OSError on an unknown architecture."""
    machine = platform.machine()
    if machine not in ARCHITECTURES or sys.byteorder != "little":
        raise OSError(f"no table of system calls for {machine}: known are {', '.join(ARCHITECTURES)}")
    column, arch = ARCHITECTURES[machine]
    refuse, absent = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    code = [_op(_LOAD, _ARCH), _op(_EQUAL, arch, 1, 0), _op(_RETURN, _KILL), _op(_LOAD, _NR)]
    if machine == "x86_64":
        code += [_op(_AT_LEAST, X32, 0, 1), _op(_RETURN, absent)]
    for table, answer in ((REFUSED, refuse), (ABSENT, absent)):
        for numbers in table.values():
            code += [_op(_EQUAL, numbers[column], 0, 1), _op(_RETURN, answer)]
    code += [_op(_EQUAL, CLONE[column], 0, 4), _op(_LOAD, _ARG0), _op(_ANY_BIT, CLONE_NEWUSER, 0, 1)]
    code += [_op(_RETURN, refuse), _op(_RETURN, _ALLOW)]
    code += [_op(_EQUAL, SOCKET[column], 0, 2 + len(SOCKET_FAMILIES)), _op(_LOAD, _ARG0)]
    for place, family in enumerate(SOCKET_FAMILIES):
        code.append(_op(_EQUAL, family, len(SOCKET_FAMILIES) - place, 0))
    code += [_op(_RETURN, refuse), _op(_RETURN, _ALLOW)]
    return b"".join(code)


def _op(code: int, operand: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, jump_true, jump_false, operand)
