# Shared by the scripts of this folder; sourced, with the working directory at the top of the tree.
# shellcheck shell=bash

say() { printf '\n== %s\n' "$*"; }

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "This needs root, and there is no sudo: $*"
  fi
}

# need_packages GROUP...: installs what scripts/packages.txt lists for the groups and is missing.
need_packages() {
  local group package missing=()
  command -v dpkg-query >/dev/null || die "Hedge's scripts install Debian packages; see scripts/packages.txt for what it needs."
  while read -r group package; do
    case " $* " in *" $group "*) ;; *) continue ;; esac
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done < <(grep -v '^#' scripts/packages.txt)
  [ ${#missing[@]} -gt 0 ] || return 0
  say "Installing ${#missing[@]} Debian packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

jobs_count() { nproc; }

# build PRESET [TARGET...]: configures once, builds what changed.
build() {
  local preset=$1 targets=()
  shift
  [ $# -eq 0 ] || targets=(--target "$@")
  if [ ! -e "build/$preset/build.ninja" ]; then
    say "Configuring the preset '$preset'"
    cmake --preset "$preset" >"build-$preset.log" 2>&1 || {
      cat "build-$preset.log" >&2
      rm -f "build-$preset.log"
      return 1
    }
    rm -f "build-$preset.log"
  fi
  say "Building the preset '$preset'"
  cmake --build --preset "$preset" -j "$(jobs_count)" "${targets[@]}"
}

# "SHA256  FILE" of both default models, from the list that `hedge pull` uses.
default_models() {
  awk -F '"' '/^file = / { file = $2 } /^sha256 = / { print $2 "  " file }' src/cli/models/sources.toml |
    grep -E '  (smollm2-135m-instruct-q4_1|gemma-3-270m-q4_k_m)\.gguf$'
}

# Whether the folders named by HEDGE_MODELS already hold both default models, each with its sha256: one second of reading.
have_default_models() {
  local sha256 file folder found
  while read -r sha256 file; do
    found=
    while read -r -d : folder; do
      if [ -n "$found" ] || [ -z "$folder" ] || [ ! -e "$folder/$file" ]; then continue; fi
      if printf '%s  %s\n' "$sha256" "$folder/$file" | sha256sum --check --status; then
        found=1
      else
        printf '%s is not the default model of that name (sha256); it is left alone\n' "$folder/$file" >&2
      fi
    done <<<"${HEDGE_MODELS-}:"
    [ -n "$found" ] || return 1
  done < <(default_models)
}

# Fetches the default models, verified by size and sha256; does nothing when they are there. Sets HEDGE_MODELS to the
# folder that holds them.
need_models() {
  if have_default_models; then return 0; fi
  say "The default models: SmolLM2-135M-Instruct, Gemma-3-270M"
  build/release/hedge pull smollm2-135m-instruct gemma-3-270m
  local path
  path=$(build/release/hedge pull --json smollm2-135m-instruct | sed -n 's/^ *"path": "\(.*\)",*$/\1/p')
  HEDGE_MODELS=$(dirname "$path")
  export HEDGE_MODELS
}
