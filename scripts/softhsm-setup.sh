#!/bin/sh
# softhsm-setup.sh: makes a throw-away SoftHSM2 token and prints what programs need to use it; `--help` says how.
#
# PINs never stand on a command line, where other users could read them. softhsm2-util takes them there or from a
# terminal only, so pkcs11-tool does that part: it reads them from its environment.
set -eu
umask 077
program=softhsm-setup
manifest_name=.softhsm-setup # lists, one name per line, what this script made in the directory; `.` is the directory

usage() {
  cat <<'TEXT'
Usage: softhsm-setup.sh [--dir DIR] [--label NAME] [--pin-file FILE] [--env FILE] [--config FILE]
       softhsm-setup.sh --remove --dir DIR

Makes a SoftHSM2 token for tests and CI and prints, as shell commands, the variables that say how to use it.
Run again with the same --dir and --label, it finds the same token and prints the same. Needs no root.

  --dir DIR        where everything goes; made if missing (default: a new temporary directory)
  --label NAME     the token's label, at most 32 bytes (default: signet-ci)
  --pin-file FILE  the user PIN, 4 to 255 characters; readable by its owner only (default: random, in DIR/pin)
  --env FILE       also write the variables to FILE: `. FILE` sets them
  --config FILE    write a configuration for signetd to FILE
  --remove         remove what this script made in DIR, and nothing else
  --help           print this

The variables:
  SOFTHSM2_CONF             SoftHSM2's configuration; every program that uses the token needs it
  SOFTHSM2_MODULE           the PKCS#11 module. Set beforehand, it says which one to use.
  SIGNET_TOKEN_DIR          DIR, absolute
  SIGNET_TOKEN_LABEL        the token's label
  SIGNET_TOKEN_SERIAL       the token's serial number
  SIGNET_TOKEN_URI          the token as an RFC 7512 URI, with module-path and pin-source
  SIGNET_TOKEN_PIN_FILE     file with the user PIN, mode 0600, without a newline at its end if the PIN is random
  SIGNET_TOKEN_SO_PIN_FILE  file with the security officer's PIN, likewise

Exit codes: 0 done, 1 failed, 2 wrong usage.
TEXT
}

say() { printf '%s: %s\n' "$program" "$1" >&2; }
die() {
  say "$1"
  exit 1
}
misuse() {
  say "$1"
  printf 'hint: %s.sh --help\n' "$program" >&2
  exit 2
}

parse_arguments() {
  dir='' label='' pin_file='' env_file='' config_file='' remove=no
  while [ $# -gt 0 ]; do
    case $1 in
      --help | -h)
        usage
        exit 0
        ;;
      --remove) remove=yes ;;
      --dir | --label | --pin-file | --env | --config)
        [ -n "${2:-}" ] || misuse "$1 needs a value"
        is_one_line "$2" || misuse "the value of $1 holds a control character"
        case $1 in
          --dir) dir=$2 ;;
          --label) label=$2 ;;
          --pin-file) pin_file=$2 ;;
          --env) env_file=$2 ;;
          --config) config_file=$2 ;;
        esac
        shift
        ;;
      *) misuse "unknown argument $1" ;;
    esac
    shift
  done
  if [ $remove = yes ]; then
    [ -n "$dir" ] || misuse '--remove needs --dir'
    [ -z "$label$pin_file$env_file$config_file" ] || misuse '--remove takes --dir only'
  fi
  label=${label:-signet-ci}
  [ "$(printf %s "$label" | wc -c)" -le 32 ] || misuse 'the label is longer than 32 bytes'
  case $label in ' '* | *' ') misuse 'the label begins or ends with a space' ;; esac # PKCS#11 pads labels with spaces
}

is_one_line() { [ "$(printf %s "$1" | LC_ALL=C tr -d '\000-\037\177')" = "$1" ]; }

# The absolute path of a file that may not exist yet; its directory must.
absolute() {
  case $1 in
    */*) parent=${1%/*}/ ;;
    *) parent=. ;;
  esac
  parent=$(CDPATH='' cd -P -- "$parent" 2>/dev/null && pwd) || die "the directory of $1 does not exist"
  printf '%s/%s' "${parent%/}" "${1##*/}"
}

