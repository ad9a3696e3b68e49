package diagnose

// The kinds of findings; docs/diagnose.md tells each.
const (
	// machines
	VMOff            = "vm-off"
	NodeUnreachable  = "node-unreachable"
	HostMute         = "node-mute"
	DiskFull         = "disk-full"
	CPUStarved       = "cpu-starved"
	MemoryLow        = "memory-low"
	ClocksDiffer     = "clocks-differ"
	SameMachineID    = "duplicate-machine-id"
	HostnameDiffers  = "hostname-differs"
	SameAddress      = "duplicate-address"
	InterfaceDown    = "interface-down"
	AddressMissing   = "address-missing"
	RouteAstray      = "route-astray"
	TrafficShaped    = "traffic-shaped"
	ForwardingOff    = "forwarding-off"
	ModuleMissing    = "module-missing"
	NameserverSilent = "nameserver-silent"
	// engines
	EngineStopped     = "engine-stopped"
	EngineFrozen      = "engine-frozen"
	EngineSilent      = "engine-silent"
	ContainerdStopped = "containerd-stopped"
	RulesMissing      = "docker-rules-missing"
	ForwardBlocked    = "forward-blocked"
	LogDriver         = "log-driver"
	// between the machines
	PortBlocked = "port-blocked"
	MTUDiffers  = "mtu-differs"
	MTUPath     = "mtu-path"
	// the swarm
	NoLeader           = "no-leader"
	NotInSwarm         = "not-in-swarm"
	OtherSwarm         = "other-swarm"
	WrongAddress       = "wrong-advertise-address"
	NodeDown           = "node-down"
	FormerSelf         = "former-self"
	UnknownNode        = "unknown-node"
	NodeDrained        = "node-drained"
	CertificateExpired = "certificate-expired"
	IngressMissing     = "ingress-missing"
	SandboxBroken      = "ingress-sandbox-broken"
	// overlays
	OverlapsOverlay  = "overlay-overlaps-overlay"
	OverlapsBridge   = "overlay-overlaps-bridge"
	OverlapsMachines = "overlay-overlaps-machines"
	HidesNameserver  = "overlay-hides-nameserver"
	NotAllocated     = "overlay-without-addresses"
	OverlayMTU       = "overlay-mtu"
	OverlayBroken    = "overlay-broken"
	PeerMissing      = "peer-missing"
	// services
	TasksFail    = "tasks-fail"
	ImageMissing = "image-missing"
)
