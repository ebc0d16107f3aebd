"""A user's configuration with ours merged in."""

from __future__ import annotations

from vm.ownconfig import difference, merged, parse, refused

THEIRS = """\
# Linux/s390 6.1 Kernel Configuration
CONFIG_LOCALVERSION="-mine"
# CONFIG_KPROBES is not set
CONFIG_NR_CPUS=64
CONFIG_DEBUG_INFO_DWARF4=y
"""
NEEDS = """\
# Why.
CONFIG_KPROBES=y
CONFIG_DEBUG_INFO_DWARF5=y
# CONFIG_DEBUG_INFO_REDUCED is not set
"""


def test_theirs_stays_but_for_what_we_need() -> None:
    config = parse(merged(THEIRS, NEEDS))
    assert config == {
        "CONFIG_LOCALVERSION": '"-mine"',
        "CONFIG_KPROBES": "y",
        "CONFIG_NR_CPUS": "64",
        "CONFIG_DEBUG_INFO_DWARF4": "y",
        "CONFIG_DEBUG_INFO_REDUCED": "n",
    }


def test_without_debug_information_it_gets_some() -> None:
    assert parse(merged("", NEEDS))["CONFIG_DEBUG_INFO_DWARF5"] == "y"


def test_the_difference_is_what_a_diff_would_say() -> None:
    after = merged(THEIRS, NEEDS).replace("CONFIG_NR_CPUS=64\n", "")
    assert difference(THEIRS, after) == [
        "-# CONFIG_KPROBES is not set",
        "+CONFIG_KPROBES=y",
        "-CONFIG_NR_CPUS=64",
    ]
    assert difference(THEIRS, THEIRS) == []


def test_what_kconfig_did_not_give_is_named() -> None:
    assert refused(NEEDS, THEIRS) == ["CONFIG_KPROBES"]
    assert refused(NEEDS, merged(THEIRS, NEEDS)) == []


def test_a_distributions_certificates_are_not_asked_of_other_sources() -> None:
    theirs = 'CONFIG_SYSTEM_TRUSTED_KEYS="debian/canonical-certs.pem"\n'
    lost = parse(merged(theirs, NEEDS, lambda name: False))
    assert lost["CONFIG_SYSTEM_TRUSTED_KEYS"] == '""'
    kept = parse(merged(theirs, NEEDS, lambda name: name == "debian/canonical-certs.pem"))
    assert kept["CONFIG_SYSTEM_TRUSTED_KEYS"] == '"debian/canonical-certs.pem"'
