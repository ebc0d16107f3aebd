"""What tests of zaptrace inspect share."""

from __future__ import annotations

import argparse

from zaptrace.cli import inspect
from zaptrace.model.findings import Finding, FindingClass, Owner

FREED = Finding(
    cls=FindingClass.REFCOUNT_BELOW_MAPCOUNT,
    pfn=2688,
    ptes=0,
    mapcount=1,
    refcount=0,
    flags=("uptodate", "swapbacked"),
    mappings=(Owner(29, "init", 0x3FFFFFFB000, "3ffffffb000-3ffffffc000 rw-p", 0xF9C000),),
    folio={"pfn": 2688, "order": 0, "kind": "other", "free": False},
    raw_mapcount=0,
    note="CPU 1 (init/29) is inside this mm's page tables, in unmap_page_range",
)


def parse(core: str, *options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    inspect.configure(parser)
    return parser.parse_args([core, "--vmlinux", "vmlinux", *options])
