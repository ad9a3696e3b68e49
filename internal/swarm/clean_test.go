package swarm

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
)

// littered is a manager's engine with things on it. A network goes only when
// no container is left, as with a real engine.
type littered struct {
	CleanAPI     // what the test does not need
	services     []string
	configs      []string
	containers   []string
	networks     []string
	volumes      []string
	availability swarm.NodeAvailability
	calls        []string
	stuck        bool   // containers do not go
	late         string // a network that the swarm has forgotten and the engine still lists
	lists        int    // how often it lists it
	tasks        int    // rounds that the services' tasks outlive them
	broken       error
}

func (l *littered) Info(context.Context, client.InfoOptions) (r client.SystemInfoResult, err error) {
	r.Info.Swarm.ControlAvailable = true
	return r, l.broken
}

func (l *littered) NodeList(context.Context, client.NodeListOptions) (r client.NodeListResult, err error) {
	n := swarm.Node{ID: "n2"}
	n.Description.Hostname, n.Spec.Availability = "docker2", l.availability
	r.Items = append(r.Items, n)
	return r, nil
}

func (l *littered) NodeUpdate(_ context.Context, _ string, o client.NodeUpdateOptions) (r client.NodeUpdateResult, err error) {
	l.calls = append(l.calls, "availability "+string(o.Spec.Availability))
	l.availability = o.Spec.Availability
	return r, nil
}

func (l *littered) ServiceList(context.Context, client.ServiceListOptions) (r client.ServiceListResult, err error) {
	for _, name := range l.services {
		s := swarm.Service{ID: name}
		s.Spec.Name = name
		r.Items = append(r.Items, s)
	}
	return r, nil
}

func (l *littered) take(list *[]string, what, id string) error {
	l.calls = append(l.calls, what+" "+id)
	if l.late == id {
		return fmt.Errorf("Error response from daemon: network %s not found", id)
	}
	if !slices.Contains(*list, id) {
		return fmt.Errorf("no such %s: %w", what, errdefs.ErrNotFound)
	}
	*list = slices.DeleteFunc(slices.Clone(*list), func(s string) bool { return s == id })
	return nil
}

func (l *littered) ServiceRemove(_ context.Context, id string, _ client.ServiceRemoveOptions) (r client.ServiceRemoveResult, err error) {
	return r, l.take(&l.services, "service", id)
}

func (l *littered) TaskList(context.Context, client.TaskListOptions) (r client.TaskListResult, err error) {
	if len(l.services) == 0 && l.tasks > 0 {
		l.tasks--
		r.Items = append(r.Items, swarm.Task{ID: "t1"})
		if l.tasks == 0 { // in its last moment it makes its network
			l.networks = append(l.networks, "made-late")
		}
	}
	return r, nil
}

func (l *littered) ConfigList(context.Context, client.ConfigListOptions) (r client.ConfigListResult, err error) {
	for _, name := range l.configs {
		x := swarm.Config{ID: name}
		x.Spec.Name = name
		r.Items = append(r.Items, x)
	}
	return r, nil
}

func (l *littered) ConfigRemove(_ context.Context, id string, _ client.ConfigRemoveOptions) (r client.ConfigRemoveResult, err error) {
	return r, l.take(&l.configs, "config", id)
}

func (l *littered) SecretList(context.Context, client.SecretListOptions) (r client.SecretListResult, err error) {
	return r, nil
}

func (l *littered) ContainerList(_ context.Context, o client.ContainerListOptions) (r client.ContainerListResult, err error) {
	if !o.All {
		return r, fmt.Errorf("stopped containers are not asked for")
	}
	for _, name := range l.containers {
		r.Items = append(r.Items, container.Summary{ID: name, Names: []string{"/" + name}})
	}
	return r, nil
}

func (l *littered) ContainerRemove(_ context.Context, id string, _ client.ContainerRemoveOptions) (r client.ContainerRemoveResult, err error) {
	if l.stuck {
		return r, fmt.Errorf("removal of container %s is already in progress: %w", id, errdefs.ErrConflict)
	}
	return r, l.take(&l.containers, "container", id)
}

func (l *littered) NetworkList(context.Context, client.NetworkListOptions) (r client.NetworkListResult, err error) {
	if l.late != "" {
		if l.lists--; l.lists < 0 {
			l.networks = slices.DeleteFunc(l.networks, func(s string) bool { return s == l.late })
		}
	}
	for _, name := range append(slices.Clone(predefined), l.networks...) {
		s := network.Summary{}
		s.ID, s.Name = name, name
		r.Items = append(r.Items, s)
	}
	return r, nil
}

