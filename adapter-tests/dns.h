/* A small DNS server on loopback, on a thread of its own. It answers questions for
 *
 *     aN.test        10.0.N/256.N%256 (and says that there is no IPv6 address)
 *     late.test      the second time it is asked
 *     tcp.test       over TCP; over UDP it says that the answer is too long
 *     silent*.test   never
 *
 * and says of every other name that there is none. */
#ifndef DNS_H
#define DNS_H

#include "net.h"

static int dns_port;
static atomic_int dns_asked, dns_silent, dns_late;
static int dns_ends[2];
static pthread_t dns_thread;
/* Called on the server's thread for each question that gets no answer. */
static void (*dns_on_silent)(const char *name);

/* The answer to `question`, in its place; 0: none. */
static inline size_t dns_answer(unsigned char *message, size_t length, size_t room, bool over_tcp)
{
    static const unsigned char flags_found[2] = {0x81, 0x80}, flags_none[2] = {0x81, 0x83}, flags_cut[2] = {0x83, 0x80};
    char name[256];
    size_t at = 12, used = 0;
    CHECK(length > 12 + 5);
    while (message[at] != 0) { /* labels, each with its length in front */
        size_t label = message[at++];
        CHECK(label < 64 && at + label < length && used + label + 1 < sizeof name);
        for (size_t i = 0; i < label; i++)
            name[used++] = (char)(message[at + i] | 0x20); /* in small letters */
        name[used++] = '.';
        at += label;
    }
    name[used > 0 ? used - 1 : 0] = 0;
    at++;
    CHECK(at + 4 <= length);
    unsigned type = (unsigned)message[at] << 8 | message[at + 1];
    at += 4;
    dns_asked++;

    unsigned number = 0;
    const unsigned char *flags = flags_found;
    bool found = sscanf(name, "a%u.test", &number) == 1;
    if (strncmp(name, "silent", 6) == 0) {
        dns_silent++;
        if (dns_on_silent)
            dns_on_silent(name);
        return 0;
    }
    if (strcmp(name, "late.test") == 0) {
        if (dns_late++ == 0)
            return 0;
        found = true;
    } else if (strcmp(name, "tcp.test") == 0) {
        found = over_tcp;
        flags = over_tcp ? flags_found : flags_cut;
    } else if (!found) {
        flags = flags_none;
    }
    found = found && type == 1;
    memcpy(message + 2, flags, 2);
    memset(message + 6, 0, 6); /* no further sections, but for the answer */
    message[7] = found;
    if (!found)
        return at;
    const unsigned char record[16] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, (unsigned char)(number >> 8),
                                      (unsigned char)number};
    CHECK(at + sizeof record <= room);
    memcpy(message + at, record, sizeof record);
    return at + sizeof record;
}

static inline void dns_serve_tcp(int listener)
{
    unsigned char message[2048];
    int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    /* One client at a time, each of which asks one question after another and then goes. */
    for (;;) {
        if (recv(fd, message, 2, MSG_WAITALL) != 2)
            break;
        size_t length = (size_t)message[0] << 8 | message[1];
        CHECK(length < sizeof message - 16);
        if (recv(fd, message + 2, length, MSG_WAITALL) != (ssize_t)length)
            break;
        length = dns_answer(message + 2, length, sizeof message - 2, true);
        message[0] = (unsigned char)(length >> 8);
        message[1] = (unsigned char)length;
        if (length > 0 && send(fd, message, length + 2, MSG_NOSIGNAL) < 0)
            break;
    }
    close(fd);
}

static inline void *dns_run(void *user)
{
    int *sockets = user;
    for (;;) {
        struct pollfd entries[3] = {{sockets[0], POLLIN, 0}, {sockets[1], POLLIN, 0}, {dns_ends[0], POLLIN, 0}};
        CHECK(poll(entries, 3, -1) > 0);
        if (entries[2].revents)
            break;
        if (entries[0].revents) {
            unsigned char message[2048];
            struct sockaddr_storage from;
            socklen_t size = sizeof from;
            ssize_t got = recvfrom(sockets[0], message, sizeof message - 16, 0, (struct sockaddr *)&from, &size);
            size_t length = got > 0 ? dns_answer(message, (size_t)got, sizeof message, false) : 0;
            if (length > 0)
                sendto(sockets[0], message, length, 0, (struct sockaddr *)&from, size);
        }
        if (entries[1].revents)
            dns_serve_tcp(sockets[1]);
    }
    close(sockets[0]);
    close(sockets[1]);
    return NULL;
}

/* The same port for UDP and TCP. */
static inline void dns_start(void)
{
    static int sockets[2];
    for (int tries = 0; tries < 100; tries++) {
        dns_port = unused_port();
        struct where where = loopback(AF_INET, (uint16_t)dns_port);
        int size = 4 << 20;
        sockets[0] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sockets[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(sockets[0] >= 0 && sockets[1] >= 0);
        setsockopt(sockets[0], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        if (bind(sockets[0], AT(&where)) == 0 && bind(sockets[1], AT(&where)) == 0 && listen(sockets[1], 64) == 0) {
            CHECK_EQ(pipe(dns_ends), 0);
            dns_thread = start_thread(dns_run, sockets);
            return;
        }
        close(sockets[0]);
        close(sockets[1]);
    }
    check_fail(__FILE__, __LINE__, "no port for the DNS server");
}

static inline void dns_stop(void)
{
    close(dns_ends[1]); /* the other end tells */
    join_thread(dns_thread);
    close(dns_ends[0]);
}

#endif
