"""The text of the completion scripts. All three walk the words before the cursor in the same way:

``line`` is the command found so far (``/pool/add``), ``wants`` an option whose value comes next, ``count`` how many
operands there were, ``where`` the options that say which agent is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from asa.cli.commands import COMPLETED

if TYPE_CHECKING:
    from asa.cli.completion import Choices, Command, Place

_WHERE: Final = ("--socket", "--tcp", "--cacert", "--node", "--token-file", "--cert", "--cert-key")
_ASK: Final = "command asa completion --timeout 1s --values"


def _quoted(text: str) -> str:
    """For bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _places(commands: Sequence[Command]) -> Iterator[tuple[str, Place]]:
    """``LINE OPTION`` and ``LINE COUNT``, with what may stand there; a count of ``*`` is any."""
    for command in commands:
        for option, place in command.valued:
            yield f"{command.path} {option}", place
        for index, place in enumerate(command.operands):
            last = index == len(command.operands) - 1
            yield f"{command.path} {'*' if last and command.repeated else index}", place


def _grouped(commands: Sequence[Command], said: Callable[[Place], str]) -> Iterator[tuple[list[str], str]]:
    """What ``said`` makes of each place that has something, with all the places it is for."""
    groups: dict[str, list[str]] = {}
    for where, place in _places(commands):
        if place.kind or place.choices:
            groups.setdefault(said(place), []).append(where)
    for text, wheres in groups.items():
        yield wheres, text


def _valued(commands: Sequence[Command]) -> list[str]:
    return [f"{command.path} {option}" for command in commands for option, _ in command.valued]


def _bash_pattern(where: str) -> str:
    return f'"{where[:-1]}"*' if where.endswith("*") else f'"{where}"'


def _arms(commands: Sequence[Command], said: Callable[[Place], str], indent: str) -> str:
    """Of a ``case``, in bash and zsh alike."""
    return "\n".join(
        f"{indent}{' | '.join(_bash_pattern(each) for each in wheres)}) {text} ;;"
        for wheres, text in _grouped(commands, said)
    )


def bash(commands: Sequence[Command]) -> str:
    def place(found: Place) -> str:
        return f"kind={found.kind}" if found.kind else f"words={_quoted(' '.join(word for word, _ in found.choices))}"

    def words(choices: Callable[[Command], Choices]) -> str:
        return "\n".join(
            f'            "{each.path}") words={_quoted(" ".join(word for word, _ in choices(each)))} ;;'
            for each in commands
            if choices(each)
        )

    return f"""# Completion of asa for bash: eval "$(asa completion bash)"
_asa() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} line= wants= word words= kind= i count=0
    local -a where=()
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        # bash splits --pool=wan in three.
        [[ $word == = ]] && continue
        if [[ -n $wants ]]; then
            case $wants in
            {" | ".join(_WHERE)}) where+=("$wants" "$word") ;;
            esac
            wants=
        elif [[ $word == -* ]]; then
            case "$line $word" in
            {" | ".join(f'"{each}"' for each in _valued(commands))}) wants=$word ;;
            esac
        else
            case "$line/$word" in
            {" | ".join(f'"{each.path}"' for each in commands if each.path)}) line=$line/$word ;;
            *) count=$((count + 1)) ;;
            esac
        fi
    done
    [[ $current == = ]] && current=
    if [[ -z $wants && $current == -* ]]; then
        case "$line" in
{words(lambda each: each.options)}
        esac
    else
        case "$line" in
{words(lambda each: each.commands)}
        esac
        [[ -n $wants ]] && words=
        case "$line ${{wants:-$count}}" in
{_arms(commands, place, " " * 12)}
        esac
    fi
    case $kind in
    files) mapfile -t COMPREPLY < <(compgen -f -- "$current") && compopt -o filenames 2>/dev/null ;;
    {" | ".join(COMPLETED)}) words=$({_ASK} "$kind" "${{where[@]}}" 2>/dev/null) ;;
    esac
    for word in $words; do
        [[ $word == "$current"* ]] && COMPREPLY+=("$word")
    done
    return 0
}}
complete -F _asa asa
"""


