"""`make founding-report`: the set-up that the founding bug was reported from, as it was.

The lab source with the batch zap in the configuration of Debian 12's own s390x kernel (no
modules), in a guest of 512 MB whose user space begins with modprobe: built, booted, explained,
and written into docs/founding-report.md.  It compiles for most of an hour, once: what an earlier
run has left in the cache is not done again, and the page then shows the seconds of the rest.  Exit
status is 1, and the page stays as it was, when the verdict is another one.
"""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

from tests.founding.page import page
from tests.machine import machine
from vm import initramfs, kernel_tree, labsource, stock
from zaptrace.arch import arch_named
from zaptrace.cli.output import progress
from zaptrace.model.progress import State, Update
from zaptrace.model.verdict import VerdictKind
from zaptrace.runs.repro import Request, repro

ARCH, SUITE = arch_named("s390x"), "12"
PAGE = Path("docs/founding-report.md")
SECONDS = 900.0
"""What the boot may take: a whole kernel, emulated, perhaps on a busy machine."""


def main() -> int:
    """Build, boot, explain, write."""
    done: list[Update] = []
    with progress() as shown:

        def listener(update: Update) -> None:
            shown(update)
            if update.state is State.DONE:
                done.append(update)

        debian = stock.fetch(SUITE, ARCH, listener)
        source = labsource.whole_source(listener)
        # Nobody works in that tree: it needs no mirror.
        objects = kernel_tree.objects_folder(source, ARCH) / "objects"
        ours = kernel_tree.Tree(source, ARCH, objects, debian.config)
        changes = kernel_tree.config_changes(ours)
        kernel = kernel_tree.build(ours, listener)
        request = Request(
            arch=ARCH.name,
            kernel=kernel.image,
            vmlinux=kernel.vmlinux,
            initrd=initramfs.build_early(ARCH),
            append="zapfault=batch",
            memory="512M",
            smp=1,
            timeout=SECONDS,
        )
        result = repro(request, listener)
    said = _report(Path(result.document["run"]), source)
    print(said)
    if result.verdict.kind is not VerdictKind.FREED_BEFORE_RMAP_REMOVED:
        return 1
    today = datetime.datetime.now(datetime.UTC).date()
    name = source.name.rpartition("-")[0]  # the rest is a hash
    PAGE.write_text(page(today, machine(), name, debian.release, changes, done, said))
    return 0


def _report(run: Path, source: Path) -> str:
    """What `zaptrace report` prints of a run, with the lines of its source."""
    argv = [sys.executable, "-m", "zaptrace", "report", str(run), "--source", str(source)]
    return subprocess.run(argv, check=False, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
