/*
 * What bench/wire.py holds the ports against, and what it feeds and empties them with. Sockets are inherited.
 *
 *   relay send FD SIZE             datagrams of SIZE bytes, 64 KiB at a time (GSO), until killed
 *   relay sink FD                  takes all that comes; killed, prints how many bytes that was
 *   relay cut IN OUT SIZE SECONDS  receives joined datagrams (GRO), makes an array of packets of them, joins runs of
 *                                  packets again and sends them (GSO); prints packets and seconds
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#define UDP_SEGMENT_ 103
#define UDP_GRO_ 104

#define MESSAGES 10
#define LONGEST 65535
#define PACKETS 2048
#define SEGMENTS 64

struct packet {
	char *data;
	unsigned short len;
};

static volatile sig_atomic_t over;

static void
stop(int sig)
{
	(void)sig;
	over = 1;
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (t.tv_sec + t.tv_nsec / 1e9);
}

static void
cut_by_kernel(struct msghdr *m, char *control, unsigned short size)
{
	struct cmsghdr *c;

	m->msg_control = control;
	m->msg_controllen = CMSG_SPACE(sizeof(size));
	c = CMSG_FIRSTHDR(m);
	c->cmsg_level = SOL_UDP;
	c->cmsg_type = UDP_SEGMENT_;
	c->cmsg_len = CMSG_LEN(sizeof(size));
	memcpy(CMSG_DATA(c), &size, sizeof(size));
}

static int
send_all(int fd, int size)
{
	static char data[LONGEST];
	char control[64] __attribute__((aligned(8)));
	int many = 65000 / size < SEGMENTS ? 65000 / size : SEGMENTS;
	struct iovec iov = { data, (size_t)many * size };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	memset(data, 'm', sizeof(data));
	cut_by_kernel(&m, control, size);
	while (!over)
		sendmsg(fd, &m, 0);
	return (0);
}

static int
sink(int fd)
{
	static char byte[64];
	struct iovec iov[64];
	struct mmsghdr m[64];
	struct timespec nap = { 0, 200000 };
	unsigned long long bytes = 0;
	int got, i;

	memset(m, 0, sizeof(m));
	for (i = 0; i < 64; i++) {
		iov[i].iov_base = byte + i;
		iov[i].iov_len = 1;
		m[i].msg_hdr.msg_iov = iov + i;
		m[i].msg_hdr.msg_iovlen = 1;
	}
	while (!over) {
		got = recvmmsg(fd, m, 64, MSG_DONTWAIT | MSG_TRUNC, NULL);
		for (i = 0; i < got; i++)
			bytes += m[i].msg_len;
		/* Nobody has to wake it: that would cost a relay more than what it does itself. */
		if (got < 64)
			nanosleep(&nap, NULL);
	}
	while ((got = recvmmsg(fd, m, 64, MSG_DONTWAIT | MSG_TRUNC, NULL)) > 0)
		for (i = 0; i < got; i++)
			bytes += m[i].msg_len;
	printf("%llu\n", bytes);
	return (0);
}

static char room[MESSAGES][LONGEST];
static char said[MESSAGES][128] __attribute__((aligned(8)));
static struct packet packets[PACKETS];

static int
receive(int fd, struct mmsghdr *in)
{
	struct cmsghdr *c;
	char *at;
	int got, i, n = 0, size, left;

	for (i = 0; i < MESSAGES; i++)
		in[i].msg_hdr.msg_controllen = sizeof(said[i]);
	got = recvmmsg(fd, in, MESSAGES, MSG_DONTWAIT, NULL);
	for (i = 0; i < got; i++) {
		size = left = in[i].msg_len;
		for (c = CMSG_FIRSTHDR(&in[i].msg_hdr); c != NULL; c = CMSG_NXTHDR(&in[i].msg_hdr, c))
			if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO_)
				memcpy(&size, CMSG_DATA(c), sizeof(size));
		for (at = room[i]; left > 0; at += size, left -= size) {
			packets[n].data = at;
			packets[n++].len = left < size ? left : size;
		}
	}
	return (n);
}

static int
forward(int fd, int count)
{
	static char controls[PACKETS][32] __attribute__((aligned(8)));
	static struct iovec iov[PACKETS];
	static struct mmsghdr out[PACKETS];
	int i = 0, first, messages = 0, whole, done = 0, went;

	while (i < count) {
		first = i;
		whole = 0;
		do {
			iov[i].iov_base = packets[i].data;
			iov[i].iov_len = packets[i].len;
			whole += packets[i].len;
			i++;
		} while (i < count && i - first < SEGMENTS && packets[i].len <= packets[first].len &&
		    packets[i - 1].len == packets[first].len && whole + packets[i].len <= 65487);
		memset(&out[messages], 0, sizeof(out[messages]));
		out[messages].msg_hdr.msg_iov = iov + first;
		out[messages].msg_hdr.msg_iovlen = i - first;
		if (i - first > 1)
			cut_by_kernel(&out[messages].msg_hdr, controls[messages], packets[first].len);
		messages++;
	}
	while (done < messages) {
		went = sendmmsg(fd, out + done, messages - done, MSG_DONTWAIT);
		done += went > 0 ? went : 1;
	}
	return (count);
}

static int
cut(int in, int out, double seconds)
{
	static struct mmsghdr heads[MESSAGES];
	static struct iovec iov[MESSAGES];
	struct pollfd ready = { in, POLLIN, 0 };
	unsigned long long count = 0;
	double begin, end;
	int i, n, one = 1;

	setsockopt(in, SOL_UDP, UDP_GRO_, &one, sizeof(one));
	for (i = 0; i < MESSAGES; i++) {
		iov[i].iov_base = room[i];
		iov[i].iov_len = LONGEST;
		heads[i].msg_hdr.msg_iov = iov + i;
		heads[i].msg_hdr.msg_iovlen = 1;
		heads[i].msg_hdr.msg_control = said[i];
	}
	begin = now();
	while ((end = now()) - begin < seconds) {
		n = receive(in, heads);
		if (n == 0)
			poll(&ready, 1, 100);
		else
			count += forward(out, n);
	}
	printf("%llu %f\n", count, end - begin);
	return (0);
}

int
main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = stop };

	sigaction(SIGTERM, &act, NULL);
	if (argc == 4 && strcmp(argv[1], "send") == 0)
		return (send_all(atoi(argv[2]), atoi(argv[3])));
	if (argc == 3 && strcmp(argv[1], "sink") == 0)
		return (sink(atoi(argv[2])));
	if (argc == 5 && strcmp(argv[1], "cut") == 0)
		return (cut(atoi(argv[2]), atoi(argv[3]), atof(argv[4])));
	fprintf(stderr, "usage: relay send FD SIZE | sink FD | cut IN OUT SECONDS\n");
	return (2);
}
