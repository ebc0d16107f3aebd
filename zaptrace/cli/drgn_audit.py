"""The audit as a script for drgn: drgn -c VMCORE -s VMLINUX drgn_audit.py [--json].

For people who already sit in drgn; `zaptrace inspect --help` names its place.  It needs numpy
beside drgn, and finds zaptrace where it lies itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import drgn

if __name__ == "__main__":
    here = Path(__file__).resolve()
    # drgn puts the script's folder first: modules in it would hide Python's own of that name.
    others = [path for path in sys.path if Path(path).resolve() != here.parent]
    sys.path[:] = [str(here.parents[2]), *others]
    from zaptrace.audit import audit
    from zaptrace.report.audit_text import lines

    result = audit(drgn.get_default_prog()).result()
    if "--json" in sys.argv[1:]:
        print(json.dumps(result.to_json(), indent=2))
    else:
        print("\n".join(lines(result)))
