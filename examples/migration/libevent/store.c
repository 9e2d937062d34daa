/* The keys and their values, and the timers of those that expire. */
#include "server.h"

#include <stdlib.h>
#include <string.h>

static struct entry **store_slot(struct server *server, const char *key) {
    unsigned hash = 5381;
    for (const char *at = key; *at != 0; at++) hash = hash * 33 + (unsigned char)*at;
    struct entry **slot = &server->buckets[hash % BUCKETS];
    while (*slot != NULL && strcmp((*slot)->key, key) != 0) slot = &(*slot)->next;
    return slot;
}

struct entry *store_find(struct server *server, const char *key) {
    return *store_slot(server, key);
}

static void entry_free(struct entry *entry) {
    if (entry->expiry != NULL) event_free(entry->expiry);
    free(entry->value);
    free(entry);
}

/* Takes an entry out of the table and ends it. */
static void entry_remove(struct entry **slot) {
    struct entry *entry = *slot;
    *slot = entry->next;
    entry->server->keys--;
    entry_free(entry);
}

int store_set(struct server *server, const char *key, const char *value) {
    struct entry **slot = store_slot(server, key);
    char *copy = strdup(value);
    if (copy == NULL) return -1;
    if (*slot != NULL) {
        free((*slot)->value);
        (*slot)->value = copy;
        return 0;
    }
    struct entry *entry = calloc(1, sizeof *entry + strlen(key) + 1);
    if (entry == NULL) {
        free(copy);
        return -1;
    }
    entry->server = server;
    entry->value = copy;
    strcpy(entry->key, key);
    *slot = entry;
    server->keys++;
    return 0;
}

int store_delete(struct server *server, const char *key) {
    struct entry **slot = store_slot(server, key);
    if (*slot == NULL) return 0;
    entry_remove(slot);
    return 1;
}

static void on_expired(evutil_socket_t fd, short what, void *user) {
    struct entry *entry = user;
    (void)fd, (void)what;
    entry->server->expired++;
    store_delete(entry->server, entry->key);
}

int store_expire(struct entry *entry, long milliseconds) {
    struct timeval after = {milliseconds / 1000, milliseconds % 1000 * 1000};
    if (entry->expiry == NULL) entry->expiry = evtimer_new(entry->server->base, on_expired, entry);
    return entry->expiry != NULL ? evtimer_add(entry->expiry, &after) : -1;
}

void store_clear(struct server *server) {
    for (int bucket = 0; bucket < BUCKETS; bucket++)
        while (server->buckets[bucket] != NULL) entry_remove(&server->buckets[bucket]);
}
