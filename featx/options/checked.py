"""Check the arguments of public functions by name, before anything is opened or built."""

from __future__ import annotations

import difflib
import functools
import inspect
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from featx.options.table import OPTIONS

_Function = TypeVar("_Function", bound=Callable[..., Any])


def check_options(**given: Any) -> None:
    """Check options by name, or raise `InputError` (`UnknownName` for a word) that begins with the name."""
    for name, value in given.items():
        OPTIONS[name].check(name, value)


def checked(**kinds: str) -> Callable[[_Function], _Function]:
    """Decorate a public function so that it checks its options before it runs.

    If the function takes ``**options: Unpack[Keywords]``, the keywords of that TypedDict become part of its
    signature and docstring, and any other keyword is a `TypeError` that offers the nearest ones. Parameters
    that are not options, such as `labels`, are left to the function; ``checked(source="data")`` checks
    `source` as the option `data`.
    """

    def decorate(function: _Function) -> _Function:
        signature = expanded(function)
        any_keyword = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            if not any_keyword:
                refuse_unknown(function.__name__, kwargs, signature.parameters)
            try:
                given = dict(signature.bind(*args, **kwargs).arguments)
            except TypeError:  # an argument is missing; Python's own message names it
                return function(*args, **kwargs)
            for name, value in given.items():
                option = OPTIONS.get(kinds.get(name, name))
                if option is not None:
                    option.check(name, value)
            return function(*args, **kwargs)

        run.__signature__ = signature  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return decorate


def expanded(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature with the keywords of ``**options``, and add them to the docstring."""
    signature = inspect.signature(function)
    keywords = _keywords(function)
    if not keywords:
        return signature
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=OPTIONS[name].default, annotation=kind
        )
        for name, kind in keywords.items()
    ]
    if function.__doc__:
        function.__doc__ = _completed(inspect.cleandoc(function.__doc__), keywords)
    return signature.replace(parameters=[*named, *added])


def refuse_unknown(name: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise a `TypeError` for the first of `given` that is no keyword of the function `name`."""
    known = list(known)
    for keyword in given:
        if keyword not in known:
            near = difflib.get_close_matches(keyword, known, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it takes {', '.join(known)}"
            raise TypeError(f"{name}() got an unexpected keyword argument {keyword!r}; {hint}")


def _keywords(function: Callable[..., Any]) -> dict[str, Any]:
    """Return names and types of ``**options: Unpack[Keywords]``, or an empty dict."""
    annotation = getattr(function, "__annotations__", {}).get("options")
    if not isinstance(annotation, str) or not annotation.startswith("Unpack["):
        return {}
    scope = sys.modules[function.__module__].__dict__
    keywords: dict[str, Any] = scope[annotation.removeprefix("Unpack[").removesuffix("]")].__annotations__
    return {name: keywords[name].__forward_arg__ for name in OPTIONS if name in keywords}


def _completed(docstring: str, keywords: Iterable[str]) -> str:
    """Return the docstring with a line for each keyword below its ``**options``."""
    lines = []
    for name in keywords:
        option = OPTIONS[name]
        text = f"``{name}={option.default!r}``: {option.python or option.help}."
        lines += textwrap.wrap(text, 100, initial_indent="    - ", subsequent_indent="      ")
    head, mark, tail = docstring.partition("\n**options\n")
    if not mark:
        return docstring
    told = list(itertools.takewhile(lambda line: line.startswith(" "), tail.split("\n")))
    rest = tail.split("\n")[len(told) :]
    return "\n".join([head + mark + "\n".join(told), "", *lines, "", *rest[rest[:1] == [""] :]])
