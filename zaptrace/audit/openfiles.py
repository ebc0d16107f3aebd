"""The files that processes have open, by what kind of file they are."""

from __future__ import annotations

from dataclasses import dataclass

import drgn
from drgn.helpers.linux.fs import for_each_file
from drgn.helpers.linux.pid import for_each_task

from zaptrace.audit.optional import is_broken

UNKNOWN = "?"
"""The kind of a file whose file_operations have no symbol: a module's, without debug info."""

_MOST_FILES = 1 << 20


@dataclass(frozen=True, slots=True)
class OpenFile:
    """One open file.

    Attributes:
        obj: `struct file *`.
        kind: name of its file_operations, `pipefifo_fops`.
        pid: of a process that has it open.
    """

    obj: drgn.Object
    kind: str
    pid: int


class OpenFiles:
    """All open files of a kernel.

    Attributes:
        files: each file once.
        complete: every task's files could be read.
    """

    def __init__(self, prog: drgn.Program) -> None:
        self._prog = prog
        self._names: dict[int, str] = {}
        self.complete = True
        self.files = self._find()

    def of_kinds(self, *kinds: str) -> list[OpenFile]:
        """Return the files of some kinds."""
        return [one for one in self.files if one.kind in kinds]

    def kinds(self) -> set[str]:
        """Return the kinds that occur."""
        return {one.kind for one in self.files}

    def _find(self) -> tuple[OpenFile, ...]:
        found: dict[int, OpenFile] = {}
        tables: set[int] = set()
        try:
            for task in for_each_task(self._prog):
                self._add_files_of(task, tables, found)
                if len(found) >= _MOST_FILES:
                    self.complete = False
                    break
        except Exception as error:
            if not is_broken(error):
                raise
            self.complete = False
        return tuple(found.values())

    def _add_files_of(
        self, task: drgn.Object, tables: set[int], found: dict[int, OpenFile]
    ) -> None:
        try:
            table = task.files.value_()
            if not table or table in tables:  # threads share one
                return
            tables.add(table)
            pid = task.tgid.value_()
            for number, (_, file) in enumerate(for_each_file(task)):
                address = file.value_()
                if address not in found:
                    found[address] = OpenFile(file, self._kind(file.f_op.value_()), pid)
                if number >= _MOST_FILES:
                    break
        except Exception as error:
            if not is_broken(error):
                raise
            self.complete = False

    def _kind(self, operations: int) -> str:
        if operations not in self._names:
            try:
                self._names[operations] = self._prog.symbol(operations).name
            except LookupError:
                self._names[operations] = UNKNOWN
        return self._names[operations]
