#compdef underpass
# Completions of underpass for zsh. The program itself says what belongs where the cursor is.

_underpass() {
    local -a answer closed open
    local line word about
    answer=("${(@f)$("${(Q)words[1]}" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    for line in "${(@)answer[2,-1]}"; do
        word=${line%%$'\t'*}
        about=${line#*$'\t'}
        line="${word//:/\\:}${about:+:$about}"
        # After some, more is to be typed, without a space.
        if [[ $word == *[:/=] ]]; then
            open+=("$line")
        else
            closed+=("$line")
        fi
    done
    local found=1
    (( $#closed )) && _describe -V -t values value closed && found=0
    (( $#open )) && _describe -V -t beginnings beginning open -S '' && found=0
    case $answer[1] in
        files) compset -P '--[^=]#='; _files && found=0 ;;
        directories) compset -P '--[^=]#='; _files -/ && found=0 ;;
    esac
    return found
}

# As a file of $fpath it is the function itself; otherwise it is read.
if [[ $funcstack[1] == _underpass ]]; then
    _underpass "$@"
else
    compdef _underpass underpass
fi
