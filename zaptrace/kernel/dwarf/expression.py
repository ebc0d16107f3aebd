"""DWARF location expressions (DWARF 5, section 2.5) as places.

What has no place is said, not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from elftools.dwarf.dwarf_expr import DWARFExprOp

from zaptrace.arch import Byteorder
from zaptrace.kernel.dwarf.place import OPTIMISED_OUT, Place, Unavailable

_REGISTER = "DW_OP_reg"
_BASE_REGISTER = "DW_OP_breg"
_LITERAL = "DW_OP_lit"
_ENTRY_VALUE = ("DW_OP_entry_value", "DW_OP_GNU_entry_value")
_IMPLICIT_POINTER = ("DW_OP_implicit_pointer", "DW_OP_GNU_implicit_pointer")
_FIXED_ADDRESS = ("DW_OP_addr", "DW_OP_addrx", "DW_OP_GNU_addr_index")

Cfa = Callable[[], Place]
"""Finds the canonical frame address at the probe; called only where it is needed."""


class Evaluator:
    """Evaluates the expressions of one function at one address.

    Args:
        frame_base: the function's DW_AT_frame_base, parsed; empty when it has none.
        cfa: the canonical frame address as a place (its value is the address).
        byteorder: of DW_OP_implicit_value.
    """

    def __init__(self, frame_base: Sequence[DWARFExprOp], cfa: Cfa, byteorder: Byteorder) -> None:
        self._frame_base = frame_base
        self._cfa = cfa
        self._byteorder: Byteorder = byteorder

    def value(self, ops: Sequence[DWARFExprOp], size: int) -> Place:
        """Return the place of a variable's value.

        Args:
            size: of the variable, bytes.

        Raises:
            Unavailable: the compiler left nothing of it, or nothing that a
                register followed through memory can express.
        """
        if ops and ops[-1].op_name == "DW_OP_piece" and ops[-1].args == [size]:
            ops = ops[:-1]
        if not ops:
            raise Unavailable(OPTIMISED_OUT)
        for op in ops:
            if "piece" in op.op_name:
                raise Unavailable("split over several places")
            if op.op_name in _IMPLICIT_POINTER:
                raise Unavailable(f"{OPTIMISED_OUT}: a pointer to what is no longer in memory")
        last = ops[-1].op_name
        if last == "DW_OP_stack_value":
            return self._address(ops[:-1])
        if len(ops) == 1 and last == "DW_OP_implicit_value":
            return Place(None, addend=int.from_bytes(ops[0].args[0], self._byteorder))
        if len(ops) == 1 and (register := _register(ops[0])) is not None:
            return Place(register)
        return _load(self._address(ops), computed=False)

    def _address(self, ops: Sequence[DWARFExprOp]) -> Place:
        """Return what a DWARF stack machine has on top in the end."""
        stack: list[Place] = []
        for op in ops:
            pushed = self._push(op)
            if pushed is not None:
                stack.append(pushed)
            elif not stack:
                raise Unavailable(f"computed by {op.op_name}")
            elif op.op_name == "DW_OP_deref":
                stack.append(_load(stack.pop(), computed=True))
            elif op.op_name == "DW_OP_plus_uconst":
                stack.append(stack.pop().plus(op.args[0]))
            elif op.op_name in ("DW_OP_plus", "DW_OP_minus") and len(stack) > 1:
                right, left = stack.pop(), stack.pop()
                stack.append(_sum(left, right, op.op_name))
            elif op.op_name != "DW_OP_nop":
                raise Unavailable(f"computed by {op.op_name}")
        if len(stack) != 1:
            raise Unavailable("computed in a way that we do not understand")
        return stack[0]

    def _push(self, op: DWARFExprOp) -> Place | None:
        """Return what an operation puts on the stack out of nothing; None when it does not."""
        name = op.op_name
        if name in _ENTRY_VALUE:
            return self._at_entry(op.args[0])
        if name == "DW_OP_fbreg":
            return self._address(self._frame_base_ops()).plus(op.args[0])
        if name == "DW_OP_call_frame_cfa":
            return self._cfa()
        if name in _FIXED_ADDRESS:
            raise Unavailable("at a fixed address, which moves with KASLR")
        if name == "DW_OP_bregx":
            return Place(op.args[0]).plus(op.args[1])
        if name.startswith(_BASE_REGISTER):
            return Place(int(name.removeprefix(_BASE_REGISTER))).plus(op.args[0])
        if name.startswith(_LITERAL):
            return Place(None, addend=int(name.removeprefix(_LITERAL)))
        if name.startswith("DW_OP_const") and isinstance(op.args[0], int) and len(op.args) == 1:
            return Place(None, addend=op.args[0])
        return None

    def _frame_base_ops(self) -> Sequence[DWARFExprOp]:
        base = self._frame_base
        if any(op.op_name == "DW_OP_fbreg" for op in base):
            raise Unavailable("the frame base is counted from itself")
        if len(base) == 1 and (register := _register(base[0])) is not None:
            return [base[0]._replace(op_name=f"{_BASE_REGISTER}{register}", args=[0])]
        return base

    def _at_entry(self, ops: Sequence[DWARFExprOp]) -> Place:
        register = _register(ops[0]) if len(ops) == 1 else None
        if register is None:
            raise Unavailable("computed from what was true at the function's entry")
        return Place(register, at_entry=True)


def _register(op: DWARFExprOp) -> int | None:
    """Return the number in DW_OP_regN or DW_OP_regx; None when it is neither."""
    if op.op_name == "DW_OP_regx":
        return int(op.args[0])
    number = op.op_name.removeprefix(_REGISTER)
    return int(number) if op.op_name.startswith(_REGISTER) and number.isdigit() else None


def _load(place: Place, *, computed: bool) -> Place:
    """Return what lies where a place points.  DWARF means the memory as it is now, so a
    register's value at the entry does not help: it would be read too early."""
    if place.at_entry:
        raise Unavailable("in memory that a register pointed at when the function was entered")
    return place.load(computed=computed)


def _sum(left: Place, right: Place, operation: str) -> Place:
    sign = 1 if operation == "DW_OP_plus" else -1
    if right.register is None:
        return left.plus(sign * right.addend)
    if left.register is None and sign > 0:
        return right.plus(left.addend)
    raise Unavailable("computed from two registers")
