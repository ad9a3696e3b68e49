# Asks Docker's own name server, 127.0.0.11, from inside containers. Each
# argument is the process id of a container and a name, as in 4711,tasks.web.
# For each it prints the id and what came: "silent", or the answer's code and
# the number of its addresses. A container that is gone is passed over.
use strict;
use Config;
use Socket;

$| = 1;
alarm(30);
my $setns = $Config{archname} =~ /^x86_64/ ? 308 : $Config{archname} =~ /^aarch64/ ? 268 : exit 0;
open(my $home, '<', '/proc/self/ns/net') or die "no namespaces: $!\n";
my $here = readlink '/proc/self/ns/net';
my (%open, %question);
for my $arg (@ARGV) {
	my ($pid, $name) = split /,/, $arg;
	my $ns = readlink("/proc/$pid/ns/net");
	next if !defined $ns || $ns eq $here;
	open(my $there, '<', "/proc/$pid/ns/net") or next;
	syscall($setns, fileno($there), 0x40000000) == 0 or next;
	# A socket stays where it was made.
	my $s;
	my $made = socket($s, AF_INET, SOCK_DGRAM, 17) && connect($s, sockaddr_in(53, inet_aton('127.0.0.11')));
	syscall($setns, fileno($home), 0x40000000) == 0 or die "the way back: $!\n";
	print("$pid silent\n"), next unless $made;
	$open{$pid} = $s;
	# The address (type A, class IN) of the name.
	$question{$pid} = pack('nnnnnn', $pid & 0xffff, 0x0100, 1, 0, 0, 0) . join('', map { chr(length) . $_ } split /\./, $name) . "\0" . pack('nn', 1, 1);
}
for my $try (1 .. 3) {
	send($open{$_}, $question{$_}, 0) for keys %open;
	my $left = 2;
	while ($left > 0 && %open) {
		my $r = '';
		vec($r, fileno($_), 1) = 1 for values %open;
		(my $n, $left) = select($r, undef, undef, $left);
		next if $n < 1;
		for my $pid (keys %open) {
			next unless vec($r, fileno($open{$pid}), 1);
			# A refused question is an error here, and is asked again.
			my $p = '';
			next unless defined recv($open{$pid}, $p, 4096, 0) && length($p) >= 12;
			my (undef, $flags, undef, $answers) = unpack('nnnn', $p);
			printf "%d %d %d\n", $pid, $flags & 15, $answers;
			delete $open{$pid};
		}
	}
}
print "$_ silent\n" for keys %open;
