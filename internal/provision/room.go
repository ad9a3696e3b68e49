package provision

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"labctl/internal/config"
)

// What a node's disk must have room for, in KiB.
const (
	leastKB = 32 << 10 // below it no container starts, and dockerd loses its own files
	spareKB = 64 << 10 // image, logs, containers
	// What apt takes for Docker, which it tells only when its lists are there:
	// on Debian 12, rounded up.
	aptListsKB, aptPackagesKB = 120 << 10, 350 << 10
)

// wants tells how much will go where; see probe.sh.
func wants(source config.Source, f facts, debs []Package) map[string]int64 {
	need := map[string]int64{"data": spareKB}
	for _, p := range debs {
		need["programs"] += p.InstalledKB
		need["sent"] += p.Size >> 10
	}
	if _, has := f.packages["docker.io"]; source != config.SourceBundle && !has && f.packages["docker-ce"] == "" {
		need["programs"] += aptPackagesKB
		need["data"] += aptListsKB
	}
	return need
}

// checkRoom refuses a node whose disks have less than what is needed in a place: a
// disk that runs full in mid-install leaves a broken package database.
func (o Options) checkRoom(f facts, needKB map[string]int64) error {
	need, free := map[string]int64{}, map[string]int64{} // by mount
	for what, kb := range needKB {
		if r, known := f.room[what]; known {
			need[r.mount] += kb
			free[r.mount] = r.freeKB
		}
	}
	var short, mounts []string
	for _, m := range slices.Sorted(maps.Keys(need)) {
		if lack := need[m] - free[m]; lack > 0 {
			short = append(short, fmt.Sprintf("%d MiB are missing on the disk of %s: %d MiB free, %d MiB needed", (lack+1023)>>10, m, free[m]>>10, (need[m]+1023)>>10))
			mounts = append(mounts, m)
		}
	}
	if short == nil {
		return nil
	}
	e := refuse(o.Node, stepInstall, "%s", strings.Join(short, "; "))
	e.Remedy = fmt.Sprintf("make room on %s, then the same command again; this shows what fills it: labctl exec %s -- sudo du -xhd2 -t50M %s", o.Node, o.Node, strings.Join(mounts, " "))
	return e
}
