/* A null receiver: takes any POST, throws the body away and answers as Splunk's HEC does: code 0.

   Understands Content-Length and chunked bodies, kept-alive connections and `Expect`. One thread, epoll. With
   COUNT = 1 it inflates gzip bodies and counts the audit events in them by their "auditID": the truth about what
   arrived, for a check run and not for a measured one, because it costs CPU.

   usage: hec PORT COUNT        PORT 0: any free one; the first line on standard output names it
   GET /stats answers {"requests", "bytes", "events", "first_ns", "last_ns", "most_ns"}: bodies only, bytes as they
   came, times of CLOCK_MONOTONIC; most_ns is when 95 % of the bytes of now had arrived. Everything on 127.0.0.1. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

enum { BUFFER = 1 << 18, HEAD = 16384, OUT = 1 << 17 };
static const char KEY[] = "\"auditID\":";
enum { KEY_LENGTH = sizeof KEY - 1 };

struct connection {
    int fd, in_body, chunked, gzip, stats;
    size_t have;       /* bytes in `head` */
    uint64_t left;     /* of the body or of the chunk */
    int chunk_state;   /* 0: size line, 1: data, 2: line break after data, 3: trailer */
    char line[64];
    size_t line_length;
    char head[HEAD + 1];
    char tail[KEY_LENGTH]; /* of the inflated text, where a key may begin */
    size_t tail_length;
    z_stream stream;
    int inflating;
};

struct arrival {
    uint64_t ns, bytes;
};

static int epoll, counting;
static uint64_t requests, bytes, events, first_ns;
static struct arrival *arrivals;
static size_t arrival_room;
static char buffer[BUFFER], out[KEY_LENGTH + OUT];

static void die(const char *what) {
    fprintf(stderr, "hec: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void count(struct connection *c, const char *text, size_t length) {
    while (length) {
        size_t some = length < OUT ? length : OUT;
        char *all = out;
        memcpy(all, c->tail, c->tail_length);
        memmove(all + c->tail_length, text, some);
        size_t total = c->tail_length + some;
        for (char *at = all; (at = memmem(at, total - (size_t)(at - all), KEY, KEY_LENGTH)); at += KEY_LENGTH) events++;
        c->tail_length = total < KEY_LENGTH - 1 ? total : KEY_LENGTH - 1;
        memcpy(c->tail, all + total - c->tail_length, c->tail_length);
        text += some;
        length -= some;
    }
}

static void take(struct connection *c, char *data, size_t length) {
    bytes += length;
    if (!counting) return;
    if (!c->gzip) {
        count(c, data, length);
        return;
    }
    static char plain[OUT];
    c->stream.next_in = (Bytef *)data;
    c->stream.avail_in = (uInt)length;
    do {
        c->stream.next_out = (Bytef *)plain;
        c->stream.avail_out = OUT;
        int result = inflate(&c->stream, Z_NO_FLUSH);
        count(c, plain, OUT - c->stream.avail_out);
        if (result == Z_STREAM_END && c->stream.avail_in) inflateReset(&c->stream);
        else if (result != Z_OK) break;
    } while (c->stream.avail_in || !c->stream.avail_out);
}

static void begin_body(struct connection *c) {
    c->in_body = 1;
    c->tail_length = c->line_length = 0;
    c->chunk_state = 0;
    if (counting && c->gzip) {
        if (c->inflating) inflateReset(&c->stream);
        else if (inflateInit2(&c->stream, 31) != Z_OK) die("inflate");
        c->inflating = 1;
    }
}

static uint64_t most_ns(void) {
    for (size_t i = 0; i < requests; i++)
        if (arrivals[i].bytes >= bytes - bytes / 20) return arrivals[i].ns;
    return 0;
}

static void answer(struct connection *c) {
    char body[512] = "{\"text\":\"Success\",\"code\":0}", text[1024];
    if (c->stats) {
        uint64_t last = requests ? arrivals[requests - 1].ns : 0;
        snprintf(body, sizeof body,
                 "{\"requests\": %llu, \"bytes\": %llu, \"events\": %llu, \"first_ns\": %llu, \"last_ns\": %llu, \"most_ns\": %llu}",
                 (unsigned long long)requests, (unsigned long long)bytes, (unsigned long long)events,
                 (unsigned long long)first_ns, (unsigned long long)last, (unsigned long long)most_ns());
    }
    int length = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                          strlen(body), body);
    if (write(c->fd, text, (size_t)length) != length) fprintf(stderr, "hec: an answer was cut short\n");
}

