//go:build race

package script

func init() { raceDetector = true }
