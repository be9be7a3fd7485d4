/* Sends requests at random times (Poisson), without waiting for answers: RATE a second, for SECONDS, to 127.0.0.1:PORT.
 *
 *   open_loop PORT RATE SECONDS BODY
 *
 * A %d in BODY stands for the seed: 1, 2, 3, …. The output has a line for each request, in the order of the answers:
 * HTTP's status (0 if the connection ended without an answer), the microseconds from the time when the request was due
 * until its answer had arrived, and that due time in seconds from the start. If a busy machine sends a request late,
 * the delay counts as waiting.
 *
 * The client shares the cores with the server that it measures. So it is written in C, and wakes once a millisecond, to
 * send requests that are due and to read answers. A reported time may be one millisecond too long, but not too short.
 * Requests that are due within the same millisecond reach the server together.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { INITIAL_CONNECTIONS = 512, EVENTS = 256, ANSWER_BYTES = 1 << 20, REQUEST_BYTES = 4096 };
static const double TICK_SECONDS = 0.001, GIVE_UP_SECONDS = 60;

struct connection {
    int socket;
    double due; /* when its request was due */
    size_t received, expected; /* bytes of the answer; expected is 0 until the headers have arrived */
    char *answer;
    struct connection *next; /* in the list of idle connections */
};

static double begin;
static int poller, port, open_requests;
static struct connection *idle;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct connection *new_connection(void) {
    struct connection *it = calloc(1, sizeof *it);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    if (!it || !(it->answer = malloc(ANSWER_BYTES + 1))) fail("malloc");
    if ((it->socket = socket(AF_INET, SOCK_STREAM, 0)) < 0) fail("socket");
    if (connect(it->socket, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(it->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = it};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, it->socket, &event)) fail("epoll_ctl");
    return it;
}

static void send_request(double due, const char *body_format, int seed) {
    char body[REQUEST_BYTES / 2], request[REQUEST_BYTES];
    struct connection *it = idle;
    if (it) idle = it->next;
    else it = new_connection();
    int body_bytes = snprintf(body, sizeof body, body_format, seed);
    int bytes = snprintf(request, sizeof request,
                         "POST /generate HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\n"
                         "accept: application/json\r\ncontent-length: %d\r\n\r\n%s", body_bytes, body);
    if (body_bytes >= (int)sizeof body || bytes >= (int)sizeof request) {
        fprintf(stderr, "BODY is longer than this client has room for\n");
        exit(1);
    }
    it->due = due;
    it->received = it->expected = 0;
    open_requests++;
    /* Some hundred bytes always fit into an idle connection's buffer. receive() reports one that fails here. */
    if (send(it->socket, request, bytes, MSG_NOSIGNAL) != bytes) shutdown(it->socket, SHUT_RDWR);
}

static void report(struct connection *it, int status) {
    open_requests--;
    printf("%d %.0f %.4f\n", status, (now() - it->due) * 1e6, it->due - begin);
}

static void receive(struct connection *it) {
    ssize_t got = recv(it->socket, it->answer + it->received, ANSWER_BYTES - it->received, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) { /* the connection has ended: an idle one leaves the list, another one is reported */
        struct connection **link = &idle;
        while (*link && *link != it) link = &(*link)->next;
        if (*link) *link = it->next;
        else report(it, 0);
        close(it->socket);
        free(it->answer);
        free(it);
        return;
    }
    it->answer[it->received += got] = 0;
    if (!it->expected) {
        char *end = strstr(it->answer, "\r\n\r\n"), *length = strcasestr(it->answer, "content-length:");
        if (!end || !length) return;
        it->expected = end + 4 - it->answer + strtoul(length + strlen("content-length:"), NULL, 10);
        if (it->expected > ANSWER_BYTES) {
            fprintf(stderr, "an answer of %zu bytes is more than this client has room for\n", it->expected);
            exit(1);
        }
    }
    if (it->received < it->expected) return;
    report(it, atoi(it->answer + strlen("HTTP/1.1 ")));
    it->next = idle;
    idle = it;
}

int main(int count, char **words) {
    struct epoll_event events[EVENTS];
    struct rlimit files;
    if (count != 5) {
        fprintf(stderr, "usage: open_loop PORT RATE SECONDS BODY\n");
        return 2;
    }
    port = atoi(words[1]);
    double rate = atof(words[2]), seconds = atof(words[3]);
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if ((poller = epoll_create1(0)) < 0) fail("epoll_create1");
    for (int one = 0; one < INITIAL_CONNECTIONS; one++) {
        struct connection *it = new_connection();
        it->next = idle;
        idle = it;
    }
    srand48(1);
    begin = now();
    double due = begin, tick = begin;
    int seed = 0, sending = 1;
    while (sending || (open_requests && now() < begin + seconds + GIVE_UP_SECONDS)) {
        while (sending && due <= now()) {
            send_request(due, words[4], ++seed);
            due -= log(1 - drand48()) / rate; /* the time between two arrivals is exponential */
            sending = due < begin + seconds;
        }
        int ready;
        do {
            ready = epoll_wait(poller, events, EVENTS, 0);
            for (int one = 0; one < ready; one++) receive(events[one].data.ptr);
        } while (ready == EVENTS);
        tick = fmax(tick + TICK_SECONDS, now());
        struct timespec until = {.tv_sec = (time_t)tick, .tv_nsec = (long)(fmod(tick, 1) * 1e9)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    if (open_requests) { /* otherwise a server that hangs would look like one with fewer requests */
        fprintf(stderr, "%d requests had no answer %.0f s after the last was sent\n", open_requests, GIVE_UP_SECONDS);
        return 1;
    }
    return 0;
}
