"""Column types that mean the same in a STRICT SQLite table and in PostgreSQL.

Every bound value passes through one of them: text is normalised, JSON is strict, NaN is never bound.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from harness.configuration import canonical_json
from harness.errors import StorageError
from harness.results.text import normalise, plain, scrub

# STRICT tables know INTEGER, REAL, TEXT and BLOB only, and PostgreSQL's REAL has but 4 bytes.
KEY = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")


class Whole(sa.TypeDecorator[int]):
    """A 64-bit integer; numpy integers are taken, which sqlite3 would store as bytes."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """INTEGER on SQLite, BIGINT elsewhere."""
        return dialect.type_descriptor(sa.INTEGER() if dialect.name == "sqlite" else sa.BigInteger())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """A Python int."""
        return None if value is None else int(value)


class Number(sa.TypeDecorator[float]):
    """A double; a non-finite one is stored as missing, since the databases disagree on what NaN means."""

    impl = sa.Double
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """REAL on SQLite, DOUBLE PRECISION elsewhere."""
        return dialect.type_descriptor(sa.REAL() if dialect.name == "sqlite" else sa.Double())

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        """A finite Python float, or NULL."""
        return None if value is None or not math.isfinite(value) else float(value)


class Words(sa.TypeDecorator[str]):
    """Text as it came, without what a database refuses."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Normalised text."""
        return None if value is None else normalise(value)


class Scrubbed(Words):
    """Text that may quote an environment or a URL: secrets are replaced."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Normalised and scrubbed text."""
        return None if value is None else scrub(normalise(value))


class Json(sa.TypeDecorator[Any]):
    """Strict JSON text with sorted keys; strings are normalised and scrubbed, non-finite numbers are null."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Canonical JSON, or NULL."""
        return None if value is None else canonical_json(plain(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """The parsed value.

        Raises:
            StorageError: when it is no JSON, which we never wrote.
        """
        return json_value(value)


def json_value(text: str | None) -> Any:
    """The value of a stored JSON text.

    Raises:
        StorageError: when it is no JSON, which we never wrote.
    """
    try:
        return None if text is None else json.loads(text)
    except (TypeError, ValueError) as error:
        raise StorageError(f"a stored JSON value cannot be read ({error}): the database is damaged") from error


def utc_now() -> str:
    """The time in UTC as text that sorts, to the microsecond: SQLite's datetimes would lose the zone."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
