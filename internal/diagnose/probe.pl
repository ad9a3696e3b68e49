# What each node does to learn which ports of the swarm are open between the
# nodes. It needs nothing but perl-base, which every Debian and Ubuntu has, and
# root for its raw sockets. Arguments: a word that marks the packets of this
# run, the seconds to try, the port of the data path, and for each other node
# its address and TCP ports, as in 192.168.33.12,7946,2377.
#
# It says "ready", waits for a line on standard input, then tries until its
# time is over or standard input ends. That line is "go", and for each other
# node whose ingress sandbox is known its address and the sandbox's, as in
# 192.168.33.12=10.0.0.3. A raw socket sees a packet only behind
# the firewall's INPUT chains, also if another program owns the port. So UDP is
# judged by what arrives, and no program has to answer:
# - to 7946 goes a packet whose checksum is wrong: the kernel counts it and
#   throws it away before the engine would see and log it. One to 7947, which
#   nothing uses, proves that such packets pass at all.
# - the engines' own talk from 7946 to 7946 proves as much.
# - to the data path goes a packet for a VXLAN that does not exist.
# TCP is asked with the first packet of a connection, which is dropped when the
# answer comes: the engine there hears and logs nothing of it.
# Whether large packets pass is asked with echoes that must not be fragmented,
# and judged by what arrives. The overlay is tried from one ingress sandbox to
# the other, which every node of a swarm has, with echoes and with a connection
# that carries some bulk. Name servers are asked for their version, which they
# answer or refuse by themselves.
use strict;
use Config;
use Socket;

my ($mark, $within, $vxlan, @peers) = @ARGV;
$| = 1;
$SIG{PIPE} = 'DEFAULT';
alarm($within + 40);    # nobody stops a program that runs as another user

for my $file ('/proc/net/tcp', '/proc/net/tcp6') {
	open(my $f, '<', $file) or next;
	while (<$f>) {
		printf "listens %d\n", hex($1) if /^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:0000 0A /;
	}
}
socket(my $udp, AF_INET, SOCK_RAW, 17) or die "no raw socket: $!\n";
socket(my $icmp, AF_INET, SOCK_RAW, 1) or die "no raw socket: $!\n";
socket(my $tcp, AF_INET, SOCK_RAW, 6) or die "no raw socket: $!\n";

# 1500 bytes are usual; the smaller ones find out what does pass.
my @sizes = (100, 576, 800, 1000, 1100, 1200, 1280, 1300, 1350, 1400, 1420, 1450, 1472, 1492);

# unfragmented makes a raw ICMP socket; its packets must not be fragmented.
sub unfragmented {
	socket(my $s, AF_INET, SOCK_RAW, 1) or die "no raw socket: $!\n";
	setsockopt($s, 0, 10, pack('i', 2));    # IP_MTU_DISCOVER, IP_PMTUDISC_DO
	return $s;
}

# inside runs a piece of code in the ingress sandbox: sockets that are made
# there stay there. It needs the number of setns, which perl does not know.
sub inside {
	my ($code) = @_;
	my $setns = $Config{archname} =~ /^x86_64/ ? 308 : $Config{archname} =~ /^aarch64/ ? 268 : return;
	open(my $home, '<', '/proc/self/ns/net') or return;
	open(my $there, '<', '/run/docker/netns/ingress_sbox') or return;
	syscall($setns, fileno($there), 0x40000000) == 0 or return;
	my @out = $code->();
	syscall($setns, fileno($home), 0x40000000) == 0 or die "the way back from the sandbox: $!\n";
	return @out;
}

