package remote

import "strings"

// Quote writes argv as one line that a POSIX shell reads back as exactly
// these words. An empty word becomes two quotes; a word of safe characters stays bare,
// so that error messages and transcripts stay readable.
func Quote(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		words[i] = quoteWord(w)
	}
	return strings.Join(words, " ")
}

func quoteWord(w string) string {
	if w != "" && strings.Trim(w, safeInShell) == "" {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// safeInShell has no '=' and no '~': a bare A=B in front is an assignment,
// and ~ expands.
const safeInShell = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+"
