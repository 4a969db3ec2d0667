import pytest

from benchmarks import precision


@pytest.mark.slow
def test_the_error_grows_with_fewer_bits(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["precision", "--frames", "4"])
    precision.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith(("| float", "| int"))]
    divergences = [float(row[1]) for row in rows]
    assert [row[0] for row in rows] == ["| float32", "| int8", "| int4"]
    assert divergences[0] < divergences[1] < divergences[2]
    assert rows[0][2].startswith("100.0%")
