/* Requests at random times (Poisson) that wait for nobody: RATE a second, for SECONDS, to 127.0.0.1:PORT.
 *
 *   open_loop PORT RATE SECONDS BODY
 *
 * BODY may have a %d for the seed, 1, 2, 3, …. For each request, in the order of the answers, a line: HTTP's status (0
 * for a connection that ended without an answer), the microseconds from the moment when the request was due until its
 * answer was there, and that moment in seconds from the beginning. What a busy machine keeps from being sent in time
 * counts as waiting.
 *
 * The client shares the cores with the server that it measures. So it is in C, and looks up once a millisecond only, to
 * send what is due and to read what has come: a time may be told one millisecond too long, but not too short. What is
 * due within one millisecond comes to the server together.
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

enum { AT_FIRST = 512, EVENTS = 256, ANSWER_BYTES = 1 << 20, REQUEST_BYTES = 4096 };
static const double TICK_SECONDS = 0.001, GIVE_UP_SECONDS = 60;

struct connection {
    int socket;
    double due; /* when the request that it asks was to be sent */
    size_t received, expected; /* bytes of the answer; expected is 0 until its head is there */
    char *answer;
    struct connection *next; /* of those that are free */
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
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    if (!it || !(it->answer = malloc(ANSWER_BYTES + 1))) fail("malloc");
    if ((it->socket = socket(AF_INET, SOCK_STREAM, 0)) < 0) fail("socket");
    if (connect(it->socket, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(it->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = it};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, it->socket, &event)) fail("epoll_ctl");
    return it;
}

static void ask(double due, const char *body_format, int seed) {
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
    /* Some hundred bytes always fit into an idle connection's buffer. What fails here is told when it is read. */
    if (send(it->socket, request, bytes, MSG_NOSIGNAL) != bytes) shutdown(it->socket, SHUT_RDWR);
}

static void note(struct connection *it, int status) {
    open_requests--;
    printf("%d %.0f %.4f\n", status, (now() - it->due) * 1e6, it->due - begin);
}

static void hear(struct connection *it) {
    ssize_t got = recv(it->socket, it->answer + it->received, ANSWER_BYTES - it->received, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) { /* it has ended; one that is idle is not used again, either */
        struct connection **link = &idle;
        while (*link && *link != it) link = &(*link)->next;
        if (*link) *link = it->next;
        else note(it, 0);
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
    note(it, atoi(it->answer + strlen("HTTP/1.1 ")));
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
    for (int one = 0; one < AT_FIRST; one++) {
        struct connection *it = new_connection();
        it->next = idle;
        idle = it;
    }
    srand48(1);
    begin = now();
    double due = begin, tick = begin;
    int seed = 0, asking = 1;
    while (asking || (open_requests && now() < begin + seconds + GIVE_UP_SECONDS)) {
        while (asking && due <= now()) {
            ask(due, words[4], ++seed);
            due -= log(1 - drand48()) / rate; /* the time between two arrivals is exponential */
            asking = due < begin + seconds;
        }
        int ready;
        do {
            ready = epoll_wait(poller, events, EVENTS, 0);
            for (int one = 0; one < ready; one++) hear(events[one].data.ptr);
        } while (ready == EVENTS);
        tick = fmax(tick + TICK_SECONDS, now());
        struct timespec until = {.tv_sec = (time_t)tick, .tv_nsec = (long)(fmod(tick, 1) * 1e9)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    if (open_requests) { /* or a server that hangs would look like one that was asked less */
        fprintf(stderr, "%d requests had no answer %.0f s after the last was sent\n", open_requests, GIVE_UP_SECONDS);
        return 1;
    }
    return 0;
}
