"""What each backbone adds to the ensemble of all."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from featx.results import ALPHA
from featx.results.formats import format_p, format_points


def ensemble_section(ensemble: Mapping[str, Any] | None) -> str:
    """The section of the report; empty where there was no ensemble."""
    if not ensemble:
        return ""
    how = "Equal weights: no training image could be held out."
    if ensemble["n_held_out"]:
        how = (
            "Weights: the least log loss on out-of-fold probabilities of "
            f"{ensemble['n_held_out']:,} training images."
        )
    rows = "".join(
        f'<tr class="probe"><th scope="row">{escape(str(m["backbone"]))}<small>{escape(str(m["classifier"]))}'
        f'</small></th><td class="n">{m["weight"]:.2f}</td><td class="n">{m["top1"]:.3f}</td>'
        f'<td class="n">{_difference(m["adds"])}</td></tr>'
        for m in ensemble["members"]
    )
    return (
        '<section class="card"><h2>What each backbone adds to the ensemble</h2><p class="lead">'
        f"The ensemble against its best member, {escape(str(ensemble['best_member']))}: "
        f"{_difference(ensemble['versus_best_member'])}. {how}</p>"
        '<table class="methods"><thead><tr><th scope="col">Member</th><th scope="col" class="n">Weight</th>'
        '<th scope="col" class="n">Top-1 alone</th><th scope="col" class="n" '
        'title="top-1 of the ensemble - of the ensemble without it, points">Adds</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></section>"
    )


def _difference(test: Mapping[str, float]) -> str:
    low, high = (format_points(test[bound]) for bound in ("low", "high"))
    said = f"p {escape(format_p(test['p_value']))}{', n.s.' if test['p_value'] > ALPHA else ''}"
    return f"{format_points(test['difference'])} [{low}, {high}] <small>{said}</small>"
