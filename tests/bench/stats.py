"""Medians of runs, and how they read."""

import statistics


def values(runs, name):
    return [run[name] for run in runs if run.get(name) is not None]


def median(runs, name):
    found = values(runs, name)
    return statistics.median(found) if found else None


def figure(value):
    """Three digits that count."""
    if value is None:
        return "–"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if value == round(value, 1) and "." in text else text


def spread(runs, name):
    """median (least–most)"""
    found = values(runs, name)
    if not found:
        return "–"
    return f"{figure(statistics.median(found))} ({figure(min(found))}–{figure(max(found))})"
