package diagnose

import (
	"flag"
	"os"
	"testing"
)

// The scripts' tests wait for answers that do not come, each in network
// namespaces of its own: that needs no processor, so all may wait at a time.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
