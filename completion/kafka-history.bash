_kafka-history() {
    local IFS=$' \t\n'
    local args cur prev cmd opts arg
    args=("${COMP_WORDS[@]}")
    cur="${COMP_WORDS[COMP_CWORD]}"
    prev="${COMP_WORDS[COMP_CWORD-1]}"
    opts="-h --help -e --exec -b --brokers -t --topic -X --property -F --config --embedded -o --from -g --group --latest --tombstones --max-bytes -u --until -c --count --timeout --on-error --watch -f --format --progress --log --completion --version"

    case "$prev" in
        -e|--exec)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        -b|--brokers)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        -t|--topic)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        -X|--property)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        -F|--config)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        --embedded)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        -o|--from)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        -g|--group)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        --max-bytes)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        -u|--until)
            COMPREPLY=($(compgen -W "caught-up" -- "$cur"))
            return 0
            ;;
        -c|--count)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        --timeout)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        --on-error)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        -f|--format)
            COMPREPLY=($(compgen -f -- "$cur"))
            return 0
            ;;
        --progress)
            COMPREPLY=($(compgen -W "auto always never" -- "$cur"))
            return 0
            ;;
        --completion)
            COMPREPLY=($(compgen -W "bash zsh fish" -- "$cur"))
            return 0
            ;;
    esac

    if [[ "$cur" = -* ]]; then
        COMPREPLY=($(compgen -W "$opts" -- "$cur"))
    fi
}

complete -F _kafka-history -o bashdefault -o default kafka-history
