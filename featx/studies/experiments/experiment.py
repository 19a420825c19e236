"""An experiment: read it from a TOML file, run it into its folder, and write it there."""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featx.durable import read_regular
from featx.errors import FeatxError, InputError, OutputError, as_one_error, reason_of
from featx.options import OPTIONS, is_features
from featx.results import describe_environment, write_atomically
from featx.results.output_paths import Study, output_folder
from featx.studies.comparison import (
    Comparison,
    RegressionComparison,
    TaskComparisons,
    compare,
)
from featx.studies.curves import LearningCurve, learning_curve
from featx.studies.experiments.schema import TABLES, check_content
from featx.studies.output import removed_if_unused

#: What a run leaves beside its results: the experiment as it was run, and the machine and versions.
EXPERIMENT, ENVIRONMENT = "experiment.toml", "environment.json"
#: The first line of that file where featx wrote it.
_HEADER = "# The experiment as it was run; to run it again, or to go on: featx run experiment.toml"
#: A name that ends in one of these is a path; a dot alone is no sign, as names of weights have dots.
_SUFFIXES = (".csv", ".parquet", ".h5", ".hdf5", ".pth", ".pt", ".bin", ".safetensors")
#: The largest experiment file that is read; a real one has a few lines.
_MOST_BYTES = 2**20

Result = Comparison | RegressionComparison | TaskComparisons | LearningCurve


@dataclass(frozen=True)
class Experiment:
    """A comparison or a learning curve, described completely.

    Attributes
    ----------
    kind : {"compare", "curve"}
        Which of the two.
    output : Path
        Folder of the results.
    source : str
        The data, as on the command line.
    options : dict
        Keywords of `featx.compare` or `featx.learning_curve`, with ``"random"`` for random weights. Values of
        None, and keys that this kind of experiment does not have, are dropped.
    base : Path
        Folder that relative paths start from; all paths are made absolute.
    origin : Path or None
        The file that the experiment was read from.
    """

    kind: str
    output: Path
    source: str
    options: dict[str, Any]
    base: Path = Path()
    origin: Path | None = None

    def __post_init__(self) -> None:
        known = [o.name for o in OPTIONS.values() if o.table is not None and self.kind in o.kinds]
        kept = {name: self.options[name] for name in known if self.options.get(name) is not None}
        base = self.base.absolute()
        if "cache" in kept:
            kept["cache"] = str(base / os.path.expanduser(kept["cache"]))
        if kept.get("weights") == OPTIONS["weights"].default:
            del kept["weights"]
        if "weights" in kept:
            kept["weights"] = _absolute(kept["weights"], base)
        if not is_features(self.source):
            kept.setdefault("backbones", list(OPTIONS["backbones"].default))
        kept.setdefault("seed", OPTIONS["seed"].default)
        for name, value in (
            ("options", kept),
            ("output", base / os.path.expanduser(self.output)),
            ("source", _absolute(self.source, base)),
        ):
            object.__setattr__(self, name, value)

    @property
    def arguments(self) -> dict[str, Any]:
        """The options as keywords of `featx.compare` or `featx.learning_curve`."""
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
    ) -> tuple[Result, Path]:
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

        Returns
        -------
        result
            What `featx.compare` or `featx.learning_curve` returned; it is saved in the folder.
        report : Path
            The report page.

        Raises
        ------
        OutputError
            See `check_output`.
        FeatxError
            See `featx.compare` and `featx.learning_curve`.
        """
        self.check_output(force=force)
        work: Any = compare if self.kind == "compare" else learning_curve
        with removed_if_unused(self.output) as folder:
            with self._keep_file(folder):
                given = self.arguments | ({"trust_code": True} if trust_code else {})
                result = work(self.source, resume=folder, verbose=verbose, **given)
            self._keep_modes(folder, result)
            environment = json.dumps(describe_environment(), indent=2, ensure_ascii=False)
            write_atomically(folder / ENVIRONMENT, environment + "\n")
            result.command = command or f"featx run {EXPERIMENT}"
            return result, result.save(folder)

    @contextlib.contextmanager
    def _keep_file(self, folder: Path) -> Iterator[None]:
        """Write the experiment file into its folder; restore the file before if no work was finished."""
        copy = folder / EXPERIMENT
        before, begun = _read_text(copy), _finished_bytes(folder)
        if before is None or self.origin is None or not os.path.samefile(copy, self.origin):
            write_atomically(copy, self.to_toml(beside=folder))
        try:
            yield
        except FeatxError:
            if _finished_bytes(folder) == begun and before is not None:
                write_atomically(copy, before)
            elif _finished_bytes(folder) == begun == 0:
                copy.unlink(missing_ok=True)
            raise

    def _keep_modes(self, folder: Path, result: Any) -> None:
        """Write the modes of fine-tuning that were run into the experiment file, if the default chose them.

        The default depends on how long they take on a machine; running the file runs the same everywhere. A
        file that a user wrote is left as it is.
        """
        first = next(iter(getattr(result, "tasks", {}).values()), result)
        chosen, copy = getattr(first, "baseline", None), folder / EXPERIMENT
        own = self.origin is not None and os.path.samefile(copy, self.origin)
        own = own and not (_read_text(copy) or "").startswith(_HEADER)
        if chosen and not own and self.options.get("baseline", ["finetune"]) in ("finetune", ["finetune"]):
            ran = replace(self, options=self.options | {"baseline": chosen["modes"] or ["none"]})
            write_atomically(copy, ran.to_toml(beside=folder))

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
        output_folder(self.output, Study.of(self.kind, self.source), force=force, option=option)

    def to_toml(self, *, beside: Path) -> str:
        """Return the text of the experiment file as it is written into its output folder, `beside`."""
        output = os.path.relpath(self.output.resolve(), beside.resolve())
        given = {"kind": self.kind, "output": output, "source": self.source, **self.options}
        lines = [_HEADER]
        for table in TABLES:
            known = [f"{key} = {_toml(given[key])}" for key in TABLES[table] if key in given]
            lines += ["", f"[{table}]", *known] if known else []
        return "\n".join(lines) + "\n"


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
            content = tomllib.loads(read_regular(file, at_most=_MOST_BYTES).decode("utf-8"))
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
    return Experiment(own["kind"], Path(own["output"]), content["data"]["source"], options, base, origin)


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
    path = base / os.path.expanduser(name)
    looks_like_path = "/" in name or os.sep in name or Path(name).suffix.lower() in _SUFFIXES
    return str(path.absolute()) if looks_like_path or os.path.exists(path) else name


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # A JSON string is a TOML string if only control characters are escaped; DEL is one that JSON leaves.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
