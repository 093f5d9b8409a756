"""Numbers as the words of a sentence, and tables whose columns have words for names.

Plain text: what comes out is what stands on the page. A number on its own needs no function, only its digits
(`f"{value:.2f}"`), and an estimate says itself (`statistics.Estimate.text`).
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

_WORDS = re.compile(r"[^\W\d_]{2,} [^\W\d_]{2,}")  # two of them in a row

# What stands over a column, with its unit. The names are those of `tables`.
COLUMNS = {
    "n_patches": "patches n",
    "depth": "layers d",
    "where": "at",
    "loss": "loss (nats)",
    "train_loss": "training loss (nats)",
    "test_accuracy": "test accuracy",
    "lambda_max": "λ_max(H) (nats/rad²)",
    "lambda_max_phi": "λ_max(H) on φ (nats/rad²)",
    "gauss_newton": "λ_max(G) (nats/rad²)",
    "gauss_newton_phi": "λ_max(G) on φ (nats/rad²)",
    "gauss_newton_bias": "λ_max(G) on the bias (nats/rad²)",
    "t1": "bound T1 (nats/rad²)",
    "t2": "bound T2 (nats/rad²)",
    "t3_bias": "bound T3 (nats/rad²)",
    "max_coverage": "μ",
    "coherence": "coherence ρ",
    "classes": "classes C",
    "gap": "width of the gap",
    "gradient": "gradient norm (nats/rad)",
}


def number(value: float, digits: str = ".2f") -> str:
    """Writes a number with a minus sign, not a hyphen, where it is negative.

    Args:
        value: the number.
        digits: how it is written, as in a format string.

    Returns:
        The text.

    >>> number(-0.273), number(3, "+d")
    ('−0.27', '+3')
    """
    text = f"{value:{digits}}"
    return f"−{text[1:]}" if text.startswith("-") else text


def span(values: Iterable[float], digits: str = ".2f") -> str:
    """Says from where to where values go.

    Args:
        values: at least one.
        digits: how a number is written, as in a format string.

    Returns:
        "smallest to largest", or one number where both are written alike.

    >>> span([0.31, 0.2, 0.25])
    '0.20 to 0.31'
    >>> span([0.201, 0.2]), span([-1.5, 2], ".1f")
    ('0.20', '−1.5 to 2.0')
    """
    values = list(values)
    low, high = (number(end(values), digits) for end in (min, max))
    return low if low == high else f"{low} to {high}"


def power(value: float, digits: int = 0) -> str:
    """Writes a small or large number with a power of ten.

    Args:
        value: not zero for a power to be seen.
        digits: after the point of the factor.

    Returns:
        "factor·10ⁿ".

    >>> power(2.83e-05, 1), power(3e-14), power(1.2e12)
    ('2.8·10⁻⁵', '3·10⁻¹⁴', '1·10¹²')
    """
    factor, exponent = f"{value:.{digits}e}".split("e")
    return f"{factor}·10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def share(cases: Iterable[Any]) -> str:
    """Says how many cases are true.

    Args:
        cases: true or false each.

    Returns:
        "k of N".

    >>> share([True, False, True])
    '2 of 3'
    """
    cases = [bool(case) for case in cases]
    return f"{sum(cases)} of {len(cases)}"


def listed(values: Iterable[float], digits: str = ".2f") -> str:
    """Says values in their order.

    Args:
        values: any number.
        digits: how a number is written.

    Returns:
        The values with commas between them.

    >>> listed([1, 0.5])
    '1.00, 0.50'
    """
    return ", ".join(number(value, digits) for value in values)


def each(values: Mapping[Any, Any] | pd.Series, name: str, digits: str = ".2f") -> str:
    """Says a value for each case.

    Args:
        values: by case, in the order in which they are to be said. What is text already is said as it is.
        name: of the case; of several where a case is a tuple, with a space between them.
        digits: how a number is written.

    Returns:
        "value (name = case), value (name = case), ...".

    >>> each({4: 0.8, 9: 0.7}, "n")
    '0.80 (n = 4), 0.70 (n = 9)'
    >>> each({(4, 2): "0.8 [0.7, 0.9]"}, "n d")
    '0.8 [0.7, 0.9] (n = 4, d = 2)'
    """
    names = name.split()
    texts = []
    for case, value in values.items():
        keys = case if isinstance(case, tuple) else (case,)
        text = value if isinstance(value, str) else number(value, digits)
        texts.append(f"{text} ({', '.join(f'{n} = {key}' for n, key in zip(names, keys, strict=True))})")
    return ", ".join(texts)


def _sides(shown: pd.DataFrame) -> pd.DataFrame:
    """Classes of a table's cells: columns of words start on the left and may break into lines, as Markdown's do."""
    wordy = [any(_WORDS.search(str(value)) for value in shown[name]) for name in shown]
    return pd.DataFrame([["text-left" if w else "" for w in wordy]] * len(shown), shown.index, shown.columns)


def table(
    frame: pd.DataFrame,
    caption: str,
    names: Mapping[str, str] | None = None,
    digits: str | Mapping[str, str] = ".3g",
) -> Styler:
    """Puts words and units over the columns of a table, and a caption over all.

    Args:
        frame: the table. What it is grouped by (a named index) comes first; rows that are numbered lose their numbers.
        caption: what it shows, in one or two sentences.
        names: words for columns beyond `COLUMNS`, or other ones than there.
        digits: how numbers that are no integers are written; by column (others: ".3g"), or one for all.

    Returns:
        The table as it is shown.

    >>> shown = table(pd.DataFrame({"n_patches": [4], "loss": [0.51234], "own": ["a"]}), "One run.", {"own": "mine"})
    >>> list(shown.data.columns), shown.caption
    (['patches n', 'loss (nats)', 'mine'], 'One run.')
    """
    words = COLUMNS | dict(names or {})
    one = digits if isinstance(digits, str) else ".3g"
    by_column = (
        {words.get(column, column): how for column, how in digits.items()} if isinstance(digits, Mapping) else {}
    )
    shown = frame.rename(columns=words).rename_axis(index=words, columns=words)
    formats = {column: partial(number, digits=by_column.get(column, one)) for column in shown.select_dtypes("floating")}
    style = shown.style.set_caption(caption).format(formats, na_rep="")
    if shown.index.is_unique and shown.columns.is_unique:  # else pandas knows no classes of cells
        style = style.set_td_classes(_sides(shown))
    numbered = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    return style.hide(axis="index") if numbered else style
