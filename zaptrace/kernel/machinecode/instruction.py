"""What one machine instruction does to the flow of control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["plain", "call", "fork", "jump", "end", "trap"]
PLAIN: Kind = "plain"
CALL: Kind = "call"  # continues after it
FORK: Kind = "fork"  # continues after it, or at its target
JUMP: Kind = "jump"  # continues at its target only
TRAP: Kind = "trap"  # BUG() or WARN()
END: Kind = "end"  # returns, or jumps to where a register points


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Attributes:
        size: bytes.
        away: of a fork or jump: from its first byte to its target, bytes.
        relative: what it loads or stores lies relative to itself, and a kprobe
            that executes a copy of it elsewhere was seen to hang the kernel.
    """

    size: int
    kind: Kind = PLAIN
    away: int = 0
    relative: bool = False