my $df = unfragmented();
my ($inner, $listen) = inside(sub {
	# Its address is that of the interface which leads into the overlay.
	my $ip = '';
	open(my $ips, '-|', 'ip', '-o', '-4', 'addr', 'show', 'dev', 'eth0') or return;
	# The addresses of services are there as well, each alone, and on every node.
	while (<$ips>) { $ip = $1 if m{inet ([0-9.]+)/(\d+)} && $2 < 32 }
	print "sandbox $ip\n" if $ip ne '';
	my $inner = unfragmented();
	socket(my $listen, AF_INET, SOCK_STREAM, 0) or return $inner;
	setsockopt($listen, SOL_SOCKET, SO_REUSEADDR, pack('i', 1));
	bind($listen, sockaddr_in(7948, INADDR_ANY)) && listen($listen, 64) or return $inner;
	return ($inner, $listen);
});

# The servers that Docker hands on to containers, and those of its own settings.
my @servers;
my $stub = 0;
for my $file ('/etc/resolv.conf', '/run/systemd/resolve/resolv.conf') {
	last if @servers && !$stub;
	open(my $f, '<', $file) or next;
	@servers = ();
	while (<$f>) {
		push @servers, $1 if /^\s*nameserver\s+(\d+\.\d+\.\d+\.\d+)\s/;
	}
	$stub = grep { $_ eq '127.0.0.53' } @servers;
}
if (open(my $f, '<', '/etc/docker/daemon.json')) {
	my $json = join '', <$f>;
	push @servers, $1 =~ /(\d+\.\d+\.\d+\.\d+)/g if $json =~ /"dns"\s*:\s*\[([^\]]*)\]/;
}
my %seen;
@servers = grep { !/^127\./ && !$seen{$_}++ } @servers;
print "asks $_\n" for @servers;
socket(my $dns, AF_INET, SOCK_DGRAM, 17) or die "no socket: $!\n";
# version.bind, class CHAOS, type TXT
my $question = pack('nnnnnn', $$ & 0xffff, 0x0100, 1, 0, 0, 0) . "\7version\4bind\0" . pack('nn', 16, 3);

print "ready\n";
my $line = <STDIN>;
exit 0 unless defined $line;
my %sandbox = $line =~ /([0-9.]+)=([0-9.]+)/g;
my %node = reverse %sandbox;

sub sum {
	my ($data) = @_;
	my $sum = unpack('%32n*', length($data) % 2 ? $data . "\0" : $data);
	$sum = ($sum >> 16) + ($sum & 0xffff) while $sum >> 16;
	return ~$sum & 0xffff;
}

sub udp {
	my ($from, $to, $wrong, $payload) = @_;
	# 0 stands for no checksum, and is never wrong; 1 nearly always is.
	return pack('nnnn', $from, $to, 8 + length($payload), $wrong) . $payload;
}

# An odd and an even word: at most one of two packets can have checksum 1.
my %udp = (
	7946   => [udp(7946, 7946, 1, "$mark 7946 a"), udp(7946, 7946, 1, "$mark 7946 bb")],
	7947   => [udp(7946, 7947, 1, "$mark 7947 a"), udp(7946, 7947, 1, "$mark 7947 bb")],
	$vxlan => [udp(50946, $vxlan, 0, "\x08\0\0\0\xff\xff\xff\0$mark $vxlan")],
);

# echo makes an ICMP echo; with a size that of the whole packet.
sub echo {
	my ($word, $size) = @_;
	my $p = pack('CCnnn', 8, 0, 0, $$ & 0xffff, 1) . $word;
	$p .= 'x' x ($size - 20 - length $p) if $size;
	substr($p, 2, 2) = pack('n', sum($p));
	return $p;
}
my $echo = echo($mark);

# The addresses from which this node reaches the others.
sub own {
	my ($ip) = @_;
	my $s;
	socket($s, AF_INET, SOCK_DGRAM, 0) && connect($s, sockaddr_in(9, inet_aton($ip))) or return inet_aton('0.0.0.0');
	return (sockaddr_in(getsockname($s)))[1];
}