def zsh(commands: Sequence[Command]) -> str:
    def described(choices: Choices) -> str:
        escaped = ((word.replace(":", "\\:"), text.replace(":", "\\:")) for word, text in choices)
        return " ".join(_quoted(f"{word}:{text}" if text else word) for word, text in escaped)

    def place(found: Place) -> str:
        return f"kind={found.kind}" if found.kind else f"choices=({described(found.choices)})"

    def words(choices: Callable[[Command], Choices]) -> str:
        return "\n".join(
            f'            "{each.path}") choices=({described(choices(each))}) ;;' for each in commands if choices(each)
        )

    return f"""#compdef asa
# Completion of asa for zsh: source <(asa completion zsh), or a file _asa in the fpath
_asa() {{
    local current=${{words[CURRENT]}} line= wants= word= kind= i count=0
    local -a where choices
    for ((i = 2; i < CURRENT; i++)); do
        word=${{words[i]}}
        if [[ -n $wants ]]; then
            case $wants in
            {" | ".join(_WHERE)}) where+=("$wants" "$word") ;;
            esac
            wants=
        elif [[ $word == -* ]]; then
            case "$line $word" in
            ({" | ".join(f'"{each}"' for each in _valued(commands))}) wants=$word ;;
            esac
        else
            case "$line/$word" in
            ({" | ".join(f'"{each.path}"' for each in commands if each.path)}) line=$line/$word ;;
            (*) count=$((count + 1)) ;;
            esac
        fi
    done
    if [[ -z $wants && $current == -* ]]; then
        case "$line" in
{words(lambda each: each.options)}
        esac
    else
        case "$line" in
{words(lambda each: each.commands)}
        esac
        [[ -n $wants ]] && choices=()
        case "$line ${{wants:-$count}}" in
{_arms(commands, place, " " * 12)}
        esac
    fi
    case $kind in
    files) _files ;;
    {" | ".join(COMPLETED)}) choices=(${{(f)"$({_ASK} $kind "${{where[@]}}" 2>/dev/null)"}}); compadd -a choices ;;
    *) (( $#choices )) && _describe 'asa' choices ;;
    esac
}}
if [[ $funcstack[1] == _asa ]]; then _asa "$@"; else compdef _asa asa; fi
"""


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish(commands: Sequence[Command]) -> str:
    def described(choices: Choices) -> str:
        return " ".join(_fish_quoted(f"{word}\t{text}" if text else word) for word, text in choices)

    def place(found: Place) -> str:
        return f"set kind {found.kind}" if found.kind else f"set choices {described(found.choices)}"

    def words(choices: Callable[[Command], Choices]) -> str:
        return "\n".join(
            f"            case {_fish_quoted(each.path)}\n                set choices {described(choices(each))}"
            for each in commands
            if choices(each)
        )

    arms = "\n".join(
        f"            case {' '.join(_fish_quoted(each) for each in wheres)}\n                {text}"
        for wheres, text in _grouped(commands, place)
    )
    return f"""# Completion of asa for fish: asa completion fish | source
function __asa_complete
    set -l current (commandline -ct)
    set -l line ''
    set -l wants ''
    set -l kind ''
    set -l count 0
    set -l where
    set -l choices
    set -l tokens (commandline -opc)
    for word in $tokens[2..-1]
        if test -n "$wants"
            switch $wants
                case {" ".join(_WHERE)}
                    set -a where $wants $word
            end
            set wants ''
        else if string match -q -- '-*' $word
            switch "$line $word"
                case {" ".join(_fish_quoted(each) for each in _valued(commands))}
                    set wants $word
            end
        else
            switch "$line/$word"
                case {" ".join(_fish_quoted(each.path) for each in commands if each.path)}
                    set line "$line/$word"
                case '*'
                    set count (math $count + 1)
            end
        end
    end
    if test -z "$wants"; and string match -q -- '-*' $current
        switch "$line"
{words(lambda each: each.options)}
        end
    else
        switch "$line"
{words(lambda each: each.commands)}
        end
        set -l place "$line $count"
        if test -n "$wants"
            set choices
            set place "$line $wants"
        end
        switch "$place"
{arms}
        end
    end
    switch "$kind"
        case files
            __fish_complete_path $current
        case {" ".join(COMPLETED)}
            {_ASK} $kind $where 2>/dev/null
        case '*'
            test (count $choices) -gt 0; and printf '%s\\n' $choices
    end
end
complete -c asa -f -a '(__asa_complete)'
"""
