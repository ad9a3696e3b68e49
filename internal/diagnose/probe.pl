# What each node does to learn which ports of the swarm are open between the
# nodes. It needs nothing but perl-base, which every Debian and Ubuntu has, and
# root for its raw sockets. Arguments: a word that marks the packets of this
# run, the seconds to try, the port of the data path, and for each other node
# its address and TCP ports, as in 192.168.33.12,7946,2377.
#
# It says "ready", waits for a line on standard input, then tries until its
# time is over or standard input ends. A raw socket sees a packet only behind
# the firewall's INPUT chains, also if another program owns the port. So UDP is
# judged by what arrives, and no program has to answer:
# - to 7946 goes a packet whose checksum is wrong: the kernel counts it and
#   throws it away before the engine would see and log it. One to 7947, which
#   nothing uses, proves that such packets pass at all.
# - the engines' own talk from 7946 to 7946 proves as much.
# - to the data path goes a packet for a VXLAN that does not exist.
# TCP is asked with the first packet of a connection, which is dropped when the
# answer comes: the engine there hears and logs nothing of it.
use strict;
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
print "ready\n";
my $line = <STDIN>;
exit 0 unless defined $line;

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
my $echo = pack('CCnnn', 8, 0, 0, $$ & 0xffff, 1) . $mark;
substr($echo, 2, 2) = pack('n', sum($echo));

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
	}
	$left = 1;
	while ($left > 0 && !$stop) {
		my $r = '';
		vec($r, fileno($_), 1) = 1 for $udp, $icmp, $tcp, \*STDIN;
		(my $n, $left) = select($r, undef, undef, $left);
		next if $n < 1;
		for my $in ([$udp, \&heard], [$icmp, \&told], [$tcp, \&met]) {
			my ($socket, $read) = @$in;
			next unless vec($r, fileno($socket), 1);
			next unless defined recv($socket, my $p, 2048, 0);
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
	say_once("echo $ip") if $type == 0 && index($p, $mark) >= 0;
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
