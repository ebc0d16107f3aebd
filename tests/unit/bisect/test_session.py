"""What a bisect keeps, and whether it finds it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from zaptrace.model.errors import BadInput
from zaptrace.runs.bisect.session import Session, held, open_session
from zaptrace.runs.bisect.trial import Guest, Mark, Outcome
from zaptrace.runs.signature import Signature

BUG = Signature("freed_before_rmap_removed", "zap_pte_range")
OUTCOME = Outcome(Mark.BAD, "boot 1", 1, 1, BUG.kind, BUG.function, "/run")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def opened(good: str = "1" * 40, guest: Guest | None = None, config: Path | None = None) -> Session:
    guest = guest or Guest(initrd=Path("/root.cpio"))
    return open_session(Path("/linux"), good, "2" * 40, "s390x", guest, config)


def test_the_same_request_continues_where_it_was() -> None:
    session = opened()
    session.bug = BUG
    session.remember("3" * 40, OUTCOME)
    again = opened()
    assert again == session
    assert again.outcomes["3" * 40].signature == BUG
    assert again.guest.initrd == Path("/root.cpio")


def test_another_request_is_another_bisect(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("CONFIG_MMU=y\n")
    sessions = [opened(), opened("4" * 40), opened(guest=Guest(boots=9)), opened(config=config)]
    assert len({session.folder for session in sessions}) == 4
    assert sessions[3].source.config == sessions[3].folder / "config"
    assert sessions[0].source.config is None


def test_two_do_not_work_on_it_at_once() -> None:
    session = opened()
    with held(session), pytest.raises(BadInput, match="already under way"), held(session):
        pass
    with held(session):
        pass


@pytest.mark.parametrize("text", ["{", "[]", '{"tree": 1}', "null"])
def test_a_damaged_session_names_the_fix(text: str) -> None:
    session = opened()
    (session.folder / "session.json").write_text(text)
    with pytest.raises(BadInput, match="is damaged") as error:
        Session.load(session.folder)
    assert "rm -r" in (error.value.hint or "")
