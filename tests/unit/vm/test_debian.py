"""Where Debian's packages come from, on Debian and elsewhere."""

from __future__ import annotations

import pytest

from vm import debian
from zaptrace.model.errors import Missing

UBUNTU = "Ubuntu\tUbuntu\thttp://mirror.example/ubuntu/\n"
DEBIAN = "Debian\tDebian\thttp://mirror.example/debian/\n"
SECURITY = "Debian\tDebian-Security\thttp://mirror.example/debian-security/\n"


def test_the_hosts_mirror_is_the_one_with_the_releases() -> None:
    assert debian.mirror_in(SECURITY + DEBIAN) == "http://mirror.example/debian/"
    assert debian.mirror_in(UBUNTU + DEBIAN) == "http://mirror.example/debian/"


@pytest.mark.parametrize(
    ("listed", "says", "fix"),
    [
        ("", "no index", "apt-get update"),
        ("\t\thttp://mirror.example/debian/\n", "no index", "apt-get update"),
        (UBUNTU, "only Ubuntu's", f"export {debian.VARIABLE}=http"),
    ],
)
def test_without_one_the_error_names_the_fix(listed: str, says: str, fix: str) -> None:
    with pytest.raises(Missing, match=says) as error:
        debian.mirror_in(listed)
    assert (error.value.hint or "").startswith(fix)


def test_a_mirror_that_was_named_is_taken_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # there is no apt to ask
    monkeypatch.setenv(debian.VARIABLE, "http://mirror.example/debian")
    assert debian.mirror() == "http://mirror.example/debian"
