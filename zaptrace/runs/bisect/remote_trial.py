"""A commit's trial on a worker of a cluster: `python -m zaptrace.runs.bisect.remote_trial FOLDER`.

FOLDER has `trial.json`, `pack` and what trial.json names; the outcome is left in it
(`outcome.json`), and the runs that matter are (`runs/`).  Exit status is 0 when the commit was
tried, 2 when this machine lacks something.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vm import host
from vm.kernel_tree import Tree, objects_folder
from zaptrace.arch import arch_named
from zaptrace.model.errors import ZaptraceError
from zaptrace.model.paths import write_whole
from zaptrace.model.progress import ignore
from zaptrace.runs.bisect import pack
from zaptrace.runs.bisect.seen_by import Sight, Wanted
from zaptrace.runs.bisect.trial import Guest, try_tree
from zaptrace.runs.signature import Signature


def main(folder: Path) -> int:
    """Try it."""
    asked = json.loads((folder / "trial.json").read_bytes())
    arch = arch_named(asked["arch"])
    initrd = folder / "initrd"
    guest = Guest(**asked["guest"], initrd=initrd if initrd.exists() else None)
    wanted = None
    if asked["bug"]:
        wanted = Wanted(Signature(**asked["bug"]), Sight.from_json(asked["sight"]))
    config, change = folder / "config", folder / "change.patch"
    try:
        with pack.worktree(folder / "pack", asked["ends"], asked["commit"]) as tree:
            if change.exists():
                host.output("git", "-C", str(tree), "apply", "--index", str(change))
            objects = objects_folder(tree, arch) / "objects"
            source = Tree(tree, arch, objects, config if config.exists() else None)
            outcome = try_tree(source, guest, wanted, folder / "runs", ignore)
    except ZaptraceError as error:
        sys.stderr.write(f"zaptrace: {error}\n")
        return 2
    write_whole(folder / "outcome.json", json.dumps(outcome.to_json()).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
