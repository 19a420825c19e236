"""An experiment: read it from a TOML file, run it into its folder, and write it there."""

from __future__ import annotations

import contextlib
import json
import os
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from featx.durable import read_regular
from featx.errors import FeatxError, InputError, OutputError, as_one_error, reason_of
from featx.options import checked
from featx.places import is_url, shown
from featx.results import describe_environment, write_atomically
from featx.results.next_command import option_words
from featx.results.output_paths import DATA_KEYS, Study, output_folder, resolve_source
from featx.results.runs import add_run, read_runs
from featx.studies.experiments.kinds import KINDS, Kind
from featx.studies.experiments.schema import TABLES, check_content
from featx.studies.output import removed_if_unused

#: What a run leaves beside its results: the experiment as it was run, and the machine and versions.
EXPERIMENT, ENVIRONMENT = "experiment.toml", "environment.json"
#: A name that ends in one of these is a path; a dot alone is no sign, as names of weights have dots.
_SUFFIXES = (".csv", ".parquet", ".h5", ".hdf5", ".pth", ".pt", ".bin", ".safetensors")
#: The largest experiment file that is read; a real one has a few lines.
_MOST_BYTES = 2**20
#: How many folders up from its own a file still names a path relative to itself: such folders move together.
_MOST_UP = 2
_HEAD = (
    "The experiment as it was run; to run it again, or to go on: featx run experiment.toml",
    "Defaults are written out; an option that is missing follows from the network, the data or the recipe.",
)