static void end_body(struct connection *c) {
    c->in_body = 0;
    if (!c->stats) {
        if (requests == arrival_room) {
            arrival_room = arrival_room ? 2 * arrival_room : 1 << 12;
            arrivals = realloc(arrivals, arrival_room * sizeof *arrivals);
            if (!arrivals) die("memory");
        }
        arrivals[requests].ns = now_ns();
        arrivals[requests].bytes = bytes;
        if (!requests++) first_ns = arrivals[0].ns;
    }
    answer(c);
}

static int said(const char *head, const char *name, const char *value) {
    const char *found = strcasestr(head, name);
    const char *end = found ? strstr(found + 2, "\r\n") : NULL;
    const char *there = found ? strcasestr(found, value) : NULL;
    return end && there && there < end;
}

/* Takes bytes of the head; returns how many. The body begins when the empty line was among them. */
static size_t take_head(struct connection *c, char *data, size_t length) {
    size_t before = c->have, room = HEAD - c->have;
    size_t some = length < room ? length : room;
    memcpy(c->head + c->have, data, some);
    c->have += some;
    c->head[c->have] = 0;
    char *end = strstr(c->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
    if (!end) return some;
    size_t used = (size_t)(end - c->head) + 4 - before;
    end[2] = 0;
    const char *declared = strcasestr(c->head, "\r\ncontent-length:");
    c->left = declared ? strtoull(declared + 17, NULL, 10) : 0;
    c->chunked = said(c->head, "\r\ntransfer-encoding:", "chunked");
    c->gzip = said(c->head, "\r\ncontent-encoding:", "gzip");
    c->stats = !strncmp(c->head, "GET /stats", 10);
    c->have = 0;
    begin_body(c);
    if (said(c->head, "\r\nexpect:", "100-continue") && write(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25) < 0) return used;
    if (!c->chunked && !c->left) end_body(c);
    return used;
}

static size_t take_line(struct connection *c, char *data, size_t length) {
    char *end = memchr(data, '\n', length);
    size_t some = end ? (size_t)(end - data) + 1 : length;
    for (size_t i = 0; i < some && c->line_length < sizeof c->line - 1; i++) c->line[c->line_length++] = data[i];
    if (!end) return some;
    c->line[c->line_length] = 0;
    int empty = c->line[0] == '\r' || c->line[0] == '\n';
    c->line_length = 0;
    if (c->chunk_state == 0) {
        c->left = strtoull(c->line, NULL, 16);
        c->chunk_state = c->left ? 1 : 3;
    } else if (c->chunk_state == 2) {
        c->chunk_state = 0;
    } else if (empty) {
        end_body(c);
    }
    return some;
}

static size_t take_body(struct connection *c, char *data, size_t length) {
    if (c->chunked && c->chunk_state != 1) return take_line(c, data, length);
    size_t some = length < c->left ? length : (size_t)c->left;
    take(c, data, some);
    c->left -= some;
    if (!c->left && c->chunked) c->chunk_state = 2;
    else if (!c->left) end_body(c);
    return some;
}

static void hang_up(struct connection *c) {
    close(c->fd);
    if (c->inflating) inflateEnd(&c->stream);
    free(c);
}

static void serve(struct connection *c) {
    ssize_t n = read(c->fd, buffer, BUFFER);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        hang_up(c);
        return;
    }
    for (size_t at = 0; at < (size_t)n;) {
        if (!c->in_body && c->have == HEAD) {
            hang_up(c);
            return;
        }
        at += (c->in_body ? take_body : take_head)(c, buffer + at, (size_t)n - at);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: hec PORT COUNT\n");
        return 2;
    }
    counting = atoi(argv[2]);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, size) || listen(listener, 1024)) die("listen");
    getsockname(listener, (struct sockaddr *)&here, &size);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, found[64];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int several = epoll_wait(epoll, found, 64, -1);
        for (int i = 0; i < several; i++) {
            if (found[i].data.ptr) {
                serve(found[i].data.ptr);
                continue;
            }
            struct connection *c = calloc(1, sizeof *c);
            c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (c->fd < 0) {
                free(c);
                continue;
            }
            event.data.ptr = c;
            epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
        }
    }
}
