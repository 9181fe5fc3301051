"""`blitznet completion`: a script that completes commands and flags in a shell."""

from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Literal

import tyro

from blitznet.cli.flags import metavar

_BASH = """_blitznet() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" flags=""
  case "${{COMP_WORDS[1]}} ${{COMP_WORDS[2]}}" in
{cases}
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$current"))
{groups}
  elif [[ "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
  fi
}}
complete -o bashdefault -o default -F _blitznet blitznet"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


@dataclass(frozen=True)
class Completion:
    """Print a script that completes commands and flags in a shell.

    Examples:
        blitznet completion bash > ~/.local/share/bash-completion/completions/blitznet
        blitznet completion zsh >> ~/.zshrc
    """

    shell: Annotated[Literal["bash", "zsh"], tyro.conf.Positional, metavar("SHELL")]
    """Shell that reads the script: bash or zsh."""


def run(options: Completion) -> int:
    """Print the script."""
    print((_ZSH if options.shell == "zsh" else "") + bash_script())
    return 0


def bash_script() -> str:
    """The script for bash, which zsh reads with bashcompinit."""
    from blitznet.cli.main import ALIASES, COMMANDS

    flags = {name: _flags(command.module, command.options) for name, command in COMMANDS.items()}
    flags |= {alias: flags[name] for alias, name in ALIASES.items()}
    subcommands: dict[str, list[str]] = {}
    for name in flags:
        group, _, subcommand = name.partition(" ")
        if subcommand:
            subcommands.setdefault(group, []).append(subcommand)
    patterns = {name: f'"{name}"' if " " in name else f'"{name} "*' for name in flags}
    cases = "\n".join(f'    {patterns[name]}) flags="{" ".join(words)}" ;;' for name, words in flags.items())
    groups = "\n".join(
        f'  elif [ "$COMP_CWORD" -eq 2 ] && [ "${{COMP_WORDS[1]}}" = {group} ]; then\n'
        f'    COMPREPLY=($(compgen -W "{" ".join(names)}" -- "$current"))'
        for group, names in subcommands.items()
    )
    commands = " ".join([*(name for name in flags if " " not in name), *subcommands, "help", "--help", "--version"])
    return _BASH.format(cases=cases, groups=groups, commands=commands)


def _flags(module: str, options: str) -> list[str]:
    """The flags of a command, which is imported without the packages of its extra."""
    from blitznet.cli.parsing import flags_of

    return [*flags_of(getattr(import_module(f"blitznet.cli.{module}"), options)), "--help"]