# %syn holds what is not answered yet: our port, above those that the kernel
# deals out, to the address, the port and the packet.
my (%syn, %said);
my $next = 61000 + $$ % 4000;
for my $peer (@peers) {
	my ($ip, @ports) = split /,/, $peer;
	for my $port (@ports) {
		my $from = $next++;
		my $head = pack('nnNNCCnnn', $from, $port, $$ * 4099, 0, 5 << 4, 2, 64240, 0, 0);
		substr($head, 16, 2) = pack('n', sum(own($ip) . inet_aton($ip) . pack('nn', 6, length $head) . $head));
		$syn{$from} = [$ip, $port, $head];
	}
}

# mtu is the largest packet that the system would send there.
sub mtu {
	my ($ip) = @_;
	my $s;
	socket($s, AF_INET, SOCK_DGRAM, 0) && connect($s, sockaddr_in(9, inet_aton($ip))) or return 0;
	my $mtu = getsockopt($s, 0, 14);
	return defined $mtu ? unpack('i', $mtu) : 0;
}
my %mtu = map { $_ => mtu($_) } map { (split /,/)[0] } @peers;
print "mtu $_ $mtu{$_}\n" for keys %mtu;

# large sends echoes of all sizes, in the first round only the largest one.
sub large {
	my ($round, $socket, $word, $ip, $mtu) = @_;
	return unless $mtu;
	for my $size ($round == 1 ? () : grep({ $_ < $mtu } @sizes), 100, $mtu) {
		send($socket, echo("$mark $word $size ", $size), 0, sockaddr_in(0, inet_aton($ip)));
	}
}

# The bulk goes from sandbox to sandbox; who gets it says so.
my $bulk = 200_000;
my (%sends, %gets);

# begin connects to every sandbox to which no connection stands yet. TCP waits
# for seconds when its first packet was lost; another connection does not.
sub begin {
	my %stands = map { getpeername($_->[0]) ? ($_->[3] => 1) : () } values %sends;
	for my $ip (grep { !$stands{$_} } keys %sandbox) {
		socket(my $s, AF_INET, SOCK_STREAM, 0) or next;
		fcntl($s, 4, 2048);    # F_SETFL, O_NONBLOCK
		connect($s, sockaddr_in(7948, inet_aton($sandbox{$ip})));
		$sends{fileno $s} = [$s, "$mark\n" . 'x' x $bulk, 0, $ip];
	}
}

if ($inner) {
	inside(sub {
		for my $ip (keys %sandbox) {
			$mtu{$sandbox{$ip}} = mtu($sandbox{$ip});
			print "overmtu $ip $mtu{$sandbox{$ip}}\n";
		}
	});
}

# carry moves what can be moved of the bulk.
sub carry {
	my ($r, $w) = @_;
	for my $fd (keys %sends) {
		next unless vec($w, $fd, 1);
		my ($s, $rest) = @{ $sends{$fd} };
		my $n = syswrite($s, $rest);
		if (defined $n) { $sends{$fd}[1] = substr($rest, $n) }
		elsif (!$!{EAGAIN}) { delete $sends{$fd}; next }
		shutdown($s, 1), $sends{$fd}[2] = 1 if $sends{$fd}[1] eq '';
	}
	if ($listen && vec($r, fileno($listen), 1) && (my $peer = accept(my $s, $listen))) {
		$gets{fileno $s} = [$s, inet_ntoa((sockaddr_in($peer))[1]), 0];
	}
	for my $fd (keys %gets) {
		next unless vec($r, $fd, 1);
		my $n = sysread($gets{$fd}[0], my $data, 65536);
		if ($n) { $gets{$fd}[2] += $n; next }
		my ($ip, $got) = ($node{ $gets{$fd}[1] }, $gets{$fd}[2]);
		say_once("bulk $ip") if $ip && $got == $bulk + 1 + length $mark;
		delete $gets{$fd};
	}
}

sub say_once {
	my ($what) = @_;
	print "$what\n" unless $said{$what}++;
}

sub answered {
	my ($from, $to, $answer) = @_;
	my $syn = $syn{$from};
	return unless $syn && $syn->[1] == $to;
	say_once("tcp $syn->[0] $to $answer");
	delete $syn{$from};
}

