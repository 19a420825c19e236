"""The page a person reads after a comparison: one self-contained HTML file."""

from featx.report.anomaly import render_anomaly, write_anomaly
from featx.report.curve import render_curve, write_curve_report
from featx.report.domains import render_domains, write_domains
from featx.report.index import render_index, write_index
from featx.report.page import render, write_report
from featx.report.plots import confusion_plot, cost_plot, curves_plot

__all__ = [
    "confusion_plot",
    "cost_plot",
    "curves_plot",
    "render",
    "render_anomaly",
    "render_curve",
    "render_domains",
    "render_index",
    "write_anomaly",
    "write_curve_report",
    "write_domains",
    "write_index",
    "write_report",
]
