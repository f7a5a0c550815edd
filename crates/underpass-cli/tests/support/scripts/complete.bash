# Prints what bash offers at the end of a line. $1 is the script; each line of standard input is the line, and after a
# tab its words, as readline parts them.
# Outside of readline there is no compopt. What it asks for is done here.
compopt() { options+=" $*"; }
source "$1"
while IFS=$'\t' read -r COMP_LINE parted; do
    IFS='|' read -r -a COMP_WORDS <<<"$parted"
    [[ $COMP_LINE != *' ' ]] || COMP_WORDS+=('')
    COMP_POINT=${#COMP_LINE} COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) options=
    current=${COMP_WORDS[COMP_CWORD]}
    [[ $current != [:=] ]] || current=
    _underpass underpass "$current" "${COMP_WORDS[COMP_CWORD - 1]}"
    case ${#COMPREPLY[@]}$options in
    0*default*) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    0*dirnames*) mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    esac
    printf '= %s\n' "$COMP_LINE"
    ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"
done
