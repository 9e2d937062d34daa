/* A key-value server that speaks lines. main.c: the process; conn.c: a connection; store.c: the keys. */
#ifndef SERVER_H
#define SERVER_H

#include <weir.h>

enum { MAX_LINE = 1024, MAX_CLIENTS = 64, BUCKETS = 256 };

struct server;

/* One key. It may have a time at which it goes away. */
struct entry {
    struct server *server;
    struct entry *next;
    weir_timer *expiry;
    int waiting; /* on_expired will be called, and needs the entry */
    char *value;
    char key[];
};

struct conn;

struct server {
    weir_context *context;
    int64_t idle;
    struct conn *conns;
    struct entry *buckets[BUCKETS];
    unsigned clients, accepted, commands, keys, expired;
};

void conn_open(struct server *server, weir_stream *stream);
void conn_finish_all(struct server *server, const char *word);

struct entry *store_find(struct server *server, const char *key);
int store_set(struct server *server, const char *key, const char *value);
int store_delete(struct server *server, const char *key);
int store_expire(struct entry *entry, long milliseconds);
void store_clear(struct server *server);

#endif
