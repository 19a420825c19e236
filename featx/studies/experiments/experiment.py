"""One experiment: read from a TOML file, written to one, and run into its folder."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.durable import read_regular
from featx.errors import FeatxError, InputError, OutputError, as_one_error, reason_of
from featx.results import describe_environment, write_atomically
from featx.results.output_paths import Study, output_folder
from featx.studies.comparison import (
    Comparison,
    RegressionComparison,
    TaskComparisons,
    compare,
)
from featx.studies.curves import LearningCurve, learning_curve
from featx.studies.experiments.schema import TABLES, check
from featx.studies.output import removed_if_unused

#: What a run leaves beside its results: the experiment as it was run, and on what.
EXPERIMENT, ENVIRONMENT = "experiment.toml", "environment.json"
#: Of names that are paths although no folder is named in them; names of weights have dots as well.
_SUFFIXES = (".csv", ".parquet", ".h5", ".hdf5", ".pth", ".pt", ".bin", ".safetensors")

#: An experiment file has a few lines.
_MOST_BYTES = 2**20

Result = Comparison | RegressionComparison | TaskComparisons | LearningCurve


@dataclass(frozen=True)
class Experiment:
    """A comparison or a learning curve, described completely.

    Attributes
    ----------
    tables : dict of str to dict
        As in the file (`schema`), with every path absolute.
    origin : Path or None
        The file it was read from.
    """

    tables: dict[str, dict[str, Any]]
    origin: Path | None = None

    @property
    def kind(self) -> str:
        """``"compare"`` or ``"curve"``."""
        return str(self.tables["experiment"]["kind"])

    @property
    def output(self) -> Path:
        """Folder of the results."""
        return Path(self.tables["experiment"]["output"])

    @property
    def arguments(self) -> dict[str, Any]:
        """What `featx.compare` or `featx.learning_curve` are called with, besides the data."""
        found: dict[str, Any] = {}
        for table in ("data", "network", "methods", "draws", "run"):
            found |= self.tables.get(table, {})
        del found["source"]
        if found.get("weights") == "random":
            found["weights"] = None
        if isinstance(found.get("baseline"), list) and len(found["baseline"]) == 1:
            (found["baseline"],) = found["baseline"]
        return found

    def run(
        self, *, verbose: bool = False, command: str | None = None, force: bool = False
    ) -> tuple[Result, Path]:
        """Run it, or go on with it: what its folder holds of finished work is not done again.

        Parameters
        ----------
        verbose : bool, default=False
            Show progress on standard error.
        command : str, optional
            What the report names as the way to get it again; default: running the experiment file.
        force : bool, default=False
            Write where `check_output` would refuse to.

        Returns
        -------
        result
            As `featx.compare` or `featx.learning_curve` give it, saved into the folder.
        report : Path
            The page.

        Raises
        ------
        OutputError
            As `check_output`.
        FeatxError
            As those do.
        """
        self.check_output(force=force)
        with removed_if_unused(self.output) as folder:
            return self._run_into(folder, verbose, command)

    def _run_into(self, folder: Path, verbose: bool, command: str | None) -> tuple[Result, Path]:
        copy = folder / EXPERIMENT
        before, begun = _text_of(copy), _kept(folder)
        if before is None or self.origin is None or not os.path.samefile(copy, self.origin):
            write_atomically(copy, self.to_toml(beside=folder))
        work: Any = compare if self.kind == "compare" else learning_curve
        try:
            result = work(self.tables["data"]["source"], resume=folder, verbose=verbose, **self.arguments)
        except FeatxError:
            # What cannot be begun leaves nothing behind, and what was there as it was.
            if _kept(folder) == begun and before is not None:
                write_atomically(copy, before)
            elif _kept(folder) == begun == 0:
                copy.unlink(missing_ok=True)
            raise
        environment = json.dumps(describe_environment(), indent=2, ensure_ascii=False)
        write_atomically(folder / ENVIRONMENT, environment + "\n")
        result.command = command or f"featx run {EXPERIMENT}"
        return result, result.save(folder)

    def check_output(self, *, force: bool = False) -> None:
        """Refuse to write where an experiment must not without being told to; nothing is written here.

        Parameters
        ----------
        force : bool, default=False
            Refuse nothing but what cannot be a folder.

        Raises
        ------
        OutputError
            The output, or a cache that is not there yet, lies outside of the folder of the file that the
            experiment was read from; or the output holds what another study, or somebody else, has written.
        """
        if self.origin is not None and not force:
            home = self.origin.resolve().parent
            cache = self.tables.get("run", {}).get("cache")
            for option, place in (("[experiment] output", str(self.output)), ("[run] cache", cache)):
                # A cache that is in use already is as good a place as it was.
                if place is None or (option == "[run] cache" and _in_use(place)):
                    continue
                if not Path(os.path.realpath(place)).is_relative_to(home):
                    raise OutputError(
                        f"{self.origin}: {option} lies outside of the folder of the experiment, "
                        f"{os.path.realpath(place)}; change it, or write there with --force"
                    )
        option = "-o" if self.origin is None else "output"
        output_folder(
            self.output, Study.of(self.kind, self.tables["data"]["source"]), force=force, option=option
        )

    def to_toml(self, *, beside: Path) -> str:
        """The experiment as a file in the folder `beside`, which is its output."""
        experiment = self.tables["experiment"] | {
            "output": os.path.relpath(self.output.resolve(), beside.resolve())
        }
        lines = ["# The experiment as it was run; to run it again, or to go on: featx run experiment.toml"]
        for table in TABLES:
            keys = experiment if table == "experiment" else self.tables.get(table, {})
            known = [f"{key} = {_toml(keys[key])}" for key in TABLES[table] if key in keys]
            lines += ["", f"[{table}]", *known] if known else []
        return "\n".join(lines) + "\n"


def load_experiment(path: str | os.PathLike[str]) -> Experiment:
    """Read an experiment file.

    Parameters
    ----------
    path : path-like
        A TOML file, as in `schema`. Paths in it are relative to its folder.

    Returns
    -------
    Experiment

    Raises
    ------
    InputError
        The file cannot be read or is no TOML, or says something that is not in the schema; the message names
        file, table and key.
    """
    file = Path(path)
    with as_one_error(lambda reason: InputError(f"{file}: {reason}")):
        try:
            content = tomllib.loads(read_regular(file, at_most=_MOST_BYTES).decode("utf-8"))
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
        except UnicodeDecodeError:
            raise InputError(f"{file}: not UTF-8 text, so no TOML file") from None
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(f"{file}: not valid TOML: {reason_of(error)}") from None
    return experiment_of(content, file.resolve().parent, place=str(file), origin=file)


def experiment_of(
    content: Mapping[str, Any], base: Path, *, place: str = "experiment", origin: Path | None = None
) -> Experiment:
    """An experiment of plain data.

    Parameters
    ----------
    content : mapping of str to mapping
        As in a file.
    base : Path
        What relative paths are relative to.
    place : str
        How messages name it.
    origin : Path, optional
        The file it is from.

    Raises
    ------
    InputError
        As `load_experiment`.
    """
    check(content, place)
    tables = {table: dict(keys) for table, keys in content.items()}
    tables["experiment"]["output"] = str(base / os.path.expanduser(tables["experiment"]["output"]))
    tables["data"]["source"] = _located(tables["data"]["source"], base)
    if "cache" in tables.get("run", {}):
        tables["run"]["cache"] = str(base / os.path.expanduser(tables["run"]["cache"]))
    if "weights" in tables.get("network", {}):
        tables["network"]["weights"] = _located(tables["network"]["weights"], base)
    tables.setdefault("run", {}).setdefault("seed", 0)
    return Experiment(tables, origin)


def _text_of(file: Path) -> str | None:
    """None where there is no such file, or none that was written here."""
    try:
        return read_regular(file, at_most=_MOST_BYTES).decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return None


def _kept(folder: Path) -> int:
    """Bytes of finished work."""
    return sum(journal.stat().st_size for journal in folder.glob("*.journal") if journal.is_file())


def _in_use(cache: str) -> bool:
    """Whether this is the folder of a cache."""
    from featx.cache import Cache

    with as_one_error(lambda reason: OutputError(f"{cache}: cannot be looked at ({reason})")):
        return os.path.isdir(cache) and not Cache(cache).is_empty()


def _located(name: str, base: Path) -> str:
    """A path that exists, or is written as one, as an absolute one; any other word as it is."""
    path = base / os.path.expanduser(name)
    written_so = "/" in name or os.sep in name or Path(name).suffix.lower() in _SUFFIXES
    return str(path.absolute()) if written_so or os.path.exists(path) else name


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # A JSON string is a TOML basic string as long as only control characters are escaped; and DEL is one.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
