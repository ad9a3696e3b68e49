#!/bin/sh
# What the fakes share. A file under $FAKE/$NODE wins over one under $FAKE,
# which wins over the healthy lab's; NAME.exit holds the exit code, and what
# such a command said goes to standard error.
say() {
  for dir in "$FAKE/$NODE" "$FAKE" "$HEALTHY/$NODE" "$HEALTHY"; do
    if [ -f "$dir/$1" ]; then
      if [ -f "$dir/$1.exit" ]; then
        cat "$dir/$1" >&2
        exit "$(cat "$dir/$1.exit")"
      fi
      cat "$dir/$1"
      return 0
    fi
  done
  echo "${0##*/}: nothing recorded for $1 on $NODE" >&2
  exit 1
}

# phase is how far the document has come.
phase() { cat "$STATE/phase" 2>/dev/null || echo begin; }

no_such() {
  echo "Error: No such $1: $2" >&2
  exit 1
}
