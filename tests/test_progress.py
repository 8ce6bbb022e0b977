"""Long work says what is done and how long the rest will take."""

import types

from sslzoo import progress


def test_the_rest_takes_as_long_as_each_part_took_so_far(monkeypatch, caplog):
    caplog.set_level("INFO", logger="absl")
    clock = iter([1000, 1000, 1120, 1600]).__next__  # the second part takes longer
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=clock))
    assert [*progress.counted([7, 8, 9], lambda n: f"run {n}")] == [7, 8, 9]
    assert [record.getMessage() for record in caplog.records] == [
        "run 7 (1 of 3) ...",
        "run 8 (2 of 3, 4 minutes left) ...",
        "run 9 (3 of 3, 5 minutes left) ...",
    ]