my ($left, $stop) = (0, 0);
for my $round (1 .. $within) {
	inside(\&begin) if $inner && $round % 2;
	for my $peer (@peers) {
		my ($ip) = split /,/, $peer;
		my $to = sockaddr_in(0, inet_aton($ip));
		# A firewall at OUTPUT makes these fail; then they do not arrive.
		send($icmp, $echo, 0, $to);
		for my $syn (values %syn) {
			send($tcp, $syn->[2], 0, $to) if $syn->[0] eq $ip;
		}
		for my $packets (values %udp) {
			send($udp, $_, 0, $to) for @$packets;
		}
		large($round, $df, 'large', $ip, $mtu{$ip});
		large($round, $inner, 'over', $sandbox{$ip}, $mtu{ $sandbox{$ip} }) if $inner && $sandbox{$ip};
	}
	send($dns, $question, 0, sockaddr_in(53, inet_aton($_))) for @servers;
	$left = 1;
	while ($left > 0 && !$stop) {
		my ($r, $w) = ('', '');
		vec($r, fileno($_), 1) = 1 for grep { defined } $udp, $icmp, $tcp, $dns, $inner, $listen, \*STDIN;
		vec($r, $_, 1) = 1 for keys %gets;
		vec($w, $_, 1) = 1 for grep { !$sends{$_}[2] } keys %sends;
		(my $n, $left) = select($r, $w, undef, $left);
		next if $n < 1;
		carry($r, $w);
		if (vec($r, fileno($dns), 1)) {
			my $from = recv($dns, my $p, 2048, 0);
			say_once('dns ' . inet_ntoa((sockaddr_in($from))[1])) if $from;
		}
		for my $in ([$udp, \&heard], [$icmp, \&told], [$tcp, \&met], [$inner, \&told]) {
			my ($socket, $read) = @$in;
			next unless $socket && vec($r, fileno($socket), 1);
			next unless defined recv($socket, my $p, 65536, 0);
			my $head = (ord($p) & 15) * 4;
			$read->(inet_ntoa(substr($p, 12, 4)), substr($p, $head)) if length($p) >= $head + 8;
		}
		if (vec($r, fileno(STDIN), 1)) {
			$stop = !sysread(STDIN, my $more, 100);
		}
	}
	last if $stop;
}

sub heard {
	my ($ip, $p) = @_;
	my ($from, $to) = unpack('nn', $p);
	if (index($p, "$mark $to") >= 0) {
		say_once("udp $ip $to");
	} elsif ($from == 7946 && $to == 7946) {
		say_once("gossip $ip");
	}
}

# An ICMP message is an echo, or tells why one of our packets went nowhere;
# then it quotes that one.
sub told {
	my ($ip, $p) = @_;
	my ($type, $code) = unpack('CC', $p);
	if ($type == 8 && $p =~ /\Q$mark\E (large|over) (\d+) /) {
		say_once("$1 $ip $2") if $1 eq 'large' || ($ip = $node{$ip});
		return;
	}
	say_once("echo $ip") if $type == 0 && length($p) < 80 && index($p, $mark) >= 0;
	my $quoted = substr($p, 8);
	my $head = (ord($quoted) & 15) * 4;
	return unless $type == 3 && length($quoted) >= $head + 4 && ord(substr($quoted, 9)) == 6;
	my %why = (0 => 'no route to network', 1 => 'no route to host', 3 => 'refused');
	answered(unpack('nn', substr($quoted, $head)), $why{$code} || 'forbidden');
}

sub met {
	my ($ip, $p) = @_;
	return if length($p) < 20;
	my ($from, $to, $flags) = unpack('nnx9C', $p);
	return unless $syn{$to} && $syn{$to}[0] eq $ip;
	answered($to, $from, $flags & 4 ? 'refused' : 'open') if $flags & 4 || ($flags & 18) == 18;
}

answered($_, $syn{$_}[1], 'unanswered') for keys %syn;
print "end\n";
