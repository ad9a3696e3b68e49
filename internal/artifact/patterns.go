package artifact

import (
	"bytes"
	"regexp"
	"slices"
	"sync"
)

// A pattern is tried only where one of its words occurs, in whatever case: the
// expressions are some 20 times slower than the search for a word. They are
// compiled when they are first needed, for most commands write no evidence.
type pattern struct {
	words   []string // in small letters
	find    func() *regexp.Regexp
	replace string
}

func (p pattern) occurs(lower []byte) bool {
	return slices.ContainsFunc(p.words, func(w string) bool { return bytes.Contains(lower, []byte(w)) })
}

func lazy(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// gap is what a line break puts between two characters of a split secret: the
// break itself, as it is or as JSON and shells write it, the indent or the
// "name | " that begins the next line.
const gap = `(?:[\\"' \t]*\r?\n[ \t]*(?:[^\s|]+[ \t]*\|[ \t]*)?|(?:\\+[nr])+[ \t]*)?`

// dash is a "-" as it is, in a URL and in JSON.
const dash = `(?:-|%2[dD]|\\u002[dD])`

// A join token is SWMTKN-1-, 50 characters of a digest, -, 25 of a secret; an
// unlock key is SWMKEY-1- and 43 characters of base64.
const (
	wholeToken = `SWMTKN` + dash + `1` + dash + `(?:` + gap + `[0-9a-z]){50}` + gap + dash + `(?:` + gap + `[0-9a-z]){25}`
	wholeKey   = `SWMKEY` + dash + `1` + dash + `(?:` + gap + `[0-9A-Za-z+/]){43}`
)

var patterns = []pattern{
	{[]string{"swmtkn"}, lazy(wholeToken), redacted},
	{[]string{"swmkey"}, lazy(wholeKey), redacted},
	// What is not whole, or not of today's length.
	{[]string{"swmtkn"}, lazy(`SWMTKN` + dash + `1` + dash + `(?:[0-9A-Za-z-]|%2[dD]|\\u002[dD])*`), redacted},
	{[]string{"swmkey"}, lazy(`SWMKEY` + dash + `1` + dash + `(?:[0-9A-Za-z+/=_-]|%[0-9A-Fa-f]{2}|\\u00[0-9A-Fa-f]{2}|\\/)*`), redacted},

	// https://user:password@host, up to the last @ before a slash or space. A
	// backslash only with what JSON escapes by it, so that \n ends the search.
	{[]string{"://", `:\/\/`}, lazy(`([A-Za-z][A-Za-z0-9+.-]*:(?:\\?/){2}[^/\s:@"'<>\\]*:)(?:[^/\s"'<>\\]|\\[\\/"u])+@`), "${1}" + redacted + "@"},
	// The same with a slash in the password, which is no port then.
	{[]string{"://"}, lazy(`([A-Za-z][A-Za-z0-9+.-]*://[^/\s:@"'<>\\]*:)[^/\s"'<>\\@]*[^0-9/\s"'<>\\@][^/\s"'<>\\@]*/[^\s"'<>\\@]*@`), "${1}" + redacted + "@"},
	// The same within another URL.
	{[]string{"%3a%2f%2f"}, lazy(`([A-Za-z][A-Za-z0-9+.-]*%3[aA]%2[fF]%2[fF](?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*?%3[aA])(?:[A-Za-z0-9._~+*!-]|%[0-9A-Fa-f]{2})+(%40)`), "${1}" + redacted + "${2}"},
	// http_proxy=user:password@host, without a scheme.
	{[]string{"proxy"}, lazy(`(?i)((?:https?|ftp|all)[_-]?proxy\\*["']?[ \t]*[:=][ \t]*\\*["']?[^\s"'@/:\\]+:)[^\s"'@\\/][^\s"'@\\]*@`), "${1}" + redacted + "@"},

	// HTTP headers, as curl, Go and JSON show them, and their values alone.
	// Behind a key in quotes the value has quotes, too: null is none.
	{[]string{"authorization", "x-registry-"}, lazy(`(?i)((?:authorization|x-registry-auth|x-registry-config)(?:\\*["'][ \t]*[:=][ \t]*(?:\[\s*)?\\*["']|[ \t]*[:=][ \t]*(?:\[\s*\\*["']|\\*["']?)))[^"'\\\s\]][^"'\\\r\n]*`), "${1}" + redacted},
	// A word of small letters alone is English.
	{[]string{"basic ", "bearer "}, lazy(`\b((?i:basic|bearer) +)([A-Za-z0-9+/._~-]*[A-Z0-9+/=][A-Za-z0-9+/._~-]{12,}=*|[A-Za-z0-9+/._~-]{12,}[A-Z0-9+/=][A-Za-z0-9+/._~-]*=*)`), "${1}" + redacted},
	{[]string{"eyj"}, lazy(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`), redacted},

	// ~/.docker/config.json and its like, and the same within a JSON string.
	{[]string{`auth"`, `passw`, `token"`, `unlockkey"`, `cakey"`, `secret"`}, lazy(`(?i)("(?:auth|password|passwd|(?:identity|registry|join|access_|refresh_)?token|unlockkey|signingcakey|secret)"\s*:\s*")(?:[^"\\]|\\.)+`), "${1}" + redacted},
	{[]string{`auth\`, `passw`, `token\`, `unlockkey\`, `cakey\`, `secret\`}, lazy(`(?i)(\\+"(?:auth|password|passwd|(?:identity|registry|join|access_|refresh_)?token|unlockkey|signingcakey|secret)\\+"\s*:\s*\\+")[^"\\]+`), "${1}" + redacted},
	// Assignments in TOML, YAML, Ruby, shells; variables of programs; what the
	// command lines of some programs show in a process list.
	{[]string{"passw", "passphrase"}, lazy(`(?i)(\b[\w.-]*(?:password|passphrase|passwd)\\*["']?[ \t]*[=:]>?[ \t]*\\*["'])[^"'\n\\]+`), "${1}" + redacted},
	{[]string{"passw", "passphrase"}, lazy(`(?i)(\b[\w.-]*(?:(?:password|passphrase)[ \t]*[=:][ \t]*|passwd=))[^\s"'\\,;&>][^\s"'\\,;&]*`), "${1}" + redacted},
	{[]string{"_token=", "secret", "_key="}, lazy(`(\b[A-Z0-9_]*(?:_TOKEN|SECRET[A-Z0-9_]*|API_KEY|ACCESS_KEY)=\\*["']?)[^\s"'\\,;&]+`), "${1}" + redacted},
	{[]string{"login"}, lazy(`(\b(?:docker|podman|nerdctl|skopeo|buildah)\b[^\n]{0,100}?\blogin\b[^\n]{0,200}?\s(?:-p|--password)[= ]\\*["']?)[^\s"'\\]+`), "${1}" + redacted},
	{[]string{"curl"}, lazy(`(\bcurl\b[^\n]{0,300}?\s(?:-u|-U|--user|--proxy-user)[= ]?\\*["']?[^\s"':\\]+:)[^\s"'\\]+`), "${1}" + redacted},
	{[]string{"sshpass"}, lazy(`(\bsshpass\s+-p\s*\\*["']?)[^\s"'\\]+`), "${1}" + redacted},
}