# Whether the mode of a file or directory, as `ls` prints it, matches a pattern.
mode_is() {
  mode=$(ls -ldL -- "$1")
  # shellcheck disable=SC2254 # a pattern is what is wanted
  case $mode in $2) return 0 ;; *) return 1 ;; esac
}

# --- what is ours in the directory ---

is_made() { [ -f "$manifest" ] && grep -Fqx -e "$1" "$manifest"; }

# Announces that a name in the directory is about to be made; refuses what somebody else made.
claim() {
  is_made "$1" && return
  if [ -e "$dir/$1" ] || [ -L "$dir/$1" ]; then
    die "$dir/$1 exists and was not made by this script"
  fi
  printf '%s\n' "$1" >>"$manifest"
}

# Replaces a file by standard input, at once or not at all.
write_file() {
  unfinished=$1.new
  cat >"$unfinished"
  mv -f -- "$unfinished" "$1"
  unfinished=''
}

remove_made() {
  made=$(cat "$manifest")
  while IFS= read -r name; do
    case $name in
      . | .. | */*) ;;
      tokens) remove_tokens ;;
      *) rm -f -- "$dir/$name" ;;
    esac
  done <<NAMES
$made
NAMES
  rm -f -- "$manifest"
  case $made in '.' | ".
"*) rmdir -- "$dir" 2>/dev/null || say "left $dir: something else is in it" ;; esac
}

# SoftHSM2 keeps each token in a directory named by a UUID.
remove_tokens() {
  [ ! -L "$dir/tokens" ] || return 0
  for token in "$dir"/tokens/????????-????-????-????-????????????; do
    if [ ! -d "$token" ] || [ -L "$token" ]; then continue; fi
    rm -f -- "$token"/*.object "$token"/*.lock "$token/generation"
    rmdir -- "$token" 2>/dev/null || true
  done
  [ ! -d "$dir/tokens" ] || rmdir -- "$dir/tokens" 2>/dev/null || say "left $dir/tokens: something else is in it"
}

# A set-up that fails takes back a directory it began; one that it found stays as it was.
undo() {
  code=$?
  trap '' EXIT INT TERM HUP
  [ -z "$unfinished" ] || rm -f -- "$unfinished"
  if [ $code -ne 0 ] && [ $begun = yes ]; then remove_made; fi
  exit $code
}

# --- the programs ---

find_programs() {
  command -v softhsm2-util >/dev/null || die "softhsm2 is not installed; $(how_to_install)"
  command -v pkcs11-tool >/dev/null || die "pkcs11-tool (package opensc) is not installed; $(how_to_install)"
  if [ -n "${SOFTHSM2_MODULE:-}" ]; then
    [ -f "$SOFTHSM2_MODULE" ] || die "SOFTHSM2_MODULE names $SOFTHSM2_MODULE, which is not a file"
    module=$(absolute "$SOFTHSM2_MODULE")
    return
  fi
  util=$(command -v softhsm2-util)
  prefix=$(CDPATH='' cd -P -- "${util%/*}/.." && pwd)
  for module in \
    /usr/lib/softhsm/libsofthsm2.so `# Debian, Arch, Alpine` \
    /usr/lib/*-linux-*/softhsm/libsofthsm2.so `# Debian, multiarch` \
    /usr/lib64/pkcs11/libsofthsm2.so /usr/lib/pkcs11/libsofthsm2.so `# Fedora, Arch` \
    /usr/lib64/softhsm/libsofthsm2.so /usr/lib64/libsofthsm2.so `# Fedora, older` \
    /opt/homebrew/lib/softhsm/libsofthsm2.so /usr/local/lib/softhsm/libsofthsm2.so `# Homebrew` \
    /home/linuxbrew/.linuxbrew/lib/softhsm/libsofthsm2.so \
    "$prefix/lib/softhsm/libsofthsm2.so"; do
    [ -f "$module" ] && return
  done
  die 'libsofthsm2.so is not where distributions put it; set SOFTHSM2_MODULE to its path'
}

