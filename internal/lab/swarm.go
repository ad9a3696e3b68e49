package lab

import (
	"context"

	"labctl/internal/config"
	"labctl/internal/swarm"
)

// FormSwarm forms the swarm over running nodes, or what of it is missing.
func (e *Env) FormSwarm(ctx context.Context) error {
	leader := e.Lab.Managers()[0]
	steps, formed := connectSteps(e.Lab), key("swarm init", leader.Name)
	steps = append(steps, Step{Name: "swarm init", Node: leader.Name, After: []string{key("connect", leader.Name)}, Run: swarmInit(leader)})
	return runSteps(ctx, e, append(steps, joinSteps(e.Lab, formed, "connect")...))
}

// LeaveSwarm takes every node out of the swarm, workers first, so that a
// manager is there to note each one's leaving.
func (e *Env) LeaveSwarm(ctx context.Context) error {
	steps := connectSteps(e.Lab)
	after := []string{}
	for _, n := range e.Lab.Workers() {
		steps = append(steps, Step{Name: "swarm leave", Node: n.Name, After: []string{key("connect", n.Name)}, Run: swarmLeave(n)})
		after = append(after, key("swarm leave", n.Name))
	}
	for _, n := range e.Lab.Managers() {
		steps = append(steps, Step{Name: "swarm leave", Node: n.Name, After: append([]string{key("connect", n.Name)}, after...), Run: swarmLeave(n)})
	}
	return runSteps(ctx, e, steps)
}

func connectSteps(l *config.Lab) []Step {
	var steps []Step
	for _, n := range l.Nodes {
		steps = append(steps, Step{Name: "connect", Node: n.Name, Run: connect(n)})
	}
	return steps
}

// joinSteps joins every node but the leader once `formed` and its own step
// `ready` are done, then verifies the whole. Managers join one after the
// other and before the workers: a joining manager changes the quorum, during
// which the leader answers nobody else.
func joinSteps(l *config.Lab, formed, ready string) []Step {
	leader := l.Managers()[0]
	all := []string{formed}
	after := formed
	var steps []Step
	for _, n := range append(l.Managers()[1:], l.Workers()...) {
		k := key("swarm join", n.Name)
		steps = append(steps, Step{Name: "swarm join", Node: n.Name, After: []string{key(ready, n.Name), after}, Run: swarmJoin(leader, n)})
		all = append(all, k)
		if n.Role == config.Manager {
			after = k
		}
	}
	return append(steps, Step{Name: "verify", After: all, Run: verify})
}

func swarmLeave(n config.Node) func(context.Context, *Env, func(string)) (bool, error) {
	return func(ctx context.Context, e *Env, _ func(string)) (bool, error) {
		if !e.ours(n) {
			return false, nil
		}
		m, err := e.member(n)
		if err != nil {
			return false, err
		}
		return e.noted(ctx, m, n, func() (bool, error) { return swarm.Leave(ctx, m, true) })
	}
}
