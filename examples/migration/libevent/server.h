/* A key-value server that speaks lines. main.c: the process; conn.c: a connection; store.c: the keys. */
#ifndef SERVER_H
#define SERVER_H

#include <event2/event.h>

enum { MAX_LINE = 1024, MAX_CLIENTS = 64, BUCKETS = 256 };

struct server;

/* One key. It may have a time at which it goes away. */
struct entry {
    struct server *server;
    struct entry *next;
    struct event *expiry;
    char *value;
    char key[];
};

struct conn;

struct server {
    struct event_base *base;
    struct timeval idle;
    struct conn *conns;
    struct entry *buckets[BUCKETS];
    unsigned clients, accepted, commands, keys, expired;
};

void conn_open(struct server *server, evutil_socket_t fd);
void conn_finish_all(struct server *server, const char *word);

struct entry *store_find(struct server *server, const char *key);
int store_set(struct server *server, const char *key, const char *value);
int store_delete(struct server *server, const char *key);
int store_expire(struct entry *entry, long milliseconds);
void store_clear(struct server *server);

#endif