@dataclass(frozen=True)
class Experiment:
    """A study, described completely.

    Attributes
    ----------
    kind : str
        A name of `featx.studies.experiments.kinds.KINDS`.
    output : Path or None
        Folder of the results; None: they are not saved.
    data : dict of str to str
        The data by their keys in experiment files, each as on the command line.
    options : dict
        Keywords of the study, with ``"random"`` for random weights. Keys that this kind of experiment does
        not have are dropped; those that are not given, or are None, get their defaults.
    base : Path
        Folder that relative paths start from; all paths are made absolute.
    origin : Path or None
        The file that the experiment was read from.
    """

    kind: str
    output: Path | None
    data: dict[str, str]
    options: dict[str, Any]
    base: Path = Path()
    origin: Path | None = None

    def __post_init__(self) -> None:
        base = self.base.absolute()
        data = {key: _absolute(self.data[key], base) for key in DATA_KEYS if self.data.get(key) is not None}
        kept = self.study.complete(self.options, list(data.values()))
        if "cache" in kept:
            kept["cache"] = _path(kept["cache"], base)
        if "weights" in kept:
            kept["weights"] = _absolute(kept["weights"], base)
        output = None if self.output is None else base / os.path.expanduser(self.output)
        for name, value in (("options", kept), ("output", output), ("data", data)):
            object.__setattr__(self, name, value)

    @property
    def study(self) -> Kind:
        """What this kind of experiment runs."""
        return KINDS[self.kind]

    @property
    def arguments(self) -> dict[str, Any]:
        """The options as keywords of the study."""
        found = dict(self.options)
        if found.get("weights") == "random":
            found["weights"] = None
        if isinstance(found.get("baseline"), list) and len(found["baseline"]) == 1:
            (found["baseline"],) = found["baseline"]
        return found

    def run(
        self,
        *,
        verbose: bool = False,
        command: str | None = None,
        force: bool = False,
        trust_code: bool = False,
        on: Any = None,
    ) -> tuple[Any, Path | None]:
        """Run the experiment, or resume it: finished work in its folder is not done again.

        Parameters
        ----------
        verbose : bool, default=False
            Show progress on standard error.
        command : str, optional
            The command that the report shows; default: running the experiment file.
        force : bool, default=False
            Write even where `check_output` would refuse to.
        trust_code : bool, default=False
            Consent to run the Python code that a backbone comes with. An experiment file cannot give it: the
            file may be somebody else's.
        on : str or Executor, optional
            The cluster to compute on, as in `featx.compare`. An experiment file cannot give it either: where
            it runs is for whoever runs it to choose, and does not change what is found.

        Returns
        -------
        result
            What the study returned; it is saved in the folder.
        report : Path or None
            The report page; None without a folder.

        Raises
        ------
        OutputError
            See `check_output`.
        FeatxError
            See the study: `featx.compare`, `featx.rank`, ...
        """
        given = {self.study.data[key]: value for key, value in self.data.items()} | self.arguments
        given |= {"verbose": verbose} | ({"trust_code": True} if trust_code else {})
        given |= {} if on is None else {"on": on}
        if self.output is None:
            result = self.study.function(**given)
            self._name(result, command)
            return result, None
        self.check_output(force=force)
        with removed_if_unused(self.output) as folder:
            if self.study.resumes:
                given["resume"] = folder
            began, started = datetime.now(UTC), time.perf_counter()
            with self._keep_file(folder) as written:
                result = self.study.function(**given)
            seconds = time.perf_counter() - started
            environment = describe_environment()
            write_atomically(
                folder / ENVIRONMENT, json.dumps(environment, indent=2, ensure_ascii=False) + "\n"
            )
            self._name(result, command)
            result.runs = add_run(
                read_runs(folder / result.json_file),
                command=result.command,
                began=began,
                seconds=seconds,
                version=str(environment.get("featx", "")),
            )
            report = result.save(folder)
            if written:
                options = self.study.settle(result, self.options, list(self.data.values()))
                write_atomically(folder / EXPERIMENT, replace(self, options=options).to_toml(beside=folder))
            return result, report

    def _name(self, result: Any, command: str | None) -> None:
        """Set what the commands of a result need: those that made it, its options and its data."""
        result.command = command or f"featx run {EXPERIMENT}"
        if self.origin is not None:
            result.options = option_words(self.options)
        self.study.name_data(result, [resolve_source(source) for source in self.data.values()])

    @contextlib.contextmanager
    def _keep_file(self, folder: Path) -> Iterator[bool]:
        """Write the experiment file into its folder, and yield True, unless it was read from there.

        The file before is restored if no work was finished.
        """
        copy = folder / EXPERIMENT
        before, begun = _read_text(copy), _finished_bytes(folder)
        own = before is not None and self.origin is not None and os.path.samefile(copy, self.origin)
        if not own:
            write_atomically(copy, self.to_toml(beside=folder))
        try:
            yield not own
        except BaseException as error:
            # After Ctrl-C the file says what to go on with, if the study keeps its work in the folder.
            if self.study.resumes and not isinstance(error, FeatxError):
                raise
            if _finished_bytes(folder) == begun and before is not None:
                write_atomically(copy, before)
            elif _finished_bytes(folder) == begun == 0:
                copy.unlink(missing_ok=True)
            raise

    def check_output(self, *, force: bool = False) -> None:
        """Refuse an output, or a new cache, where an experiment must not write unless told to.

        Parameters
        ----------
        force : bool, default=False
            Refuse only an output that cannot be a folder.

        Raises
        ------
        OutputError
            The output, or a cache that does not exist yet, lies outside the folder of the experiment file; or
            the output holds files of another study or of somebody else.
        """
        if self.output is None:
            return
        if self.origin is not None and not force:
            home = self.origin.resolve().parent
            cache = self.options.get("cache")
            for option, place in (("[experiment] output", str(self.output)), ("[run] cache", cache)):
                # A cache that is in use already may stay where it is.
                if place is None or (option == "[run] cache" and _in_use(place)):
                    continue
                if not Path(os.path.realpath(place)).is_relative_to(home):
                    raise OutputError(
                        f"{self.origin}: {option} lies outside of the folder of the experiment, "
                        f"{os.path.realpath(place)}; change it, or write there with --force"
                    )
        option = "-o" if self.origin is None else "output"
        output_folder(self.output, Study.of(self.kind, *self.data.values()), force=force, option=option)

    def to_toml(self, *, beside: Path) -> str:
        """Return the text of the experiment file as it is written into the folder `beside`.

        Paths in that folder or near it are relative, so that they can be moved together; others are absolute.
        """
        here = os.path.realpath(beside)
        output = os.path.relpath(os.path.realpath(self.output or beside), here)
        given = {"kind": self.kind, "output": output, **self.data, **self.options}
        for key in (*self.data, "weights", "cache"):
            if key in given:
                given[key] = _relative(given[key], here)
        lines = [f"# {line}" for line in _HEAD]
        for table in TABLES:
            known = [f"{key} = {_toml(given[key])}" for key in TABLES[table] if key in given]
            lines += ["", f"[{table}]", *known] if known else []
        return "\n".join(lines) + "\n"


