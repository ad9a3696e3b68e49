package report

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// words is what a picture of the lab says, box by box.
func (t *topology) words() []string {
	out := []string{fmt.Sprint(t.HostLines)}
	for _, n := range t.Nodes {
		s := fmt.Sprintf("%s: %s, %s %q", n.Class, n.Name, n.Role, n.Lines)
		for _, c := range n.Replicas {
			s += fmt.Sprintf(" [%s: %s]", c.Class, c.Text)
		}
		if n.More > 0 {
			s += fmt.Sprintf(" +%d", n.More)
		}
		out = append(out, s)
	}
	for _, n := range t.Nets {
		out = append(out, fmt.Sprintf("%s: %s, %d links", n.Class, n.Label, len(n.Links)))
	}
	if t.Waiting != "" {
		out = append(out, t.Waiting)
	}
	return out
}

func TestTopology(t *testing.T) {
	if topologyOf("x", &Report{}) != nil {
		t.Error("a lab without nodes is drawn")
	}
	r := &Report{
		Subnet: "192.168.33.0/24",
		Nodes: []Node{
			{Name: "docker1", Role: "manager", Leader: true, LabIP: "192.168.33.11", State: "ready", Docker: "20.10.24+dfsg1"},
			{Name: "docker2", Role: "worker", LabIP: "192.168.33.12", State: "down", Docker: "29.1.0"},
			{Name: "docker3", Role: "worker", Drained: true, State: "ready"},
			{Name: "docker4", Role: "worker", Error: "no answer within 2m"},
		},
		Services: []Service{{Name: "web", Ports: []string{"8080 to 80/tcp"}}},
		Networks: []Network{
			{Name: "ingress", Driver: "overlay", Ingress: true, Subnets: []string{"10.0.0.0/24"}, Nodes: []string{"docker1", "docker2", "docker3"}},
			{Name: "mynet02", Driver: ""},
		},
		Replicas: []Replica{{Name: "web.99", State: "rejected", Node: "docker2", Error: "No such image"}, {Name: "web.100", State: "pending"}},
	}
	for i := range 14 {
		r.Replicas = append([]Replica{{Name: fmt.Sprintf("web.%d", 14-i), State: "running", Node: "docker2"}}, r.Replicas...)
	}
	running := ""
	for i := range 11 {
		running += fmt.Sprintf(" [chip: web.%d]", i+1)
	}
	want := []string{
		"[your machine the nodes' network 192.168.33.0/24 web: port 8080 to 80/tcp]",
		`node: docker1, manager, leader ["192.168.33.11" "Docker 20.10.24"]`,
		`node down: docker2, worker, down ["192.168.33.12" "Docker 29.1.0"] [chip bad: web.99 rejected]` + running + " +3",
		"node: docker3, worker, drained []",
		"node down: docker4, worker, silent []",
		"net ingress: ingress · 10.0.0.0/24 · published ports, 3 links",
		"net idle: mynet02 · no addresses, 0 links",
		"without a node: web.100 pending",
	}
	if d := cmp.Diff(want, topologyOf("x", r).words()); d != "" {
		t.Errorf("the picture (-want +got):\n%s", d)
	}
}
