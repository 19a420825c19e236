"""Columns of encoded inputs in files: cells of a Parquet or Arrow file are read where they lie, by offset."""

from __future__ import annotations

from featx.places.columns.arrow_column import HeldColumn, SpanColumn, hold, locate
from featx.places.columns.parquet_column import ParquetCell, ParquetColumn

__all__ = ["HeldColumn", "ParquetCell", "ParquetColumn", "SpanColumn", "hold", "locate"]
