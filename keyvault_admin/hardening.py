"""What a process that holds keys asks of the kernel: no core file, and no other process of its user reads its memory.

A fault must not write the sealing key to a disk. A limit, not an erasure: Python cannot wipe what it has copied.
"""

import ctypes
import resource
import sys

PR_SET_DUMPABLE = 4  # Source: prctl(2), linux/prctl.h


def harden() -> None:
    """Forbid core files for this process and all it starts; on Linux, shut its memory and environment to its user too.

    The second is lost by exec, so it is asked for where the program of a process starts, and by each child after fork.
    Raises: OSError when the kernel refuses: a process that cannot keep its keys to itself does not serve.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) was refused")
