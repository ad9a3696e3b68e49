#!/bin/sh
# What the fakes share. A file under $FAKE/$NODE wins over one under $FAKE,
# which wins over the healthy lab's; NAME.exit holds the exit code.
say() {
  for dir in "$FAKE/$NODE" "$FAKE" "$HEALTHY/$NODE" "$HEALTHY"; do
    if [ -f "$dir/$1" ]; then
      cat "$dir/$1"
      [ ! -f "$dir/$1.exit" ] || exit "$(cat "$dir/$1.exit")"
      return 0
    fi
  done
  echo "${0##*/}: nothing recorded for $1 on $NODE" >&2
  exit 1
}

# kind is what the network of the service collides with.
kind() { cat "$STATE/kind" 2>/dev/null || echo none; }
