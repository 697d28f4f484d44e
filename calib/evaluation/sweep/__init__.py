"""Accuracy over mantissa widths, groups and methods, its points spread over processes or machines by Dask.

``options`` reads a file's ``[sweep]``; ``points`` says what is measured and
measures it; ``engine`` runs points and keeps those that are done; ``results``
and ``picture`` write what came out; ``reproduce`` makes the published table by
the same means. Nothing is imported here: ``calib.config`` needs ``options``.
"""
