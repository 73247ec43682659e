/** `signet completion SHELL`, and `signet complete`, which its scripts call. */
import { candidates } from '../complete.ts';
import type { Invocation } from '../invocation.ts';
import { printData } from '../output.ts';

/**
 * Thin: they hand the words to `signet complete`, which knows the table and the keys. A first line `:file` or
 * `:directory` says that the shell's own names belong there too.
 */
const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `_signet() {
  # bash takes a word apart at ":" and "=", which collections and URIs of tokens have
  local -a words=() found
  local part cut quoted
  for part in "\${COMP_WORDS[@]:1:COMP_CWORD}"; do
    if (( \${#words[@]} )) && [[ "$part" == [:=]* || "\${words[-1]}" == *[:=] ]]; then
      words[-1]+="$part"
    else
      words+=("$part")
    fi
  done
  local word="\${words[-1]}"
  cut="\${word%"\${word##*[:=]}"}"
  mapfile -t found < <("\${COMP_WORDS[0]}" complete -- "\${words[@]}" 2>/dev/null)
  COMPREPLY=()
  case "\${found[0]}" in
    :file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    :directory) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
    *) for part in "\${found[@]%%$'\\t'*}"; do
         printf -v quoted '%q' "\${part#"$cut"}"
         COMPREPLY+=("$quoted")
       done ;;
  esac
}
complete -F _signet signet
`,
  zsh: `#compdef signet
_signet() {
  local -a found described
  found=("\${(@f)$("\${words[1]}" complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  case "\${found[1]}" in
    :file) _files ;;
    :directory) _files -/ ;;
    *) described=("\${(@)\${(@)found//:/\\\\:}/$'\\t'/:}"); _describe signet described ;;
  esac
}
compdef _signet signet
`,
  fish: `function __signet_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l found ($words[1] complete -- $words[2..-1] 2>/dev/null)
  switch "$found[1]"
    case ':file'
      __fish_complete_path (commandline -ct)
    case ':directory'
      __fish_complete_directories (commandline -ct)
    case '*'
      printf '%s\\n' $found
  end
end
complete -c signet -f -a '(__signet_complete)'
`,
};

export async function completion({ args: [shell = ''] }: Invocation): Promise<undefined> {
  printData(SCRIPTS[shell] ?? '');
}

export async function complete({ args, world: { session, commands } }: Invocation): Promise<undefined> {
  const found = await candidates(commands, args, session);
  if (found.length > 0) printData(found.join('\n'));
}
