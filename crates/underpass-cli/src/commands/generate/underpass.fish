# Completions of underpass for fish. The program itself says what belongs where the cursor is.

function __underpass_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    set -l program $words[1]
    set -e words[1]
    set -l answer ($program __complete $words "$current" 2>/dev/null)
    set -l paths $answer[1]
    set -e answer[1]
    for line in $answer
        echo $line
    end
    # fish knows nothing of --html=, since it asks us about everything.
    set -l before (string match --regex -- '^--[^=]*=' "$current")
    set -l rest (string replace --regex -- '^--[^=]*=' '' "$current")
    switch "$paths"
        case files
            for path in (__fish_complete_path "$rest")
                echo "$before$path"
            end
        case directories
            for path in (__fish_complete_directories "$rest")
                echo "$before$path"
            end
    end
end

complete --command underpass --no-files --keep-order --arguments '(__underpass_complete)'
