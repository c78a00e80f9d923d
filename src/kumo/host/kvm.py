"""Does /dev/kvm really run guest code here?

That it exists, can be opened, or even runs a few instructions proves nothing: a nested or paravirtualised KVM may
hang, or interpret the guest's code at a thousandth of the speed. So three tiny guests are run, in a child process that
can be killed: one in real mode, one in long mode that writes memory, and one of four million instructions that must end
in time. Interface: Documentation/virt/kvm/api.rst of the kernel. Pure ioctl, no QEMU.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import platform
import select
import signal
import struct
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

DEVICE = "/dev/kvm"
TIMEOUT = 0.5
"""Seconds for all three guests; real hardware needs three hundredths."""

_GET_API_VERSION = 0xAE00
_CREATE_VM = 0xAE01
_GET_VCPU_MMAP_SIZE = 0xAE04
_GET_SUPPORTED_CPUID = 0xC008AE05
_CREATE_VCPU = 0xAE41
_SET_TSS_ADDR = 0xAE47
_RUN = 0xAE80
_SET_REGS = 0x4090AE82
_GET_SREGS = 0x8138AE83
_SET_SREGS = 0x4138AE84
_SET_USER_MEMORY_REGION = 0x4020AE46
_SET_CPUID2 = 0x4008AE90

_EXIT_IO = 2
_EXIT_HLT = 5
_MEMORY = 0x200000
_CODE_AT = 0x1000
_WRITES_AT = 0x8000
_PORT, _TOKEN = 0xE9, 0x42
_MAGIC = bytes.fromhex("efcdab8967452301")
_SAY_AND_HALT = bytes.fromhex("b042e6e9f4")  # mov al, 0x42; out 0xe9, al; hlt
_GUESTS = {
    "real mode": _SAY_AND_HALT,
    # mov rax, magic; mov [0x8000], rax
    "long mode": bytes.fromhex("48b8") + _MAGIC + bytes.fromhex("48a30080000000000000") + _SAY_AND_HALT,
    # mov ecx, 2000000; loop: dec ecx; jnz loop
    "speed": b"\xb9" + struct.pack("<I", 2_000_000) + bytes.fromhex("ffc975fc") + _SAY_AND_HALT,
}


@dataclass(frozen=True, slots=True)
class KvmProbe:
    """Whether guests run on hardware here, and why (not). `seconds`: how long finding out took."""

    usable: bool
    reason: str
    seconds: float = 0.0


def probe(timeout: float = TIMEOUT) -> KvmProbe:
    """Find out, in a child process that is killed when the time is over. Blocks for at most about `timeout` seconds."""
    began = time.monotonic()
    if platform.machine() != "x86_64":
        return KvmProbe(False, f"probing {platform.machine()} is not supported; guests are emulated")
    if not os.path.exists(DEVICE):  # noqa: PTH110
        return KvmProbe(False, f"{DEVICE} does not exist: no virtualisation extensions, or the module is not loaded")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return KvmProbe(False, f"{DEVICE} may not be opened by this user")
    read, write = os.pipe()
    # A fresh interpreter, not a fork: the process that asks has threads, and they may hold locks.
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", __file__],
        {"PATH": "/usr/bin:/bin"},
        file_actions=[(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_CLOSE, read)],
    )
    os.close(write)
    text = b""
    try:
        while (left := began + timeout - time.monotonic()) > 0:
            if not select.select([read], [], [], left)[0]:
                break
            piece = os.read(read, 4096)
            if not piece:
                break
            text += piece
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
    return _verdict(text.decode(errors="replace").splitlines(), time.monotonic() - began)


def begin(path: Path) -> None:
    """Start a probe whose result goes to the file at `path`, for `recorded`; it goes on when the caller ends.

    So that whoever prepares a start need not wait for it.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # belongs to the open file: held until the last who has it is gone
        actions = [(os.POSIX_SPAWN_DUP2, file.fileno(), 1)]
        pid = os.posix_spawn(
            sys.executable, [sys.executable, "-I", "-S", __file__, "--record"], os.environ, file_actions=actions
        )
    os.waitpid(pid, 0)


def recorded(path: Path) -> KvmProbe:
    """The result of the probe that `begin` started, waiting for its end; a probe of our own if there was none."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return KvmProbe(**json.load(file))
    except (FileNotFoundError, ValueError, TypeError):
        return probe()


def _verdict(lines: list[str], seconds: float) -> KvmProbe:
    """What the child's lines mean: one `<guest>: ok` or `<guest>: <why not>` each; the last guest may be missing."""
    for name in _GUESTS:
        line = next((text for text in lines if text.startswith(f"{name}: ")), None)
        if line is None:
            return KvmProbe(False, f"{name}: the guest did not end within {seconds:.2f} s", seconds)
        if line != f"{name}: ok":
            return KvmProbe(False, line, seconds)
    return KvmProbe(True, "guests run on hardware", seconds)


