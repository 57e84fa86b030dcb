"""Shell completion of a command line, for both programs.

Belongs here: what a parser does not say by itself, and what the scripts of the library that writes them leave out.
Tried in real shells by `tests/interop/test_completion.py`.
"""

import argparse
import re
from collections.abc import Callable

SHELLS = ("bash", "zsh", "fish")

# In fish the word that is completed may have its flag before it.
_FISH_WORD = "(commandline -ct | string replace -r -- '^--[^=]*=' '')"
_FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "fish": f"(__fish_complete_path {_FISH_WORD})"}
_FOLDERS = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "fish": f"(__fish_complete_directories {_FISH_WORD})"}
_PLACES = {"FILE": _FILES, "PATH": _FILES, "DIR": _FOLDERS}
_EITHER = "true|false"

_ZSH_VALUE = re.compile(r'^( *"\*?--[a-z-]+)(\[.*\])(:[^:]*(?:\\:[^:]*)*:[^:]*"$)', re.MULTILINE)
_BASH_WORDS = """
# bash makes three words of --flag=value, where two are looked for.
{function}_words() {{
  local at words=() current=0
  for at in "${{!COMP_WORDS[@]}}"; do
    [[ ${{COMP_WORDS[at]}} == = && $at -lt $COMP_CWORD ]] && continue
    (( at == COMP_CWORD )) && current=${{#words[@]}}
    words+=("${{COMP_WORDS[at]}}")
  done
  [[ ${{words[current]}} == = ]] && words[current]=
  local COMP_WORDS=("${{words[@]}}") COMP_CWORD=$current
  {function} "$@"
}}
complete -o bashdefault -F {function}_words {program}
"""


def completion_script(
    parser: argparse.ArgumentParser, shell: str, write: Callable[[argparse.ArgumentParser, str], str]
) -> str:
    """`write` is the library's. The parser is spent afterwards: it is good for no arguments."""
    _prepare(parser, shell)
    script = write(parser, shell)
    match shell:
        case "bash":
            function = "_shtab_" + re.sub(r"\W", "_", parser.prog)
            return script + _BASH_WORDS.format(function=function, program=parser.prog)
        case "zsh":
            return _ZSH_VALUE.sub(r"\1=\2\3", script).replace(f":{_EITHER}:", f"::{_EITHER}:")  # which may be left out
        case _:
            return script


def _prepare(parser: argparse.ArgumentParser, shell: str) -> None:
    """Says of every argument, in all commands, what its values are, and of every command what its help says."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for summary in action._choices_actions:
                command = action.choices[summary.dest]
                command.description = summary.help
                _prepare(command, shell)
        elif action.metavar in _PLACES:
            action.complete = _PLACES[action.metavar]  # type: ignore[attr-defined]
        elif action.metavar == _EITHER:
            action.choices = _EITHER.split("|")
        if shell == "zsh" and isinstance(action.metavar, str):
            action.metavar = action.metavar.replace(":", r"\:")  # what comes after a bare one is run
