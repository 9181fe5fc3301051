import shutil
import subprocess

import pytest

from blitznet.cli.completion import bash_script
from blitznet.cli.main import COMMANDS, main
from support.without_torch import python

BASH = """
complete_line() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
  _blitznet
  echo "${COMPREPLY[@]}"
}
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("blitznet pred", "predict"),
        ("blitznet predict --min", "--min-score"),
        ("blitznet data ''", "check preview convert soft-label pseudo-label"),
        ("blitznet data check --class", "--class-names"),
        ("blitznet val --boot", "--bootstrap"),
        ("blitznet train --epo", "--epochs"),
        ("blitznet predict ima", ""),
        ("blitznet eval --mod", ""),
    ],
)
def test_bash_completes_commands_and_flags(line: str, expected: str) -> None:
    script = f"{bash_script()}\n{BASH}\ncomplete_line {line}\n"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{expected}\n", "")


def test_the_script_has_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    script = capsys.readouterr().out
    assert script.startswith("autoload -U +X bashcompinit && bashcompinit\n")
    assert not [name for name in COMMANDS if f'    "{name}' not in script]
    assert main(["completion", "tcsh"]) == 2


def test_the_script_needs_no_extra() -> None:
    code = "from blitznet.cli.main import main; main(['completion', 'bash'])"
    assert "--min-score" in python(code)