@checked(path="file")
def load_experiment(path: str | os.PathLike[str]) -> Experiment:
    """Read an experiment file.

    Parameters
    ----------
    path : path-like
        A TOML file, as in `featx.studies.experiments.schema`. Paths in it are relative to its folder.

    Returns
    -------
    Experiment
        Its contents, checked.

    Raises
    ------
    InputError
        The file cannot be read, is not TOML, or does not follow the schema; the message names file, table and
        key.
    """
    file = Path(path)
    with as_one_error(lambda reason: InputError(f"{file}: {reason}")):
        try:
            content = tomllib.loads(read_regular(file, at_most=_MOST_BYTES).decode("utf-8-sig"))
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
        except UnicodeDecodeError:
            raise InputError(f"{file}: not UTF-8 text, so no TOML file") from None
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(f"{file}: not valid TOML: {reason_of(error)}") from None
    return parse_experiment(content, file.resolve().parent, place=str(file), origin=file)


def parse_experiment(
    content: Mapping[str, Any], base: Path, *, place: str = "experiment", origin: Path | None = None
) -> Experiment:
    """Return the experiment that the tables of a file describe; messages call it `place`."""
    check_content(content, place)
    options = {name: value for keys in content.values() for name, value in keys.items()}
    own = content["experiment"]
    data = {key: content["data"][key] for key in DATA_KEYS if key in content["data"]}
    return Experiment(own["kind"], Path(own["output"]), data, options, base, origin)


def _read_text(file: Path) -> str | None:
    """Return the text of a file; None if there is none, or one that featx cannot have written."""
    try:
        return read_regular(file, at_most=_MOST_BYTES).decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return None


def _finished_bytes(folder: Path) -> int:
    """Return the size of the checkpoints in the folder."""
    return sum(file.stat().st_size for file in folder.glob("*.journal") if file.is_file())


def _in_use(cache: str) -> bool:
    """Return whether this is the folder of a cache that is not empty."""
    from featx.cache import Cache

    with as_one_error(lambda reason: OutputError(f"{cache}: cannot be looked at ({reason})")):
        return os.path.isdir(cache) and not Cache(cache).is_empty()


def _absolute(name: str, base: Path) -> str:
    """Return what exists, or looks like a path, as an absolute path; any other name as it is."""
    if is_url(name):
        return name
    path = _path(name, base)
    looks_like_path = "/" in name or os.sep in name or Path(name).suffix.lower() in _SUFFIXES
    return path if looks_like_path or os.path.exists(path) else name


def _path(name: str, base: Path) -> str:
    """Return a path from `base` as an absolute one, without ``..``."""
    path = str((base / os.path.expanduser(name)).absolute())
    return _in_real_folder(path) if os.pardir in Path(name).parts else path


def _in_real_folder(path: str) -> str:
    """Return a path whose folder is free of links; the last name stays, because results are named by it."""
    folder, name = os.path.split(path)
    whole = name in ("", os.curdir, os.pardir)
    return os.path.realpath(path) if whole else os.path.join(os.path.realpath(folder), name)


def _relative(name: str, folder: str) -> str:
    """Return an absolute path as one relative to `folder` if it lies near; any other name as it is."""
    if not os.path.isabs(name):
        return shown(name) if is_url(name) else name
    path = _in_real_folder(name)
    if os.path.splitdrive(path)[0] != os.path.splitdrive(folder)[0]:
        return name
    common = os.path.commonpath([path, folder])
    found = Path(os.path.relpath(path, folder))
    if common == os.path.dirname(common) or found.parts.count(os.pardir) > _MOST_UP:
        return name
    text = found.as_posix()
    return text if "/" in text or text == "." else f"./{text}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # A JSON string is a TOML string if only control characters are escaped; DEL is one that JSON leaves.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
