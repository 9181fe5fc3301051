from blitznet.report.markdown import markdown_table


def test_cells_are_escaped() -> None:
    rows = [("a|b", "1"), ("two\nlines", "2")]
    assert markdown_table(("what", "n"), rows) == "| what | n |\n| --- | ---: |\n| a\\|b | 1 |\n| two lines | 2 |"