func (l *littered) NetworkRemove(_ context.Context, id string, _ client.NetworkRemoveOptions) (r client.NetworkRemoveResult, err error) {
	if len(l.services)+len(l.containers) > 0 {
		return r, fmt.Errorf("network %s has active endpoints: %w", id, errdefs.ErrPermissionDenied)
	}
	return r, l.take(&l.networks, "network", id)
}

func (l *littered) VolumeList(context.Context, client.VolumeListOptions) (r client.VolumeListResult, err error) {
	for _, name := range l.volumes {
		r.Items = append(r.Items, volume.Volume{Name: name})
	}
	return r, nil
}

func (l *littered) VolumeRemove(_ context.Context, id string, _ client.VolumeRemoveOptions) (r client.VolumeRemoveResult, err error) {
	return r, l.take(&l.volumes, "volume", id)
}

func TestClean(t *testing.T) {
	l := &littered{services: []string{"web"}, configs: []string{"page"}, containers: []string{"web.1.x", "mine"}, networks: []string{"mynet01"}, volumes: []string{"data"}, availability: swarm.NodeAvailabilityDrain}
	p := normal()
	p.interval = time.Millisecond
	removed, err := p.clean(t.Context(), []CleanNode{{Name: "docker1", API: l}}, time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"service web", "config page", "availability of docker2", "container web.1.x", "container mine", "network mynet01", "volume data"}
	if diff := cmp.Diff(want, removed); diff != "" {
		t.Error(diff)
	}
	if l.availability != swarm.NodeAvailabilityActive || len(l.networks) != 0 {
		t.Errorf("left %+v", l)
	}
	// Nothing of the swarm's own was touched, and a clean swarm is left alone.
	l.calls = nil
	removed, err = p.clean(t.Context(), []CleanNode{{Name: "docker1", API: l}}, time.Minute, nil)
	if err != nil || len(removed)+len(l.calls) != 0 {
		t.Errorf("removed %q, called %q, %v", removed, l.calls, err)
	}
}

// Seen on real VMs: a network that the swarm has forgotten, and that its node
// lists for a while; Clean must not end before.
func TestCleanOfWhatHasJustGone(t *testing.T) {
	l := &littered{networks: []string{"mess"}, late: "mess", lists: 3, availability: swarm.NodeAvailabilityActive}
	p := normal()
	p.interval = time.Millisecond
	if _, err := p.clean(t.Context(), []CleanNode{{Name: "docker1", API: l}}, time.Minute, nil); err != nil || len(l.networks) != 0 {
		t.Errorf("%v, left %q", err, l.networks)
	}
	if len(l.calls) != 3 {
		t.Errorf("called %q, want as often as it was listed", l.calls)
	}
}

// A service's tasks outlive it, and may make its network after it has gone.
func TestCleanWaitsForTasks(t *testing.T) {
	l := &littered{services: []string{"web"}, tasks: 3, availability: swarm.NodeAvailabilityActive}
	p := normal()
	p.interval = time.Millisecond
	var said []string
	removed, err := p.clean(t.Context(), []CleanNode{{Name: "docker1", API: l}}, time.Minute, func(s string) { said = append(said, s) })
	if err != nil || len(l.networks) != 0 {
		t.Errorf("%v, left %q", err, l.networks)
	}
	if diff := cmp.Diff([]string{"service web", "network made-late"}, removed); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"still there: service web, task t1", "still there: task t1", "still there: task t1, network made-late"}, said[:3]); diff != "" {
		t.Error(diff)
	}
}

func TestCleanGivesUp(t *testing.T) {
	p := normal()
	p.interval = time.Millisecond
	var said []string
	l := &littered{containers: []string{"mine"}, stuck: true, availability: swarm.NodeAvailabilityActive}
	_, err := p.clean(t.Context(), []CleanNode{{Name: "docker1", API: l}}, 30*time.Millisecond, func(s string) { said = append(said, s) })
	if want := "clean the swarm: context deadline exceeded after 30ms; still there: container mine: removal of container mine is already in progress: conflict"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if diff := cmp.Diff([]string{"still there: container mine: removal of container mine is already in progress: conflict"}, said); diff != "" {
		t.Error(diff)
	}
	l.broken = fmt.Errorf("connection lost")
	_, err = p.clean(t.Context(), []CleanNode{{Name: "docker1", API: l}}, time.Minute, nil)
	if want := "docker1: clean: connection lost"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
