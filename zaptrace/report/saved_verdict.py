"""A verdict and its surroundings out of the run's own files: what `verdict.json` says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zaptrace.model.clues import Clue
from zaptrace.model.errors import BadInput
from zaptrace.model.findings import Finding
from zaptrace.model.verdict import CodeSite, OrderStep, Sentence, Verdict, VerdictKind
from zaptrace.report.run_info import RunInfo
from zaptrace.report.splat_excerpt import kernels_words
from zaptrace.splat import parse_console


def verdict_of(document: dict[str, Any]) -> Verdict:
    """Return the inverse of `Verdict.to_json`, for what stands under `verdict`.

    Raises:
        BadInput: it is not a verdict.
    """
    try:
        data = dict(document["verdict"])
        sites = [{**one, "inline_chain": tuple(one["inline_chain"])} for one in data.pop("sites")]
        # Verdicts of 0.9 and before have a summary and no sentences.
        summary = {"text": data.pop("summary"), "rests_on": []}
        sentences = data.pop("sentences", [summary])
        made: dict[str, Any] = {
            "kind": VerdictKind(data.pop("kind")),
            "sentences": tuple(Sentence.from_json(one) for one in sentences),
            "order": tuple(OrderStep.from_json(one) for one in data.pop("order")),
            "sites": tuple(CodeSite(**one) for one in sites),
            "proof": tuple(Finding.from_json(one) for one in data.pop("proof")),
        }
        lists = {name: tuple(said) for name, said in data.items() if isinstance(said, list)}
        return Verdict(**{**data, **lists, **made})
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"verdict.json does not hold a verdict ({error})", "zaptrace explain RUN"
        ) from None


def info_of(document: dict[str, Any], *, machine: str, qemu: str, console: bytes) -> RunInfo:
    """Return what surrounds the verdict.

    Args:
        document: verdict.json.
        machine, qemu: as run.json has them.
        console: the console log, for the kernel's own words on the page.

    Raises:
        BadInput: it is not what `summary` made.
    """
    try:
        info = RunInfo(
            run=document["run"],
            arch=document["arch"],
            kernel_release=document["kernel_release"],
            build_id=document["build_id"],
            machine=machine,
            command=document["command"] or "",
            qemu=qemu,
            ended=document["ended"] or "",
            unseen=tuple(document["unseen"]),
            splats=document["splats"],
            events=document["events"],
            lost=document["lost"],
            findings=document["findings"],
            timing=dict(document["timing"]),
            triage=tuple(Clue.from_json(one) for one in document.get("triage", ())),
        )
        pfn, kind = document["verdict"]["pfn"], VerdictKind(document["verdict"]["kind"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"verdict.json lacks {error}", "zaptrace explain RUN") from None
    return replace(info, splat=kernels_words(console, parse_console(console), kind, pfn))
