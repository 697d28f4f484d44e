"""What the artifact's provenance says of its calibration, whatever methods made it."""

from __future__ import annotations

from calib.evaluation.shown import figure_text, title_of, unit_of

SHOWN_ELSEWHERE = {
    *("method", "weights", "calibration_images", "replaced", "notes", "adjustments", "bfp", "sqnr_db", "figures", "judged_by"),
}
MOST = 12  # entries of a table that stay open on the page


def calibration_facts(provenance: dict) -> list[dict]:
    """Everything recorded, in the order of its recording, as key, text, and table (pairs, where it is a mapping).

    Options come first. ``adjustments`` are shown layer by layer; what is empty
    is left out.
    """
    facts = [fact(k, v) for k, v in provenance.get("bfp", {}).items()]
    facts += [fact(k, v) for k, v in provenance.items() if k not in SHOWN_ELSEWHERE]
    return [f for f in facts if f["text"] or f["table"]]


def fact(key: str, value: object) -> dict:
    """key; text, or table: of a mapping its pairs, of a list of mappings the first entry of each and the others."""
    table = []
    if isinstance(value, dict):
        table = [(str(k), words(v)) for k, v in value.items()]
    elif isinstance(value, (list, tuple)) and value and all(isinstance(v, dict) and v for v in value):
        for one in value:
            (_, name), *rest = one.items()
            table.append((words(name), words(dict(rest))))
    return {"key": key.replace("_", " "), "text": "" if table else words(value), "table": table}


def words(value: object) -> str:
    """A value as a person writes it; empty for nothing."""
    if value is None or value == [] or value == {} or value == "":
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{str(k).replace('_', ' ')} {words(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        separator = "; " if any(isinstance(v, (dict, list)) for v in value) else ", "
        return separator.join(words(v) for v in value)
    return str(value)


def candidates(provenance: dict) -> list[tuple[str, float, bool]]:
    """Name, output signal-to-noise in dB on held-out calibration images, and whether it was kept; as recorded."""
    figures = provenance.get("sqnr_db")
    if not isinstance(figures, dict):
        return []
    kept = str(provenance.get("method", "")).split(": ")[-1]
    numbers = {str(k): float(v) for k, v in figures.items() if isinstance(v, (int, float))}
    return [(k, v, k == kept) for k, v in numbers.items()]


def candidate_figures(provenance: dict) -> tuple[str, dict[str, str]]:
    """What the figure is called by which candidates were compared, and each one's as text; as recorded, empty where none was."""
    figures, metric = provenance.get("figures"), provenance.get("judged_by")
    if not isinstance(figures, dict) or not isinstance(metric, str):
        return "", {}
    numbers = {str(k): float(v) for k, v in figures.items() if isinstance(v, (int, float))}
    return title_of(metric), {k: figure_text(v, unit_of(metric)) for k, v in numbers.items()}
