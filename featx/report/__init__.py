"""The page a person reads after a comparison: one self-contained HTML file."""

from featx.report.page import render, write_report
from featx.report.plots import confusion_plot, cost_plot, curves_plot

__all__ = ["confusion_plot", "cost_plot", "curves_plot", "render", "write_report"]
