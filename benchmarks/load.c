/* A cheap client: N kept-alive connections that post recorded bodies, and how long each answer took.

   One thread, epoll, no copies: a post is one writev of a head, the body up to its first auditID, twelve digits of our
   own and the rest, so no two bodies are the same and none is built. With a rate, posts have a time at which they are
   due and their latency counts from there: a server that stalls does not slow down the clock it is measured by.
   Answers are read up to their Content-Length and not looked at but for the status. What is not a 2xx is posted again
   after a short rest, while there is time.

   usage: load PORT PATH BODIES CONNECTIONS SECONDS COUNT RATE CLUSTERS EACH
     PATH       with CLUSTERS > 0, "/c0" to "/cN" is added to it, in turn
     BODIES     a directory; its files are posted in the order of their names, round and round
     SECONDS, COUNT   whichever comes first ends it; COUNT 0: only the time
     RATE       posts a second; 0: as fast as the answers come
     EACH       1: also when each post was due and when its answer was there, in the order of the answers
   Prints one JSON object; times in nanoseconds are CLOCK_MONOTONIC's. Everything on 127.0.0.1. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 512, ANSWER = 4096, DIGITS = 12, UUID = 36, PIECES = 4, STATUSES = 600, REST_NS = 100000000, GRACE_NS = 1000000000 };
static const char AUDIT_ID[] = "\"auditID\":";

struct body {
    char *data;
    size_t size, mark; /* mark: where the digits go */
    uint64_t accepted;
};

struct connection {
    int fd, body, busy, ready; /* ready: connected */
    char head[HEAD], digits[DIGITS + 1], answer[ANSWER + 1];
    struct iovec left[PIECES];
    int first; /* of the pieces that are not written yet; PIECES when all are */
    size_t got;
    uint64_t due, resume;
};

static struct body *bodies;
static int body_count, next_body, epoll;
static uint64_t posted, answered, accepted_bytes, broken, statuses[STATUSES], until;
static uint32_t *latencies; /* microseconds */
static uint64_t *dues;      /* of the same answers */
static size_t latency_room;
static int port, clusters;
static const char *path;
static unsigned nonce;

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void read_body(const char *directory, const char *name, struct body *body) {
    char file[4096];
    snprintf(file, sizeof file, "%s/%s", directory, name);
    FILE *stream = fopen(file, "rb");
    struct stat about;
    if (!stream || fstat(fileno(stream), &about)) die(file);
    body->size = (size_t)about.st_size;
    body->data = malloc(body->size + 1);
    if (!body->data || fread(body->data, 1, body->size, stream) != body->size) die(file);
    fclose(stream);
    char *found = memmem(body->data, body->size, AUDIT_ID, sizeof AUDIT_ID - 1);
    body->mark = found ? (size_t)(found - body->data) + sizeof AUDIT_ID - 1 : 0;
    body->data[body->size] = 0;
    body->mark += strspn(body->data + body->mark, " ") + 1; /* and the quote */
    if (!found || body->mark + UUID >= body->size || body->data[body->mark + UUID] != '"') {
        fprintf(stderr, "load: %s: its first auditID is none of 36 characters to make the body unique by\n", file);
        exit(1);
    }
}

static int plain(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void read_bodies(const char *directory) {
    struct dirent **entries;
    body_count = scandir(directory, &entries, plain, alphasort);
    if (body_count <= 0) die(directory);
    bodies = calloc((size_t)body_count, sizeof *bodies);
    for (int i = 0; i < body_count; i++) read_body(directory, entries[i]->d_name, &bodies[i]);
}

static void dial(struct connection *c, uint64_t now) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
    c->ready = 0;
    c->resume = now;
}

/* The post that the connection is busy with, from its first byte. */
static void rewind_post(struct connection *c) {
    struct body *body = &bodies[c->body];
    c->left[0] = (struct iovec){c->head, strlen(c->head)};
    c->left[1] = (struct iovec){body->data, body->mark};
    c->left[2] = (struct iovec){c->digits, DIGITS};
    c->left[3] = (struct iovec){body->data + body->mark + DIGITS, body->size - body->mark - DIGITS};
    c->first = 0;
    c->got = 0;
}

