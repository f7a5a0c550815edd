# Prints what zsh offers at the end of a line. $1 is a directory with the script, as _underpass; each line of standard
# input is a line. An interactive zsh on a terminal gets the keys.
zmodload zsh/zpty
directory=$1 said=$1/said
zpty session zsh -f -i
zpty -w session "PROMPT= fpath=($directory \$fpath) said=$said; autoload -Uz compinit; compinit -D -u"
# Everything that is offered goes through compadd.
zpty -w session 'compadd() {
    builtin compadd "$@"; local status_=$?
    [[ ${@[1,(i)(-|--)]} == *-[OAD]\ * ]] && return status_
    local -a hits; builtin compadd -O hits "$@"; print -rl -- $hits >>$said; return status_
}'
zpty -w session 'offer() { zle list-choices }; zle -N offer; bindkey "^T" offer'
zpty -w session 'done_() { print; print -r -- "offered""here"; BUFFER= }; zle -N done_; bindkey "^G" done_'
# The first of these ends when all of the above was read.
zpty -n -w session $'\a'
zpty -r session line '*offeredhere*'
while IFS= read -r line; do
    : >$said
    zpty -n -w session "$line"$'\x14\a'
    zpty -r session screen '*offeredhere*'
    print -r -- "= $line"
    cat $said
done
zpty -d session