# -- the child --------------------------------------------------------------------------------------------------------


def _segment(registers: bytearray, offset: int, selector: int, kind: int, *, data: bool) -> None:
    """A flat segment for long mode: base 0, limit 4 GiB (struct kvm_segment)."""
    flags = (kind, 1, 0, int(data), 1, int(not data), 1, 0, 0, 0)
    struct.pack_into("QIH10B", registers, offset, 0, 0xFFFFFFFF, selector, *flags)


def _special_registers(vcpu: int, long_mode: bool) -> bytes:
    registers = bytearray(312)
    fcntl.ioctl(vcpu, _GET_SREGS, registers, True)
    if not long_mode:
        struct.pack_into("QIH", registers, 0, 0, 0xFFFF, 0)
        return bytes(registers)
    for index in range(6):
        _segment(registers, 24 * index, 16, 3, data=True)
    _segment(registers, 0, 8, 11, data=False)
    # cr0 (paging, protection, ...), cr2, cr3 (the tables below), cr4 (PAE), cr8, efer (LME, LMA)
    struct.pack_into("QQQQQQ", registers, 192 + 32, 0x80050033, 0, 0x2000, 0x20, 0, 0x500)
    return bytes(registers)


def _run_guest(code: bytes, long_mode: bool) -> str:
    """Run the code to its HLT; `ok`, or what happened instead."""
    kvm = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    if fcntl.ioctl(kvm, _GET_API_VERSION, 0) != 12:
        return "unknown version of the interface"
    machine = fcntl.ioctl(kvm, _CREATE_VM, 0)
    # The address does not fit the signed integer that Python's ioctl takes.
    ctypes.CDLL(None).ioctl(machine, ctypes.c_ulong(_SET_TSS_ADDR), ctypes.c_ulong(0xFFFBD000))
    memory = mmap.mmap(-1, _MEMORY)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(machine, _SET_USER_MEMORY_REGION, struct.pack("IIQQQ", 0, 0, 0, _MEMORY, address))
    vcpu = fcntl.ioctl(machine, _CREATE_VCPU, 0)
    shared = mmap.mmap(vcpu, fcntl.ioctl(kvm, _GET_VCPU_MMAP_SIZE, 0))
    cpuid = bytearray(struct.pack("II", 100, 0) + bytes(40 * 100))
    fcntl.ioctl(kvm, _GET_SUPPORTED_CPUID, cpuid, True)
    fcntl.ioctl(vcpu, _SET_CPUID2, cpuid, True)
    memory[_CODE_AT : _CODE_AT + len(code)] = code
    if long_mode:
        # Identity mapping of the first 2 MiB: one entry in each of three page tables.
        for at, entry in ((0x2000, 0x3003), (0x3000, 0x4003), (0x4000, 0x83)):
            memory[at : at + 8] = struct.pack("Q", entry)
    fcntl.ioctl(vcpu, _SET_SREGS, _special_registers(vcpu, long_mode))
    registers = bytearray(144)
    struct.pack_into("Q", registers, 16 * 8, _CODE_AT)  # rip
    struct.pack_into("Q", registers, 17 * 8, 2)  # rflags
    struct.pack_into("Q", registers, 6 * 8, 0x7000)  # rsp
    fcntl.ioctl(vcpu, _SET_REGS, bytes(registers))
    return _exits(vcpu, shared, memory, writes=_MAGIC in code)


def _exits(vcpu: int, shared: mmap.mmap, memory: mmap.mmap, *, writes: bool) -> str:
    said = False
    for _ in range(20):
        fcntl.ioctl(vcpu, _RUN, 0)
        reason = struct.unpack_from("I", shared, 8)[0]
        if reason == _EXIT_IO:
            _, _, port, _, offset = struct.unpack_from("BBHIQ", shared, 32)
            said = said or (port == _PORT and shared[offset] == _TOKEN)
        elif reason == _EXIT_HLT:
            if writes and memory[_WRITES_AT : _WRITES_AT + 8] != _MAGIC:
                return "the guest halted without having written its memory"
            return "ok" if said else "the guest halted without a word"
        else:
            return f"the guest stopped with KVM exit reason {reason}"
    return "the guest did not halt"


def _child() -> None:
    for name, code in _GUESTS.items():
        try:
            verdict = _run_guest(code, long_mode=name != "real mode")
        except OSError as error:
            verdict = str(error)
        os.write(1, f"{name}: {verdict}\n".encode())
        if verdict != "ok":
            break


def _record() -> None:
    if os.fork() == 0:  # whoever asked waits for the parent only
        os.write(1, json.dumps(asdict(probe())).encode())


if __name__ == "__main__":
    _record() if sys.argv[1:] == ["--record"] else _child()
