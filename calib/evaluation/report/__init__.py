"""The report: one self-contained HTML page about a network, and the same figures for machines.

``measure`` runs both networks, ``candidates`` judges exponents, ``figures``
gathers what is known of each layer, ``causes`` puts it into words, ``charts``
draws, ``page`` writes.
"""

from calib.evaluation.report.page import write_report

__all__ = ["write_report"]