how_to_install() {
  sudo='sudo '
  [ "$(id -u)" -ne 0 ] || sudo=''
  if command -v apt-get >/dev/null; then
    echo "install it with: ${sudo}apt-get update && ${sudo}apt-get install -y softhsm2 opensc"
  elif command -v dnf >/dev/null; then
    echo "install it with: ${sudo}dnf install -y softhsm opensc"
  elif command -v pacman >/dev/null; then
    echo "install it with: ${sudo}pacman -S --noconfirm softhsm opensc"
  elif command -v apk >/dev/null; then
    echo "install it with: ${sudo}apk add softhsm opensc"
  elif command -v brew >/dev/null; then
    echo 'install it with: brew install softhsm opensc'
  else
    echo 'install SoftHSM2 (package softhsm2 or softhsm) and OpenSC (package opensc)'
  fi
}

# Runs a program, shows its output only if it fails.
quietly() {
  output=$("$@" 2>&1) || die "$1 failed: $output"
}

# --- the directory ---

open_directory() {
  is_new=yes
  if [ -z "$dir" ]; then
    dir=$(mktemp -d "${TMPDIR:-/tmp}/signet-softhsm.XXXXXX")
  elif [ -d "$dir" ]; then
    is_new=no
  else
    mkdir -- "$dir" || die "cannot make $dir"
  fi
  dir=$(CDPATH='' cd -P -- "$dir" && pwd)
  if [ $is_new = no ] && mode_is "$dir" '????????w*'; then die "everybody can write to $dir"; fi
  manifest=$dir/$manifest_name
  if [ ! -f "$manifest" ]; then
    begun=yes
    : >"$manifest"
    [ $is_new = no ] || echo . >"$manifest"
  fi
  case $dir in *[#=]*) die "SoftHSM2 cannot use a directory with # or = in its path: $dir" ;; esac
  env_file=${env_file:+$(absolute "$env_file")}
  config_file=${config_file:+$(absolute "$config_file")}
  pin_file=${pin_file:+$(absolute "$pin_file")}
  if [ -n "$env_file" ] && [ "$env_file" = "$config_file" ]; then misuse '--env and --config name one file'; fi
  check_output --env "$env_file"
  check_output --config "$config_file"

  claim softhsm2.conf
  claim tokens
  [ -d "$dir/tokens" ] || mkdir -- "$dir/tokens"
  write_file "$dir/softhsm2.conf" <<CONF
directories.tokendir = $dir/tokens
objectstore.backend = file
log.level = ERROR
CONF
  SOFTHSM2_CONF=$dir/softhsm2.conf
  export SOFTHSM2_CONF
}

check_output() {
  [ -n "$2" ] || return 0
  case $2 in
    "$dir/softhsm2.conf" | "$dir/tokens" | "$dir/pin" | "$dir/so-pin" | "$manifest" | "$pin_file")
      misuse "$1 names $2, which has another purpose"
      ;;
  esac
  if [ -e "$2" ] && [ ! -f "$2" ]; then die "$2 is not a file"; fi
  if [ "${2%/*}" = "$dir" ]; then claim "${2##*/}"; fi
}

# --- the token ---

