# SPDX-License-Identifier: GPL-2.0-or-later
#
# Make another process do a system call: what a program that was taken over
# would try.  By ptrace, on x86_64.

import ctypes
import os
import platform
import signal

from tap import Skip, until

GETREGS, SETREGS, ATTACH, DETACH, TO_SYSCALL = 12, 13, 16, 17, 24
REGISTERS = ('r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi '
             'orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs')
SYSCALL = b'\x0f\x05'
NONE = (1 << 64) - 1


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulong) for name in REGISTERS.split()]


def ptrace(request, pid, data=0):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                            ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), 'ptrace')


def status_of(pid):
    with open(f'/proc/{pid}/status', encoding='ascii') as file:
        return dict(line.rstrip('\n').split(':\t', 1) for line in file
                    if ':\t' in line)


def inject(pid, number, *args):
    """Have @pid, a child that sleeps in a system call, do call @number.

    Returns its result, or minus the signal that ended or stopped the process.
    """
    if platform.machine() != 'x86_64':
        raise Skip('knows the registers of x86_64 only')
    until(lambda: status_of(pid)['State'].startswith('S'), 'asleep')
    try:
        ptrace(ATTACH, pid)
    except OSError as error:
        raise Skip(f'no ptrace here: {error.strerror}') from None
    os.waitpid(pid, 0)
    registers, before = Registers(), Registers()
    ptrace(GETREGS, pid, ctypes.addressof(registers))
    ptrace(GETREGS, pid, ctypes.addressof(before))
    registers.rip -= len(SYSCALL)       # once more into where it sleeps
    registers.orig_rax = NONE           # and no restart of that
    registers.rax = number
    for name, value in zip(('rdi', 'rsi', 'rdx', 'r10'), args):
        setattr(registers, name, value)
    ptrace(SETREGS, pid, ctypes.addressof(registers))
    for _ in 'into it', 'out of it':
        ptrace(TO_SYSCALL, pid)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            return -os.WTERMSIG(status)
        if os.WSTOPSIG(status) != signal.SIGTRAP:
            ptrace(DETACH, pid, os.WSTOPSIG(status))
            return -os.WSTOPSIG(status)
    if int(status_of(pid)['SigPnd'], 16) & 1 << signal.SIGSYS - 1:
        ptrace(DETACH, pid)             # seccomp's answer waits
        return -signal.SIGSYS
    ptrace(GETREGS, pid, ctypes.addressof(registers))
    before.rip -= len(SYSCALL)          # and to sleep again
    before.rax, before.orig_rax = before.orig_rax, NONE
    ptrace(SETREGS, pid, ctypes.addressof(before))
    ptrace(DETACH, pid)
    return ctypes.c_long(registers.rax).value