static void hang_up(struct connection *c, uint64_t now) {
    close(c->fd);
    broken++;
    dial(c, now);
    c->resume = now + REST_NS;
    if (c->busy) rewind_post(c);
}

static void begin(struct connection *c, uint64_t due) {
    char cluster[16] = "";
    c->body = next_body;
    next_body = (next_body + 1) % body_count;
    if (clusters) snprintf(cluster, sizeof cluster, "/c%d", (int)(posted % (uint64_t)clusters));
    snprintf(c->head, HEAD,
             "POST %s%s?timeout=30s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: %zu\r\n"
             "Accept: application/json, */*\r\nContent-Type: application/json\r\n\r\n",
             path, cluster, port, bodies[c->body].size);
    snprintf(c->digits, sizeof c->digits, "%04x%08x", nonce & 0xffff, (unsigned)posted);
    posted++;
    c->busy = 1;
    c->due = due;
    rewind_post(c);
}

static void put(struct connection *c, uint64_t now) {
    while (c->first < PIECES) {
        ssize_t n = writev(c->fd, c->left + c->first, PIECES - c->first);
        if (n < 0) {
            if (errno != EAGAIN) hang_up(c, now);
            return;
        }
        while (c->first < PIECES && (size_t)n >= c->left[c->first].iov_len) n -= (ssize_t)c->left[c->first++].iov_len;
        if (c->first < PIECES) {
            c->left[c->first].iov_base = (char *)c->left[c->first].iov_base + n;
            c->left[c->first].iov_len -= (size_t)n;
        }
    }
}

static void finish(struct connection *c, int status, uint64_t now) {
    statuses[status > 0 && status < STATUSES ? status : 0]++;
    if (status < 200 || status > 299) {
        c->busy = now < until;
        c->resume = now + REST_NS;
        rewind_post(c);
        return;
    }
    if (answered == latency_room) {
        latency_room = latency_room ? 2 * latency_room : 1 << 16;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
        dues = realloc(dues, latency_room * sizeof *dues);
        if (!latencies || !dues) die("memory");
    }
    uint64_t microseconds = (now - c->due) / 1000;
    dues[answered] = c->due;
    latencies[answered++] = microseconds > UINT32_MAX ? UINT32_MAX : (uint32_t)microseconds;
    accepted_bytes += bodies[c->body].size;
    bodies[c->body].accepted++;
    c->busy = 0;
    c->got = 0;
}

/* The length of the answer in the buffer when all of it is there, else 0. */
static size_t whole_answer(const struct connection *c) {
    char *end = strstr(c->answer, "\r\n\r\n");
    if (!end) return 0;
    size_t head = (size_t)(end - c->answer) + 4;
    char *length = strcasestr(c->answer, "\r\ncontent-length:");
    size_t all = head + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
    return all <= c->got ? all : 0;
}

static void get(struct connection *c, uint64_t now) {
    for (;;) {
        ssize_t n = read(c->fd, c->answer + c->got, ANSWER - c->got);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            hang_up(c, now);
            return;
        }
        c->got += (size_t)n;
        c->answer[c->got] = 0;
        if (!whole_answer(c)) continue;
        int closing = strcasestr(c->answer, "\r\nconnection: close") != NULL;
        if (c->busy) finish(c, atoi(c->answer + 9), now);
        c->got = 0;
        if (closing) {
            uint64_t resume = c->resume;
            close(c->fd);
            dial(c, now);
            c->resume = resume;
            return;
        }
    }
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(double share) {
    if (!answered) return 0;
    size_t at = (size_t)(share * (double)answered);
    return latencies[at < answered ? at : answered - 1] / 1000.0;
}

