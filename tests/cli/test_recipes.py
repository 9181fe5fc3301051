import pytest

from blitznet.cli.main import main
from blitznet.cli.train import ALL_RECIPES
from blitznet.pipelines.shipped import PIPELINES


def test_lists_all_recipes_and_pipelines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = {words[0]: " ".join(words[1:]) for line in capsys.readouterr().out.splitlines() if (words := line.split())}
    assert {*ALL_RECIPES, *PIPELINES} <= lines.keys()
    expected = "Table 3 blitznet300-s4 VOC2012@SegmentationAug/train 40,000 days on one GPU mAP 80.0, mIoU 72.8"
    assert lines["table3-joint"] == expected
    assert lines["finetune"].startswith("ours blitznet300-lite your own (--data)")


def test_no_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--cost"]) == 2
    assert "--cost" in capsys.readouterr().err
