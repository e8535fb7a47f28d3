/* The companion of the measurements: the smallest process that can say when it
 * was executed. "PID MONOTONIC_NS" goes to the FIFO that BENCH_FIFO names; with
 * BENCH_SPEW=BYTES it then writes that much in lines of 100 bytes to standard
 * output and reports again. SIGTERM ends it by default. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void report(void)
{
	struct timespec now;
	char line[64];
	const char *path = getenv("BENCH_FIFO");
	int fd, n;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (path == NULL || (fd = open(path, O_WRONLY | O_CLOEXEC)) < 0)
		_exit(70);
	n = snprintf(line, sizeof line, "%d %lld\n", getpid(),
		     (long long)now.tv_sec * 1000000000LL + now.tv_nsec);
	if (write(fd, line, n) != n)
		_exit(71);
	close(fd);
}

static void spew(long long left)
{
	static char lines[64 * 1000];
	size_t i;

	for (i = 0; i < sizeof lines; i++)
		lines[i] = i % 100 == 99 ? '\n' : 'a' + i % 26;
	while (left > 0) {
		ssize_t n = write(1, lines, left < (long long)sizeof lines ? (size_t)left : sizeof lines);
		if (n <= 0)
			_exit(72);
		left -= n; /* the phase of the lines is kept: 64000 is a multiple of 100 */
	}
}

int main(void)
{
	const char *bytes = getenv("BENCH_SPEW");

	report();
	if (bytes != NULL) {
		spew(atoll(bytes));
		report();
	}
	for (;;)
		pause();
}
