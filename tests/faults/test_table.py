"""The table of the faults: a class that was run again replaces its row, and no other."""

from tests.faults import report
from tests.faults.tally import Row, markdown, rows_of

ROWS = [Row("disk", 249, 247, 359.0, "2026-11-27"), Row("inputs", 1621, 1621, 169.0, "2026-11-27")]


def test_a_row_of_a_class_is_replaced_and_others_stay(tmp_path, monkeypatch):
    path = tmp_path / "reliability.md"
    path.write_text(f"before\n<!-- faults -->\n\n{markdown(ROWS)}\n<!-- end of faults -->\nafter\n")
    monkeypatch.setattr(report, "PATH", path)
    again = Row("disk", 249, 249, 301.0, "2026-12-01")
    report.write_rows({"disk": again})
    assert rows_of(path.read_text()) == {"disk": again, "inputs": ROWS[1]}
    assert "| all | 1,870 | 1,870 | 470 |  |" in path.read_text()
    assert path.read_text().startswith("before") and path.read_text().endswith("after\n")
