from blitznet.report.markdown import grid


def test_a_table_that_text_does_not_break() -> None:
    rows = [("a|b", "1"), ("two\nlines", "2")]
    assert grid(("what", "n"), rows) == "| what | n |\n| --- | ---: |\n| a\\|b | 1 |\n| two lines | 2 |"
