"""Headlines that people and programs quote are no reports."""

from __future__ import annotations

import pytest

from zaptrace.splat import parse

REPORT = "BUG: Bad page state in process sh  pfn:00001"


@pytest.mark.parametrize(
    "line",
    [
        f"Subject: Re: {REPORT}",
        f"    This fixes the following report: {REPORT}",
        f"fix {REPORT}",
        f"we see {REPORT} and then nothing",
        f"{REPORT} was seen again",
        'mm/page_alloc.c:640:\tpr_alert("BUG: Bad page state in process %s  pfn:%05lx\\n",',
        'printk("BUG: Bad page map in process %s  pte:%08llx pmd:%08llx\\n", a, b, c);',
        f"root@box:~# echo '{REPORT}' > /dev/kmsg",
        f"root@box:~# grep {REPORT} /var/log/messages",
        f'$ dmesg | grep "{REPORT}"',
        f"Mar  5 09:07:35 box sshd[77]: {REPORT}",
        f"Mar  5 09:07:35 box logger: {REPORT}",
        f"2024-03-05T09:07:35.123456+01:00 box my-daemon: {REPORT}",
        f"Mar  5 09:07:35 box sudo: root : PWD=/ ; COMMAND=/usr/bin/grep {REPORT}",
        f"Mar  5 09:07:35 box kernel: audit: type=1300 msg='{REPORT}'",
        f"[    1.000000] my_module: saw {REPORT}",
        f"On 6.1.2 we hit: {REPORT}",
        "BUG: Bad page state",
        "I got this WARNING: CPU: 0 PID: 1 at mm/rmap.c:12 foo+0x1/0x2",
        "see WARNING: mm/rmap.c:12 at foo+0x1/0x2",
        "the page dumped because: nonzero mapcount",
        '{"_HOSTNAME": "box", "SYSLOG_IDENTIFIER": "cron", "_PID": "7", "MESSAGE": "'
        + REPORT
        + '"}',
    ],
)
def test_a_quoted_headline_is_no_report(line: str) -> None:
    assert parse(f"{line}\nand so on\n".encode()) == []


@pytest.mark.parametrize(
    "prefix",
    [
        " kernel:",
        "\ufeff",
        "Mar  5 09:07:35 box kernel:",
        "Mar  5 09:07:35 box kernel[0]: ",
        "[-- 09:07:35 --] ",
        "10:22:33 ttyS0: ",
        "1) ",
        "+ ",
    ],
)
def test_a_prefix_is_no_quote(prefix: str) -> None:
    (splat,) = parse(f"{prefix}{REPORT}\n".encode())
    assert (splat.kind, splat.process, splat.pfn) == ("bad_page_state", "sh", 1)


def test_what_the_terminals_of_a_host_get_is_said_once() -> None:
    (splat,) = parse(
        f"Message from syslogd@box at Mar  5 09:07:35 ...\n kernel:{REPORT}\n"
        f"Mar  5 09:07:35 box kernel: {REPORT}\n".encode()
    )
    assert splat.pfn == 1
