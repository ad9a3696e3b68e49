//go:build !linux

package doctor

// badFileSystem knows the file systems of Linux alone.
func badFileSystem(string) string { return "" }
