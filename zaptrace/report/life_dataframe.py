"""A page's life as a pandas DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zaptrace.life.named_life import NamedLife
from zaptrace.model.errors import Missing

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    *("number", "cpu", "role", "field", "before", "after", "stored"),
    *("function", "source", "caller", "stack", "after_stop"),
)


def life_frame(named: NamedLife) -> pd.DataFrame:
    """Return one row a member that a store changed, in their order.

    The index `time` is since the recording began, as a Timedelta.  `before` is NA for the first
    store to a word.  `function` and `source` are the line that did it, `caller` the function that
    called it, `stack` every function, innermost first.  `stored` is False for what changed beside
    the store, unseen.

    Raises:
        Missing: there is no pandas.
    """
    try:
        import pandas as pd
    except ImportError:
        raise Missing("pandas is not installed", "pip install 'zaptrace[frames]'") from None
    rows: list[dict[str, Any]] = []
    times: list[int] = []
    for one in named.writes:
        functions = one.functions()
        author = one.author
        inner = functions.index(author.function) + 1 if author.function in functions else 1
        for change in one.write.changes:
            times.append(one.write.ns)
            rows.append(
                {
                    "number": one.write.number,
                    "cpu": one.write.cpu,
                    "role": one.role or None,
                    "field": change.name,
                    "before": change.before,
                    "after": change.after,
                    "stored": change.stored,
                    "function": author.function,
                    "source": author.source,
                    "caller": functions[inner] if len(functions) > inner else None,
                    "stack": functions,
                    "after_stop": one.write.after_stop,
                }
            )
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    for name in ("before", "after"):
        frame[name] = frame[name].astype("object").where(frame[name].notna(), pd.NA)
    frame.index = pd.TimedeltaIndex(pd.to_timedelta(times, unit="ns"), name="time")
    return frame