# Sets `slot` (of the token, else a free one), `serial` and `pin_is_set`; `serial` is empty if there is no such token.
find_token() {
  slots=$(softhsm2-util --module "$module" --show-slots 2>&1) || die "softhsm2-util --show-slots failed: $slots"
  slot='' serial='' pin_is_set=''
  found=$(printf '%s\n' "$slots" | LABEL=$label LC_ALL=C awk '
    function value() { text = $0; sub(/^[^:]*: */, "", text); sub(/ +$/, "", text); return text }
    /^Slot [0-9]+$/ { slot = $2 }
    /^ +Serial number:/ { serial = value() }
    /^ +Initialized:/ { initialized = value() }
    /^ +User PIN init.:/ { pin = value() }
    /^ +Label:/ {
      if (initialized == "no") free = slot
      else if (value() == ENVIRON["LABEL"]) { count++; token = slot " " serial " " pin }
    }
    END { print count + 0, count ? token : free }')
  # shellcheck disable=SC2086 # numbers and one word
  set -- $found
  [ "$1" -le 1 ] || die "$1 tokens in $dir have the label $label"
  [ $# -ge 2 ] || die "softhsm2-util shows no free slot: $slots"
  slot=$2 serial=${3:-} pin_is_set=${4:-no}
}

make_token() {
  find_token
  export PIN SO_PIN # for pkcs11-tool, which is told `env:PIN`
  if [ -z "$serial" ]; then
    make_pin "$dir/so-pin"
    SO_PIN=$(cat "$dir/so-pin")
    quietly pkcs11-tool --module "$module" --slot "$slot" --init-token --label "$label" --so-pin env:SO_PIN
    find_token
    [ -n "$serial" ] || die "pkcs11-tool made no token with the label $label"
  fi
  read_pin
  if [ "$pin_is_set" = no ]; then
    SO_PIN=$(cat "$dir/so-pin")
    quietly pkcs11-tool --module "$module" --slot "$slot" --login --login-type so --so-pin env:SO_PIN \
      --init-pin --pin env:PIN
  fi
  # Says at once that another PIN file was given than last time. SoftHSM2 never locks a PIN.
  quietly pkcs11-tool --module "$module" --slot "$slot" --login --pin env:PIN --list-objects
}

# Makes a file with 128 random bits, unless it is there.
make_pin() {
  is_made "${1##*/}" && [ -f "$1" ] && return
  claim "${1##*/}"
  od -An -v -N16 -tx1 /dev/urandom | tr -d ' \n' | write_file "$1"
}

# Sets `PIN` and `pin_file`.
read_pin() {
  if [ -z "$pin_file" ]; then
    pin_file=$dir/pin
    if [ "$pin_is_set" = yes ] && [ ! -f "$pin_file" ]; then
      die "the token $label has a PIN that is not in $pin_file; name its file with --pin-file"
    fi
    make_pin "$pin_file"
  fi
  [ -f "$pin_file" ] || die "there is no PIN file $pin_file"
  mode_is "$pin_file" '????------*' || die "others may read the PIN file; run: chmod 600 $(quote "$pin_file")"
  PIN=$(cat "$pin_file")
  if ! is_one_line "$PIN" || [ ${#PIN} -lt 4 ] || [ ${#PIN} -gt 255 ]; then
    die "the PIN in $pin_file is not one line of 4 to 255 characters"
  fi
}

# --- the output ---

quote() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }

# Percent-encodes everything but RFC 3986's unreserved characters and `/` if the second argument is one.
percent_encode() {
  # shellcheck disable=SC2059 # one format is three octal digits
  for byte in $(printf %s "$1" | od -An -v -tx1); do
    case $byte in
      2[de] | 3[0-9] | 4[1-9a-f] | 5[0-9af] | 6[1-9a-f] | 7[0-9ae]) printf "\\$(printf %03o "0x$byte")" ;;
      2f) if [ "${2:-}" = / ]; then printf /; else printf %%2F; fi ;;
      *) printf %%%s "$byte" | tr a-f A-F ;;
    esac
  done
}

print_variable() { printf 'export %s=%s\n' "$1" "$(quote "$2")"; }

print_env() {
  print_variable SOFTHSM2_CONF "$SOFTHSM2_CONF"
  print_variable SOFTHSM2_MODULE "$module"
  print_variable SIGNET_TOKEN_DIR "$dir"
  print_variable SIGNET_TOKEN_LABEL "$label"
  print_variable SIGNET_TOKEN_SERIAL "$serial"
  print_variable SIGNET_TOKEN_URI "$uri"
  print_variable SIGNET_TOKEN_PIN_FILE "$pin_file"
  print_variable SIGNET_TOKEN_SO_PIN_FILE "$dir/so-pin"
}

set_up() {
  find_programs
  open_directory
  make_token
  uri="pkcs11:token=$(percent_encode "$label");serial=$(percent_encode "$serial")"
  uri="$uri?module-path=$(percent_encode "$module" /)&pin-source=file:$(percent_encode "$pin_file" /)"
  # The URI needs no escapes in JSON: percent_encode leaves nothing that JSON would have to escape.
  [ -z "$config_file" ] ||
    printf '{\n  "agent": {},\n  "tokens": [{ "uri": "%s" }]\n}\n' "$uri" | write_file "$config_file"
  [ -z "$env_file" ] || print_env | write_file "$env_file"
  print_env
}

parse_arguments "$@"
if [ $remove = yes ]; then
  manifest=$dir/$manifest_name
  if [ -f "$manifest" ]; then
    dir=$(CDPATH='' cd -P -- "$dir" && pwd)
    manifest=$dir/$manifest_name
    remove_made
  else
    say "nothing of this script is in $dir"
  fi
  exit 0
fi
begun=no unfinished=''
trap undo EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
set_up