static void report(uint64_t began, uint64_t ended, int each) {
    printf("{");
    if (each) {
        printf("\"each\": [");
        for (uint64_t i = 0; i < answered; i++)
            printf("%s[%llu,%llu]", i ? "," : "", (unsigned long long)dues[i],
                   (unsigned long long)(dues[i] + latencies[i] * (uint64_t)1000));
        printf("], ");
    }
    static const double shares[] = {0.5, 0.9, 0.99, 0.999};
    static const char *const names[] = {"p50", "p90", "p99", "p99.9"};
    qsort(latencies, answered, sizeof *latencies, by_size);
    printf("\"began_ns\": %llu, \"ended_ns\": %llu, \"answered\": %llu, \"bytes\": %llu, \"broken\": %llu, \"statuses\": {",
           (unsigned long long)began, (unsigned long long)ended, (unsigned long long)answered,
           (unsigned long long)accepted_bytes, (unsigned long long)broken);
    const char *comma = "";
    for (int i = 0; i < STATUSES; i++)
        if (statuses[i]) {
            printf("%s\"%d\": %llu", comma, i, (unsigned long long)statuses[i]);
            comma = ", ";
        }
    printf("}, \"ack_ms\": {");
    for (int i = 0; i < 4; i++) printf("\"%s\": %.3f, ", names[i], percentile(shares[i]));
    printf("\"max\": %.3f}, \"accepted\": [", percentile(1));
    for (int i = 0; i < body_count; i++) printf("%s%llu", i ? ", " : "", (unsigned long long)bodies[i].accepted);
    printf("]}\n");
}

int main(int argc, char **argv) {
    if (argc != 10) {
        fprintf(stderr, "usage: load PORT PATH BODIES CONNECTIONS SECONDS COUNT RATE CLUSTERS EACH\n");
        return 2;
    }
    port = atoi(argv[1]);
    path = argv[2];
    read_bodies(argv[3]);
    int connections = atoi(argv[4]);
    uint64_t limit = strtoull(argv[6], NULL, 10);
    double rate = atof(argv[7]);
    clusters = atoi(argv[8]);
    nonce = (unsigned)(now_ns() / 1000000);
    epoll = epoll_create1(0);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    if (epoll < 0 || !all) die("start");
    uint64_t began = now_ns(), now = began;
    until = began + (uint64_t)(atof(argv[5]) * 1e9);
    for (int i = 0; i < connections; i++) dial(&all[i], now);
    struct epoll_event events[64];
    for (;;) {
        int busy = 0, wait = 100;
        for (int i = 0; i < connections; i++) {
            struct connection *c = &all[i];
            uint64_t due = rate > 0 ? began + (uint64_t)((double)posted / rate * 1e9) : now;
            if (!c->busy && c->ready && now < until && due <= now && (!limit || posted < limit)) begin(c, due);
            if (c->busy && c->ready && c->resume <= now) put(c, now);
            busy += c->busy;
            if (c->busy && c->resume > now) wait = 5;
        }
        if (!busy && (now >= until || (limit && posted >= limit))) break;
        if (now > until + 30 * (uint64_t)GRACE_NS) break; /* whoever has not answered by now never will */
        if (rate > 0) {
            uint64_t due = began + (uint64_t)((double)posted / rate * 1e9);
            if (busy < connections && now < until) wait = due <= now ? 0 : (int)((due - now) / 1000000);
        }
        struct timespec patience = {wait / 1000, wait % 1000 * 1000000L};
        if (rate > 0 && wait == 0) patience.tv_nsec = 200000; /* finer than a millisecond, or posts would come late */
        int found = epoll_pwait2(epoll, events, 64, &patience, NULL);
        now = now_ns();
        for (int i = 0; i < found; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & (EPOLLERR | EPOLLHUP)) {
                hang_up(c, now);
                continue;
            }
            c->ready = 1;
            if (events[i].events & EPOLLIN) get(c, now);
        }
        now = now_ns();
    }
    report(began, now, atoi(argv[9]));
    return 0;
}
