"""Raw fields to typed values, column-wise: times, numbers, prices, lists, clean text."""

from __future__ import annotations

import html
import json
import re

import polars as pl

SECONDS_BELOW = 100_000_000_000
"""A time below this is taken for seconds (until the year 5138), above for milliseconds."""
POSITIONS_BELOW = 100_000_000
"""A number below this is no plausible time at all (1973 in seconds)."""

_NULLS = ("", "null", "none", "nan", "na", "n/a")
_DATES = (
    "%Y-%m-%d %H:%M:%S%.f%:z",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d",
)
_TRUE, _FALSE = ("true", "1", "yes", "y", "t"), ("false", "0", "no", "n", "f")
_SIGNS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}
_AMOUNT = re.compile(r"\d[\d.,]*")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_BREAK = re.compile(r"</?(?:br|p|div|li|ul|ol|h\d|tr|td)\b[^<>]*>", re.IGNORECASE)
_PARTS = re.compile(r"\s*(?:\||;|\s>\s)\s*")


def text(column: pl.Expr) -> pl.Expr:
    """Text on one line, without spaces around it; null where nothing is left."""
    clean = column.cast(pl.String).str.replace_all(r"\s*[\r\n\t]\s*", " ").str.strip_chars()
    return pl.when(clean != "").then(clean)


def key(column: pl.Expr) -> pl.Expr:
    """An id: text without spaces around it; null where nothing is left."""
    clean = column.cast(pl.String).str.strip_chars()
    return pl.when(clean != "").then(clean)


def missing(column: pl.Expr) -> pl.Expr:
    """Whether a raw field of any kind says nothing."""
    return column.is_null() | column.cast(pl.String).str.to_lowercase().str.strip_chars().is_in(
        _NULLS
    )


def number(column: pl.Expr) -> pl.Expr:
    """A finite float64, null where the field is none."""
    value = column.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def times(values: pl.Series) -> pl.Series:
    """Times as int64: numbers as they are, dates (ISO 8601, UTC unless they say) as milliseconds.

    What is neither is null.
    """
    kind = values.dtype
    if isinstance(kind, pl.Date | pl.Datetime):
        return values.dt.epoch("ms")
    if kind.is_integer():
        return values.cast(pl.Int64, strict=False)
    if kind.is_float():
        return _whole(values)
    raw = values.cast(pl.String).str.strip_chars()
    found = raw.cast(pl.Int64, strict=False)
    if found.null_count() > raw.null_count():
        found = _fill(found, _whole(raw.cast(pl.Float64, strict=False)))
    if found.null_count() > raw.null_count():
        found = _fill(found, _dates(raw))
    return found


def _whole(values: pl.Series) -> pl.Series:
    finite = pl.when(pl.col("v").is_finite()).then(pl.col("v"))
    return values.alias("v").to_frame().select(finite.cast(pl.Int64, strict=False)).to_series()


def _fill(values: pl.Series, others: pl.Series) -> pl.Series:
    return values.zip_with(values.is_not_null(), others)


def _dates(raw: pl.Series) -> pl.Series:
    plain = raw.str.replace(r"^(\d{4}-\d\d-\d\d)[T ]", "$1 ").str.replace(r"\s*Z$", "+00:00")
    found = pl.Series([None] * len(raw), dtype=pl.Int64)
    for form in _DATES:
        if form.endswith("%:z"):
            read = plain.str.to_datetime(form, strict=False, time_unit="ms", time_zone="UTC")
        elif "%H" in form:
            read = plain.str.to_datetime(form, strict=False, time_unit="ms")
        else:
            read = plain.str.to_date(form, strict=False).cast(pl.Datetime("ms"))
        found = _fill(found, read.cast(pl.Int64))
    return found


def flags(column: pl.Expr) -> pl.Expr:
    """Yes and no in words or numbers as booleans; null for anything else."""
    word = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    return pl.when(word.is_in(_TRUE)).then(True).when(word.is_in(_FALSE)).then(False)


def parse_price(raw: object) -> tuple[float | None, str | None]:
    """A price and its currency: of ``$3.99 - $5.99`` the first, of ``1.299,00 €`` 1299 euros."""
    if raw is None or isinstance(raw, bool):
        return None, None
    if isinstance(raw, int | float):
        return (float(raw), None) if 0 <= raw < float("inf") else (None, None)
    said = str(raw).strip()
    # Amazon's files hold pieces of style sheets where the price should be.
    found = _AMOUNT.search(said) if len(said) <= 40 else None
    if found is None:
        return None, None
    currency = next((code for sign, code in _SIGNS.items() if sign in said), None)
    return _amount(found.group().rstrip(".,")), currency


def _amount(digits: str) -> float | None:
    comma, point = digits.rfind(","), digits.rfind(".")
    if comma > point and (point >= 0 or len(digits) - comma - 1 != 3):
        digits = digits.replace(".", "").replace(",", ".")
    else:
        digits = digits.replace(",", "")
    try:
        return float(digits)
    except ValueError:
        return None


def prices(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Prices as float64 and their currencies as text, null where there is none."""
    if values.dtype.is_numeric():
        plain = values.cast(pl.Float64)
        good = plain.is_finite() & (plain >= 0)
        return plain.set(~good.fill_null(False), None), pl.Series(
            [None] * len(values), dtype=pl.String
        )
    found = [parse_price(value) for value in values]
    return (
        pl.Series([price for price, _ in found], dtype=pl.Float64),
        pl.Series([currency for _, currency in found], dtype=pl.String),
    )


def split_list(raw: str) -> list[str]:
    """The parts of ``a|b``, ``a;b``, ``a > b`` or a JSON list; other text is one part."""
    if raw.startswith("["):
        try:
            parsed = json.loads(raw)
        except ValueError:
            parsed = None
        if isinstance(parsed, list):
            return [str(part).strip() for part in parsed if part is not None]
    return _PARTS.split(raw)


def lists(values: pl.Series) -> pl.Series:
    """Lists of text without blanks and without repeats, in their order."""
    if not isinstance(values.dtype, pl.List):
        parts = [None if raw is None else split_list(raw) for raw in values.cast(pl.String)]
        values = pl.Series(parts, dtype=pl.List(pl.String))
    frame = values.alias("v").to_frame()
    part = pl.element().cast(pl.String).str.strip_chars()
    clean = pl.col("v").list.eval(part.filter(part.is_not_null() & (part != "")))
    return frame.select(clean.list.unique(maintain_order=True)).to_series()


def unescape(raw: str | None) -> str | None:
    """Text without HTML: entities read, tags left out, spaces as a browser shows them."""
    if raw is None or ("&" not in raw and "<" not in raw):
        return raw
    plain = _TAG.sub("", _BREAK.sub(" ", html.unescape(raw)))
    return " ".join(html.unescape(plain).split())


def infer(values: pl.Series) -> pl.Series:
    """A text column as whole numbers, numbers or booleans, where every field is one."""
    said = values.drop_nulls()
    if values.dtype != pl.String or said.is_empty():
        return values
    if said.str.contains(r"^-?(?:0|[1-9]\d{0,17})$").all():
        return values.cast(pl.Int64)
    if said.str.contains(r"^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$").all():
        return values.cast(pl.Float64)
    if said.is_in(["true", "false", "True", "False"]).all():
        return values.str.to_lowercase() == "true"
    return values
