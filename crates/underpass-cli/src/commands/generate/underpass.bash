# Completions of underpass for bash. The program itself says what belongs where the cursor is.

_underpass() {
    local rest=${COMP_LINE:0:COMP_POINT} words=() word at trimmed
    # Bash also parts words at : and =. They are joined unless white space is between them.
    for ((at = 0; at <= COMP_CWORD; at++)); do
        trimmed=${rest#"${rest%%[![:space:]]*}"}
        word=${COMP_WORDS[at]}
        ((at < COMP_CWORD)) || word=$trimmed
        if [[ $at -gt 0 && $trimmed == "$rest" ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        rest=${trimmed#"$word"}
    done

    local current=${words[-1]} answer
    mapfile -t answer < <("$1" __complete "${words[@]:1}" 2>/dev/null)
    # What stands before the last : or = is there already.
    local breaks=${COMP_WORDBREAKS//[!:=]/} before=
    [[ -z $breaks ]] || before=${current%"${current##*[$breaks]}"}
    COMPREPLY=()
    for word in "${answer[@]:1}"; do
        word=${word%%$'\t'*}
        COMPREPLY+=("${word#"$before"}")
    done
    if ((${#COMPREPLY[@]} == 1)) && [[ ${COMPREPLY[0]} == *[:/=] ]]; then
        compopt -o nospace
    fi

    case ${answer[0]} in
    directories) compopt -o dirnames ;;
    files)
        if ((${#COMPREPLY[@]} == 0)); then
            compopt -o default
            return
        fi
        # Words and files: the words must not be quoted as files are.
        local files
        mapfile -t files < <(compgen -f -- "$current")
        ((${#files[@]} == 0)) || compopt -o nospace
        for word in "${files[@]}"; do
            [[ -d $word ]] && word+=/
            COMPREPLY+=("$(printf %q "$word")")
        done
        ;;
    esac
}

complete -o nosort -F _underpass underpass
