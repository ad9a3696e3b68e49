#!/bin/sh
# What the fakes share. A file under $FAKE/$NODE wins over one under $FAKE,
# which wins over the healthy lab's; NAME.exit holds the exit code.
recorded() {
  for dir in "$FAKE/$NODE" "$FAKE" "$HEALTHY/$NODE" "$HEALTHY"; do
    if [ -f "$dir/$1" ]; then
      echo "$dir/$1"
      return 0
    fi
  done
  return 1
}

# say NAME...: the first of these that was recorded.
say() {
  for name; do
    if file=$(recorded "$name"); then
      cat "$file"
      [ ! -f "$file.exit" ] || exit "$(cat "$file.exit")"
      return 0
    fi
  done
  echo "${0##*/}: nothing recorded for $* on $NODE" >&2
  exit 1
}

# kind is what the firewall does: none, overlay, overlay-mended, gossip or
# gossip-mended.
kind() { cat "$STATE/kind" 2>/dev/null || echo none; }

# mended notes that the fault is over.
mended() {
  case $(kind) in
  overlay | gossip) echo "$(kind)-mended" >"$STATE/kind" ;;
  esac
}
